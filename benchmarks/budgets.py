"""The goals of the project, each judged by what the run measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scenarios import cold_blobs, herd, memory, operations, starting, wan, warm_blobs, warm_manifests
from benchmarks.servers import (
    AIOHTTP,
    DISTRIBUTION_PROXY,
    NGINX,
    OURS,
    OURS_BARE,
    OURS_PARALLEL,
    PROXIES,
    PROXY,
)
from benchmarks.sheet import (
    ASKED,
    CPU,
    FACTOR,
    FIRST_BYTE,
    GETS,
    MEMORY,
    REQUESTS,
    SECONDS,
    THROUGHPUT,
    Quantity,
    Sheet,
    counted,
)

# A figure as text and whether it is good enough, None where nothing says so; None where nothing was measured.
Found = tuple[str, bool | None] | None
Judge = Callable[[Sheet], Found]

_MEMORY_MB = 200
_FIRST_BYTE_MS = 20
_START_SECONDS = 1.0
_FLAT = 0.8
_NOTHING_LOST = 1.001


@dataclass(frozen=True)
class Verdict:
    """What became of a goal; `met` is None where it was not measured."""

    goal: str
    measured: str
    met: bool | None

    @property
    def word(self) -> str:
        """Return the verdict in a word or two."""
        return {True: "met", False: "NOT met", None: "not measured"}[self.met]


@dataclass(frozen=True)
class Goal:
    """A goal, and what finds in a sheet how it stands: the figure as text, and whether it is good enough."""

    text: str
    judge: Judge


def judged(sheet: Sheet, rows: int, *, speedups: bool) -> list[Verdict]:
    """Return the verdict on every goal; `rows` is the size of the large store.

    Without `speedups` the product is measured in one form only, the one that lacks them.
    """
    verdicts = []
    for goal in goals(rows, speedups=speedups):
        found = goal.judge(sheet)
        verdicts.append(Verdict(goal.text, *(found or ("", None))))
    return verdicts


def goals(rows: int, *, speedups: bool) -> list[Goal]:
    """Return all goals in the order in which they are told."""
    fast, bare = (OURS, OURS_BARE) if speedups else ("", OURS)
    blobs = [warm_blobs.PLAIN.format(counted(clients)) for clients in warm_blobs.CLIENTS]
    alone, many = (cold_blobs.WORK.format(counted(clients)) for clients in cold_blobs.CLIENTS)
    return [
        Goal(
            "warm manifest by digest: >= 0.5 x bare aiohttp",
            _times(warm_manifests.GET_BY_DIGEST, REQUESTS, AIOHTTP, 0.5),
        ),
        Goal(
            "warm manifest by digest: >= 2 x distribution v3's proxy",
            _distribution(warm_manifests.GET_BY_DIGEST, 2),
        ),
        Goal(
            "warm manifest by tag: >= 15 x distribution v3's proxy",
            _distribution(warm_manifests.GET_BY_TAG, 15),
        ),
        Goal("warm blob, with speedups: >= 0.9 x nginx, the worst of 1, 8, 32 clients", _worst(blobs, fast, 0.9)),
        Goal("warm blob, without speedups: >= 0.75 x nginx", _worst(blobs, bare, 0.75)),
        Goal("cold blob, 1 client: >= 0.8 x the better proxy", _best(alone, THROUGHPUT, 0.8)),
        Goal("cold blob, 8 clients: >= 1.5 x the better proxy", _best(many, THROUGHPUT, 1.5)),
        Goal("cold blob, 1 client: CPU per GB <= the better proxy's", _best(alone, CPU, 1)),
        Goal("cold blob, 8 clients: CPU per GB <= the better proxy's", _best(many, CPU, 1)),
        Goal("cold blob: first byte <= the upstream's + 20 ms", _later(alone)),
        Goal("herd of 50: one upstream GET", _at_most(herd.WORK, GETS, 1)),
        Goal("herd of 50: 1.0 x the bytes", _at_most(herd.WORK, FACTOR, _NOTHING_LOST)),
        Goal(
            "upstream far away: <= 1/3 of the better proxy's time, with parallel ranges",
            _best(wan.WORK, SECONDS, 1 / 3, OURS_PARALLEL),
        ),
        Goal(
            f"memory with {memory.STREAMS} slow streams: <= {_MEMORY_MB} MB",
            _at_most_of([memory.WARM, memory.COLD], MEMORY, _MEMORY_MB),
        ),
        Goal("upstream requests of a cached pull: 0", _at_most(operations.WORK, ASKED, 0)),
        Goal("start with an empty store: <= 1 s", _at_most(starting.EMPTY, SECONDS, _START_SECONDS)),
        Goal(
            f"start with {rows} rows a table: <= 1 s",
            _at_most(starting.STORE.format(rows=rows), SECONDS, _START_SECONDS),
        ),
        Goal(f"look-ups with {rows} tags: >= 0.8 x those with {starting.FEW_ROWS}", _flat(rows)),
    ]


def _times(work: str, quantity: Quantity, peer: str, factor: float, ours: str = OURS) -> Judge:
    def judge(sheet: Sheet) -> Found:
        line = sheet.line(work, quantity)
        own, other = line.median(ours), line.median(peer)
        if own is None or not other:
            return None
        good = own / other >= factor if quantity.more else own / other <= factor
        return f"{own / other:.2f} x ({_figure(own, quantity)} : {_figure(other, quantity)})", good

    return judge


def _distribution(work: str, factor: float) -> Judge:
    """Compare with distribution; where that does not take part, tell how docker-registry does, without a verdict."""

    def judge(sheet: Sheet) -> Found:
        found = _times(work, REQUESTS, DISTRIBUTION_PROXY, factor)(sheet)
        if found is not None:
            return found
        other = _times(work, REQUESTS, PROXY, factor)(sheet)
        return None if other is None else (f"{other[0]}, {PROXY}", None)

    return judge


def _best(work: str, quantity: Quantity, factor: float, ours: str = OURS) -> Judge:
    """Compare with the best of the proxies that were measured."""

    def judge(sheet: Sheet) -> Found:
        line = sheet.line(work, quantity)
        measured = {peer: value for peer in PROXIES if (value := line.median(peer)) is not None}
        if not measured:
            return None
        best = (max if quantity.more else min)(measured, key=lambda peer: measured[peer])
        found = _times(work, quantity, best, factor, ours)(sheet)
        return None if found is None else (f"{found[0]}, {best}", found[1])

    return judge


def _worst(works: Sequence[str], ours: str, factor: float) -> Judge:
    def judge(sheet: Sheet) -> Found:
        found = [_times(work, THROUGHPUT, NGINX, factor, ours)(sheet) for work in works]
        known = [each for each in found if each is not None]
        if len(known) < len(works):
            return None
        return min(known, key=lambda each: float(each[0].split()[0]))

    return judge


def _at_most(work: str, quantity: Quantity, limit: float) -> Judge:
    return _at_most_of([work], quantity, limit)


def _at_most_of(works: Sequence[str], quantity: Quantity, limit: float) -> Judge:
    """Judge by the worst round of the worst work: a limit is not to be passed once."""

    def judge(sheet: Sheet) -> Found:
        rounds = [sheet.line(work, quantity).values.get(OURS) for work in works]
        values = [value for each in rounds if each for value in each]
        if not all(rounds):
            return None
        return f"{_figure(max(values), quantity)} {quantity.unit} at most", max(values) <= limit

    return judge


def _later(work: str) -> Judge:
    def judge(sheet: Sheet) -> Found:
        line = sheet.line(work, FIRST_BYTE)
        own, other = line.median(OURS), line.median(NGINX)
        if own is None or other is None:
            return None
        return f"+ {own - other:.1f} ms ({own:.1f} : {other:.1f})", own - other <= _FIRST_BYTE_MS

    return judge


def _flat(rows: int) -> Judge:
    def judge(sheet: Sheet) -> Found:
        few, many = (
            sheet.line(starting.STORE.format(rows=number), REQUESTS).median(OURS)
            for number in (starting.FEW_ROWS, rows)
        )
        if not few or many is None:
            return None
        return f"{many / few:.2f} x ({many:.0f} : {few:.0f})", many / few >= _FLAT

    return judge


def _figure(value: float, quantity: Quantity) -> str:
    return f"{value:.{quantity.digits}f}"
