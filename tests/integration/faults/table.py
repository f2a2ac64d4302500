"""The table: what upstream registries do wrong, and what clients are told then.

A `Row` is one fault. It says what it comes to for each thing that is asked for, first where nothing is kept, then
where a copy of the tag is kept and due for a check. "." stands for a cell that does not exist. What needs no column:

* A manifest or blob that is kept by its digest is served whatever happens, without a request.
* A kept list bridges every fault for which a list that is not kept is an error, and one that is `passing`: what is
  kept is checked with one attempt, what is not is asked for again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.model.errors import ErrorCode
from tests.emulators import ATTACKER, Gate, Quay, Route
from tests.emulators import faults as fault
from tests.emulators.faults import Fault
from tests.support.clock import FakeClock

_UNUSABLE = (ErrorCode.UPSTREAM_INVALID, ErrorCode.UPSTREAM_UNAVAILABLE)


@dataclass(frozen=True)
class Outcome:
    """What a client may see: the right content, one of `codes`, or (`broken`) a transfer that ends short of its length.

    `stale`: the right content, and a note that it was not confirmed.
    """

    right: bool = False
    stale: bool = False
    broken: bool = False
    codes: tuple[ErrorCode, ...] = ()


OUTCOMES = {
    "ok": Outcome(right=True),
    "stale": Outcome(right=True, stale=True),
    "down": Outcome(codes=(ErrorCode.UPSTREAM_UNAVAILABLE,)),
    "slow": Outcome(codes=(ErrorCode.UPSTREAM_TIMEOUT,)),
    "bad": Outcome(codes=(ErrorCode.UPSTREAM_INVALID,)),
    "later": Outcome(codes=(ErrorCode.TOOMANYREQUESTS,)),
    "denied": Outcome(codes=(ErrorCode.DENIED,)),
    "private": Outcome(codes=(ErrorCode.NAME_UNKNOWN,)),
    "gone": Outcome(codes=(ErrorCode.MANIFEST_UNKNOWN, ErrorCode.BLOB_UNKNOWN, ErrorCode.NAME_UNKNOWN)),
    # Whether the trouble is known before the client's headers are out or after them is a matter of microseconds.
    "broken": Outcome(broken=True, codes=_UNUSABLE),
    "stalled": Outcome(broken=True, codes=(ErrorCode.UPSTREAM_TIMEOUT,)),
    "either": Outcome(right=True, broken=True, codes=_UNUSABLE),
}

COLUMNS = ("tag", "digest", "blob", "tags", "referrers")
REGISTRY = {
    "tag": Route.MANIFEST,
    "digest": Route.MANIFEST,
    "blob": Route.BLOB,
    "tags": Route.TAGS,
    "referrers": Route.REFERRERS,
}
CONTENT = REGISTRY | {"blob": Route.STORAGE}
TOKEN = dict.fromkeys(COLUMNS, Route.TOKEN)


@dataclass(frozen=True)
class Scene:
    """Where a fault is to happen."""

    emulator: Quay
    clock: FakeClock
    route: Route


Arm = Callable[[Scene], object]


@dataclass(frozen=True)
class Row:
    """One fault: what it comes to, and how it is armed.

    `outcomes`: a word of `OUTCOMES` for each of `COLUMNS` where nothing is kept, and one for a kept tag; "." where
    the fault cannot occur. `at`: on which requests. `limits`: small time limits, where the fault is that nothing
    comes. `most`: requests that a client may cost. `account`: the rule has credentials. `dns`: names are resolved.
    `passing`: the fault is over after the first requests.
    """

    name: str
    outcomes: str
    arm: Arm
    at: Mapping[str, Route] = field(default_factory=lambda: CONTENT)
    limits: Mapping[str, Any] = field(default_factory=dict)
    most: int = 10
    account: bool = False
    dns: bool = True
    passing: bool = False

    def cold(self, column: str) -> Outcome | None:
        """Return the outcome where nothing is kept; None where the fault cannot occur."""
        return OUTCOMES.get(self.outcomes.split()[COLUMNS.index(column)])

    def kept(self, column: str) -> Outcome | None:
        """Return the outcome where a copy is kept and due for a check; None where none is made."""
        if column == "tag":
            return OUTCOMES.get(self.outcomes.split()[-1])
        cold = self.cold(column)
        if column in {"digest", "blob"} or cold is None:
            return None
        return cold if cold.right and not self.passing else OUTCOMES["stale"]


def always(made: Fault, method: str | None = None) -> Arm:
    return lambda scene: scene.emulator.faults.add(made, route=scene.route, method=method, times=None)


def first(times: int, made: Fault) -> Arm:
    """Befall so many requests, and no more."""
    return lambda scene: scene.emulator.faults.add(made, route=scene.route, times=times)


def after_a_break(made: Fault) -> Arm:
    """Break the first transfer off in its middle, and befall all that follow."""

    def arm(scene: Scene) -> None:
        scene.emulator.faults.add(fault.truncated(40_007), route=scene.route, times=1)
        scene.emulator.faults.add(made, route=scene.route, nth=2, times=None)

    return arm


def held_back() -> Arm:
    """Never answer; a gate belongs to the loop of one test."""

    def arm(scene: Scene) -> None:
        always(fault.delayed(Gate()))(scene)

    return arm


def silent(times: int | None = None) -> Arm:
    """Send the head of an answer and nothing more."""
    return lambda scene: scene.emulator.faults.add(fault.stall(0, Gate()), route=scene.route, times=times)


def hops(count: int, **how: Any) -> Arm:  # noqa: ANN401 - as the fault has them
    return lambda scene: scene.emulator.faults.add(
        scene.emulator.faults.hops(count, **how), route=scene.route, times=None
    )


def later(seconds: float, at: int = 40_007) -> Arm:
    """Break the first transfer off, and let time pass meanwhile."""

    def arm(scene: Scene) -> None:
        scene.emulator.faults.add(fault.truncated(at), route=scene.route)
        scene.emulator.faults.add(fault.at_byte(at // 2, lambda: scene.clock.advance(seconds)), route=scene.route)

    return arm


def tls_failure(scene: Scene) -> None:
    scene.emulator.listener.broken_tls.add(scene.emulator.host)


def nothing(_: Scene) -> None:
    """Leave it to the rest of the row."""


def limited(spelling: str) -> Arm:
    return lambda scene: always(fault.limited(429, spelling, now=scene.clock.now()))(scene)


IMPATIENT = {"header_timeout": "300ms", "budget": "1s", "stall_timeout": "300ms"}
HOSTILE = f"https://{ATTACKER}/token"
METADATA = "https://169.254.169.254/latest/meta-data/"

# ruff: noqa: E501 - a row is a line
# fmt: off
ROWS = [
    #   the fault                           tag     digest  blob    tags    referrers, kept tag
    Row("500",                             "down    down    down    down    down    stale", always(fault.status(500))),
    Row("502",                             "down    down    down    down    down    stale", always(fault.status(502))),
    Row("503",                             "down    down    down    down    down    stale", always(fault.status(503, Retry_After="1"))),
    Row("504",                             "down    down    down    down    down    stale", always(fault.status(504))),
    Row("burst of 503",                    "ok      ok      ok      ok      ok      stale", first(3, fault.status(503)), passing=True),
    Row("408",                             "slow    slow    slow    slow    slow    stale", always(fault.limited(408))),
    *(Row(f"429, Retry-After {each}",        "later   later   later   later   later   stale", limited(each)) for each in fault.RETRY_AFTER),
    Row("404 of the registry",             "gone    gone    gone    gone    ok      stale", always(fault.status(404, "NAME_UNKNOWN")), at=REGISTRY),
    Row("404 of somebody else",            "bad     bad     bad     bad     ok      stale", always(fault.html(404))),
    Row("403 of the registry",             "private private private private private stale", always(fault.status(403, "DENIED")), at=REGISTRY),
    Row("link refused",                    ".       .       down    .       .       .", always(fault.status(403))),
    Row("link refused once",               ".       .       ok      .       .       .", first(1, fault.status(403))),
    Row("captive portal",                  "bad     bad     bad     bad     bad     stale", always(fault.html())),

    Row("dropped",                         "down    down    down    down    down    stale", always(fault.dropped(reset=False)), most=16),
    Row("reset",                           "down    down    down    down    down    stale", always(fault.dropped()), most=16),
    Row("never answered",                  "slow    slow    slow    slow    slow    stale", held_back(), limits=IMPATIENT),
    Row("stalled",                         "slow    slow    stalled slow    slow    ok", silent(), limits=IMPATIENT, most=16),
    Row("stalled once",                    ".       .       ok      .       .       .", silent(1), limits=IMPATIENT),
    Row("dripping",                        "ok      ok      ok      ok      ok      ok", always(fault.drip(1024, 1.0)), most=16),
    Row("truncated",                       "down    down    .       down    down    ok", always(fault.truncated(50))),
    Row("truncated hard",                  "down    down    .       down    down    ok", always(fault.truncated(50, reset=True))),
    Row("truncated once",                  "ok      ok      ok      ok      ok      ok", first(2, fault.truncated(50)), passing=True),
    Row("truncated again and again",       ".       .       ok      .       .       .", always(fault.truncated(9_000)), most=30),
    Row("HTTP/1.0",                        "ok      ok      ok      ok      ok      ok", always(fault.old_protocol())),

    Row("wrong bytes",                     "bad     bad     broken  bad     bad     ok", always(fault.wrong_bytes())),
    Row("wrong bytes at the end",          ".       .       broken  .       .       .", always(fault.wrong_bytes(60_000))),
    Row("length too long",                 "down    down    broken  down    down    ok", always(fault.wrong_length(+5)), most=16),
    Row("length too short",                "bad     bad     broken  bad     bad     ok", always(fault.wrong_length(-5))),
    Row("chunked",                         "ok      ok      ok      ok      ok      ok", always(fault.chunked())),
    Row("no length",                       "ok      ok      ok      ok      ok      ok", always(fault.unmeasured())),
    Row("compressed",                      "bad     bad     bad     bad     bad     stale", always(fault.compressed())),
    Row("no digest header",                "ok      ok      ok      .       .       ok", always(fault.no_digest())),
    Row("digest of another algorithm",     "ok      ok      ok      .       .       ok", always(fault.other_algorithm())),
    Row("digest of something else",        "ok      ok      ok      .       .       ok", always(fault.other_digest())),
    Row("type with parameters",            "ok      ok      ok      ok      ok      ok", always(fault.type_parameters())),
    Row("no type",                         "ok      ok      ok      ok      ok      ok", always(fault.no_type())),
    Row("HEAD refused",                    "ok      ok      ok      .       .       ok", always(fault.status(405), "HEAD")),

    Row("206 of the whole",                ".       .       ok      .       .       .", after_a_break(fault.offset_ignored())),
    Row("206 that lies",                   ".       .       broken  .       .       .", after_a_break(fault.offset_ignored(honest=False))),
    Row("200 to a Range",                  ".       .       ok      .       .       .", after_a_break(fault.range_ignored())),
    Row("416 on resume",                   ".       .       broken  .       .       .", after_a_break(fault.range_refused()), most=16),
    Row("ETag changes",                    ".       .       either  .       .       .", after_a_break(fault.entity_changed()), most=16),
    Row("link expires in a transfer",      ".       .       ok      .       .       .", later(601)),
    Row("token expires in a transfer",     ".       .       ok      .       .       .", later(3601)),

    Row("redirect loop",                   "bad     bad     bad     bad     bad     stale", always(fault.redirect_loop()), at=REGISTRY),
    Row("five hops",                       "ok      ok      ok      ok      ok      ok", hops(4), at=REGISTRY, most=15),
    Row("six hops",                        "bad     bad     bad     bad     bad     stale", hops(6), at=REGISTRY),
    Row("relative hop",                    "ok      ok      ok      ok      ok      ok", hops(1, relative=True), at=REGISTRY),
    Row("hop with a space",                "ok      ok      ok      ok      ok      ok", hops(1, query="?name=a b"), at=REGISTRY),
    Row("redirect to http",                ".       .       bad     .       .       .", always(fault.downgraded()), at=REGISTRY),
    Row("redirect to a private address",   "bad     bad     bad     bad     bad     stale", always(fault.redirected(METADATA)), at=REGISTRY),

    Row("token: 500",                      "down    down    down    down    down    stale", always(fault.status(500)), at=TOKEN),
    Row("token: never",                    "slow    slow    slow    slow    slow    stale", held_back(), at=TOKEN, limits=IMPATIENT),
    Row("token: web page",                 "bad     bad     bad     bad     bad     stale", always(fault.html()), at=TOKEN),
    Row("token: empty",                    "bad     bad     bad     bad     bad     stale", always(fault.empty_document()), at=TOKEN),
    Row("token: 429",                      "later   later   later   later   later   stale", limited("absent"), at=TOKEN),
    Row("token: denied",                   "private private private private private stale", always(fault.status(403, "DENIED")), at=TOKEN),
    Row("token: wrong password",           "denied  denied  denied  denied  denied  stale", always(fault.status(401)), at=TOKEN, account=True),
    Row("token: lives 0 s",                "ok      ok      ok      ok      ok      ok", always(fault.token_fields(expires_in=0)), at=TOKEN),
    Row("token: lives '300' s",            "ok      ok      ok      ok      ok      ok", always(fault.token_fields(expires_in="300")), at=TOKEN),
    Row("token: only access_token",        "ok      ok      ok      ok      ok      ok", always(fault.only_access_token()), at=TOKEN),

    Row("challenge: hostile realm",        "bad     bad     bad     bad     bad     stale", always(fault.hostile_realm(HOSTILE)), at=REGISTRY, account=True),
    Row("challenge: two headers",          "ok      ok      ok      ok      ok      ok", always(fault.challenged('Basic realm="x"', "{}")), at=REGISTRY),
    Row("challenge: two in one",           "ok      ok      ok      ok      ok      ok", always(fault.challenged('Basic realm="x", {}')), at=REGISTRY),
    Row("challenge: unquoted",             "ok      ok      ok      ok      ok      ok", always(fault.unquoted()), at=REGISTRY),
    Row("challenge: BEARER",               "ok      ok      ok      ok      ok      ok", always(fault.shouted()), at=REGISTRY),
    Row("challenge: Basic only",           "private private private private private stale", always(fault.challenged('Basic realm="x"')), at=REGISTRY),

    Row("TLS fails",                       "down    down    down    down    down    stale", tls_failure),
    Row("no such name",                    "down    down    down    down    down    stale", nothing, dns=False),

    Row("no JSON",                         "bad     bad     broken  bad     bad     ok", always(fault.raw_body(b"nonsense"))),
    Row("referrers: 404",                  ".       .       .       .       ok      .", always(fault.status(404, "UNSUPPORTED"))),
    Row("referrers: 405",                  ".       .       .       .       ok      .", always(fault.status(405, "UNSUPPORTED"))),
    Row("referrers: 303 elsewhere",        ".       .       .       .       ok      .", always(fault.redirected(HOSTILE, 303))),
]
# fmt: on
