"""Faults: what upstream registries, and the networks before them, do wrong.

A fault is a function of the request and of the emulator's own way of answering it. `Faults.add` says which requests
it befalls::

    gate = Gate()
    emulator.faults.add(stall(1000, gate), route=Route.STORAGE)  # the first request to the storage
    emulator.faults.add(status(503), route=Route.MANIFEST, times=3)  # the first three
    emulator.faults.add(afterwards(lambda: clock.advance(301)), route=Route.MANIFEST, nth=2)
    emulator.faults.add(no_digest(), host="quay.io", times=None)  # always

Nothing sleeps: a `Gate` stays shut until the test opens it (or the client leaves, or the emulator stops), `drip`
moves the injected clock.
"""

import asyncio
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from tests.emulators.content import Blob, Bytes
from tests.emulators.messages import Body, Reply, Request, Route, document, failure, page, redirect, reply

Answer = Callable[[Request], Reply]
Fault = Callable[[Request, Answer], Reply]


class Gate:
    """A place where a reply waits. `reached` is set when one came there; `open` lets all pass."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def step(self) -> None:
        self.reached.set()
        await self._opened.wait()


@dataclass
class Armed:
    """A fault and the requests that it befalls: from the `nth` that matches on, `times` of them (None: all)."""

    fault: Fault
    route: Route | None
    method: str | None
    host: str | None
    containing: str
    nth: int
    times: int | None
    seen: int = 0
    befallen: int = 0

    def befalls(self, request: Request, route: Route) -> bool:
        """Tell whether it is this request's turn, and count it."""
        matches = (
            self.route in {None, route}
            and self.method in {None, request.method}
            and self.host in {None, request.host}
            and self.containing in request.target
        )
        if not matches:
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.befallen >= self.times):
            return False
        self.befallen += 1
        return True

    def disarm(self) -> None:
        self.times = 0


@dataclass
class Faults:
    """The faults of one emulator. Several that befall one request wrap each other, the oldest inside."""

    armed: list[Armed] = field(default_factory=list)
    _hops: dict[str, Reply] = field(default_factory=dict)

    def add(
        self,
        fault: Fault,
        *,
        route: Route | None = None,
        method: str | None = None,
        host: str | None = None,
        containing: str = "",
        nth: int = 1,
        times: int | None = 1,
    ) -> Armed:
        """Arm a fault; see `Armed`."""
        armed = Armed(fault, route, method, host, containing, nth, times)
        self.armed.append(armed)
        return armed

    def clear(self) -> None:
        self.armed.clear()

    def answer(self, request: Request, route: Route, answer: Answer) -> Reply:
        """Answer with all that befalls this request."""
        if request.path in self._hops:
            return self._hops[request.path]
        for armed in self.armed:
            if armed.befalls(request, route):
                answer = _wrapped(armed.fault, answer)
        return answer(request)

    def hops(self, count: int, *, relative: bool = False, query: str = "") -> Fault:
        """Put `count` redirects in front of the emulator's own redirect; `query` is added to them as it is."""

        def fault(request: Request, answer: Answer) -> Reply:
            last = answer(request)
            start = "" if relative else f"https://{request.host}"
            paths = [f"/hops/{len(self._hops) + number}" for number in range(count)]
            for path, following in zip(paths, [*paths[1:], None], strict=True):
                self._hops[path] = last if following is None else redirect(f"{start}{following}{query}")
            return redirect(f"{start}{paths[0]}{query}")

        return fault


def _wrapped(fault: Fault, inner: Answer) -> Answer:
    return lambda request: fault(request, inner)


def _edited(edit: Callable[[Reply], Reply]) -> Fault:
    return lambda request, answer: edit(answer(request))


def _delivered(**changes: Any) -> Fault:  # noqa: ANN401 - any field of a delivery
    return _edited(lambda answered: answered.delivered(replace(answered.delivery, **changes)))


def _step(place: int, step: Callable[[], Any]) -> Fault:
    def edit(answered: Reply) -> Reply:
        delivery = answered.delivery
        return answered.delivered(replace(delivery, steps=(*delivery.steps, (place, step))))

    return _edited(edit)


# --- other answers --------------------------------------------------------------------------------------------------


def answered(instead: Reply) -> Fault:
    """Answer something else altogether."""
    return lambda _, __: instead


def status(code: int, error: str = "UNKNOWN", **headers: str) -> Fault:
    """Answer a status with an error document; underscores in names of headers stand for hyphens."""
    return answered(failure(code, error).having(**headers))


def html(code: int = 200) -> Fault:
    """Answer a web page: a captive portal, a load balancer, a gateway."""
    return answered(page(code, "Please sign in"))


def limited(code: int = 429, spelling: str = "absent", *, now: float = 0.0) -> Fault:
    """Answer 429 (or 408) with one of `RETRY_AFTER`'s spellings; `now` is for the date."""
    header, message = RETRY_AFTER[spelling]
    if header == "date":
        header = formatdate(now + 30, usegmt=True)
    refusal = failure(code, "TOOMANYREQUESTS", message)
    return answered(refusal.having(Retry_After=header) if header is not None else refusal)


RETRY_AFTER: dict[str, tuple[str | None, str]] = {
    "seconds": ("30", "slow down"),
    "zero": ("0", "slow down"),
    "date": ("date", "slow down"),
    "absent": (None, "slow down"),
    "garbage": ("soon", "slow down"),
    "negative": ("-5", "slow down"),
    "fraction": ("1.5", "slow down"),
    "huge": ("99999999999", "slow down"),
    "text": (None, "retry-after: 880.092µs, allowed: 44000/minute"),
}
"""Retry-After as registries spell it: the header (None: none), and the message of the error document."""


def redirected(location: str, code: int = 307) -> Fault:
    """Redirect elsewhere: to a private address, to another site, to nowhere."""
    return answered(redirect(location, code))


def redirect_loop() -> Fault:
    """Redirect to the very same URL."""
    return lambda request, _: redirect(f"https://{request.host}{request.target}")


def downgraded() -> Fault:
    """Redirect where the emulator does, but to http."""
    return _edited(lambda found: found.having(Location=(found.header("Location") or "").replace("https:", "http:", 1)))


# --- connections ----------------------------------------------------------------------------------------------------


def dropped(*, reset: bool = True) -> Fault:
    """Close the connection instead of answering; aiohttp itself repeats a GET or HEAD once, so arm it twice."""
    return _delivered(cut=-1, reset=reset)


def truncated(at: int, *, reset: bool = False) -> Fault:
    """Close the connection after `at` bytes of the body; with `reset` hard, which may lose some of them."""
    return _delivered(cut=at, reset=reset)


def stall(at: int, gate: Gate) -> Fault:
    """Send `at` bytes of the body, then nothing until the gate opens."""
    return _step(at, gate.step)


def delayed(gate: Gate) -> Fault:
    """Send nothing at all, not even the status, until the gate opens."""
    return _step(-1, gate.step)


def drip(piece: int = 1024, seconds: float = 1.0) -> Fault:
    """Send pieces with a pause between them, by which the injected clock is moved."""
    return _delivered(piece=piece, pause=seconds)


def old_protocol() -> Fault:
    """Answer in HTTP/1.0 and close the connection."""
    return _delivered(version="1.0")


# --- moments --------------------------------------------------------------------------------------------------------


def afterwards(action: Callable[[], object]) -> Fault:
    """Do something when the answer is decided and not yet sent: move the clock, or a tag."""

    def fault(request: Request, answer: Answer) -> Reply:
        decided = answer(request)
        action()
        return decided

    return fault


def at_byte(place: int, action: Callable[[], object]) -> Fault:
    """Do something when `place` bytes of the body are sent."""

    async def step() -> None:
        action()

    return _step(place, step)


# --- bodies and their headers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Flipped:
    """A blob in which every byte from `at` on is wrong."""

    original: Blob
    at: int

    @property
    def size(self) -> int:
        return self.original.size

    @property
    def digest(self) -> Any:  # noqa: ANN401 - what it claims to be
        return self.original.digest

    def read(self, start: int, stop: int) -> bytes:
        data = self.original.read(start, stop)
        right = max(0, min(len(data), self.at - start))
        return data[:right] + bytes(byte ^ 1 for byte in data[right:])


def wrong_bytes(at: int = 0) -> Fault:
    """Send other bytes of the same length from byte `at` of the content on."""
    return _edited(lambda found: replace(found, body=replace(found.body, blob=_Flipped(found.body.blob, at))))


def wrong_length(difference: int) -> Fault:
    """Announce more (or fewer) bytes than are sent."""

    def edit(found: Reply) -> Reply:
        return found.delivered(replace(found.delivery, announced=found.body.size + difference))

    return _edited(edit)


def chunked() -> Fault:
    """Announce no length: Transfer-Encoding chunked."""
    return _delivered(chunked=True)


def unmeasured() -> Fault:
    """Announce no length: the body ends with the connection."""
    return _delivered(unmeasured=True)


def compressed() -> Fault:
    """Compress although identity was asked for."""

    def edit(found: Reply) -> Reply:
        return found.with_body(gzip.compress(found.body.data, mtime=0)).having(Content_Encoding="gzip")

    return _edited(edit)


def without(*headers: str) -> Fault:
    """Leave headers out."""
    return _edited(lambda found: found.without(*headers))


def having(**headers: str) -> Fault:
    """Add or replace headers; underscores stand for hyphens."""
    return _edited(lambda found: found.having(**headers))


def no_digest() -> Fault:
    return without("Docker-Content-Digest")


def other_algorithm() -> Fault:
    """Name the digest by sha512 whatever was asked for."""

    def edit(found: Reply) -> Reply:
        return found.having(Docker_Content_Digest=f"sha512:{hashlib.sha512(found.body.data).hexdigest()}")

    return _edited(edit)


def other_digest() -> Fault:
    """Name the digest of something else."""
    return having(Docker_Content_Digest=f"sha256:{'0' * 64}")


def type_parameters(parameters: str = "; charset=utf-8") -> Fault:
    return _edited(lambda found: found.having(Content_Type=f"{found.header('Content-Type')}{parameters}"))


def no_type() -> Fault:
    return without("Content-Type")


def edited_json(edit: Callable[[dict[str, Any]], object]) -> Fault:
    """Answer another JSON document, made from the emulator's own."""

    def change(found: Reply) -> Reply:
        edited = json.dumps(edit(json.loads(found.body.data))).encode()
        return found.with_body(edited)

    return _edited(change)


# --- ranges ---------------------------------------------------------------------------------------------------------


def range_ignored() -> Fault:
    """Answer 200 with the whole to a request for a part."""
    return lambda request, answer: answer(request.without("Range", "If-Range"))


def offset_ignored(*, honest: bool = True) -> Fault:
    """Answer 206 with the whole; `honest` says so in Content-Range, otherwise it claims the part that was asked for."""

    def fault(request: Request, answer: Answer) -> Reply:
        ranged, whole = answer(request), answer(request.without("Range", "If-Range"))
        size = whole.body.size
        if ranged.status != 206:
            return ranged
        if honest:
            return replace(whole, status=206).having(Content_Range=f"bytes 0-{size - 1}/{size}")
        body = Body(whole.body.blob, 0, ranged.body.size)
        return replace(ranged, body=body)

    return fault


def range_refused() -> Fault:
    """Answer 416 to every request for a part."""

    def fault(request: Request, answer: Answer) -> Reply:
        if "Range" not in request.headers:
            return answer(request)
        whole = answer(request.without("Range", "If-Range"))
        return reply(416, headers={"Content-Range": f"bytes */{whole.body.size}"})

    return fault


def entity_changed(etag: str = '"another"') -> Fault:
    """Be another entity from now on: If-Range never matches, the bytes are the same."""

    def fault(request: Request, answer: Answer) -> Reply:
        stale = request.headers.get("If-Range", etag) != etag
        seen = request.without("Range", "If-Range") if stale else request.without("If-Range")
        return answer(seen).having(ETag=etag)

    return fault


# --- challenges and tokens ------------------------------------------------------------------------------------------


def challenged(*challenges: str) -> Fault:
    """Send other WWW-Authenticate headers with a 401; ``{}`` in them stands for the emulator's own challenge."""

    def edit(found: Reply) -> Reply:
        own = found.header("WWW-Authenticate")
        if found.status != 401 or own is None:
            return found
        headers = tuple(("WWW-Authenticate", each.replace("{}", own)) for each in challenges)
        kept = found.without("WWW-Authenticate")
        return replace(kept, headers=(*kept.headers, *headers))

    return _edited(edit)


def respelled(spell: Callable[[str], str]) -> Fault:
    """Spell the challenge of a 401 otherwise: ``str.upper`` for the scheme alone is `shouted`."""

    def edit(found: Reply) -> Reply:
        own = found.header("WWW-Authenticate")
        return found if own is None else found.having(WWW_Authenticate=spell(own))

    return _edited(edit)


def shouted() -> Fault:
    """Spell the scheme BEARER (RFC 9110 §11.1: it is case-insensitive)."""
    return respelled(lambda own: " ".join((own.split(" ")[0].upper(), *own.split(" ")[1:])))


def unquoted() -> Fault:
    """Leave out the quotes around parameters."""
    return respelled(lambda own: own.replace('"', ""))


def hostile_realm(realm: str) -> Fault:
    """Name somebody else's token server, who would like to be sent credentials."""

    def spell(own: str) -> str:
        before, _, rest = own.partition('realm="')
        return f'{before}realm="{realm}"{rest.partition(chr(34))[2]}'

    return respelled(spell)


def token_fields(**fields: object) -> Fault:
    """Change fields of the token document; None leaves one out."""
    return edited_json(lambda own: {name: value for name, value in {**own, **fields}.items() if value is not None})


def only_access_token() -> Fault:
    return edited_json(lambda own: {"access_token": own.get("token") or own["access_token"]})


def empty_document() -> Fault:
    return answered(document({}))


# --- lists ----------------------------------------------------------------------------------------------------------


def link_at(origin: str) -> Fault:
    """Send the Link to the next page below another origin, or with "" relative."""

    def edit(found: Reply) -> Reply:
        link = found.header("Link")
        if link is None:
            return found
        target, _, rest = link.removeprefix("<").partition(">")
        path = target if target.startswith("/") else "/" + target.split("/", 3)[3]
        return found.having(Link=f"<{origin}{path}>{rest}")

    return _edited(edit)


def tags_null() -> Fault:
    return edited_json(lambda own: own | {"tags": None})


def raw_body(content: bytes) -> Fault:
    """Send the emulator's headers with another body."""
    return _edited(lambda found: replace(found, body=Body.of(Bytes(content))))
