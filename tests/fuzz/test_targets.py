"""Each target by Hypothesis, from its seeds, and by inputs as long as they may be."""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SIZE, TARGETS, Target

# Lines of Python that a parser may run for each byte, and at all: more than that is no straight reading of it.
_LINES_A_BYTE = 40
_LINES = 20_000

_JUNK = [
    b"",
    b"\x00",
    b"\n",
    b"\xff",
    b'"',
    b"\\",
    b"%",
    b",",
    b"=",
    b" ",
    b"..",
    b"/",
    "\N{FULLWIDTH DIGIT ONE}".encode(),
]


class TooMuchWorkError(Exception):
    """A parser does more than its input is worth."""


@st.composite
def variants(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Return a seed of which parts were repeated, dropped, and replaced by anything."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, len(data)))
        beyond = draw(st.integers(first, min(len(data), first + 40)))
        middle = data[first:beyond] * draw(st.integers(0, 3)) + draw(st.sampled_from(_JUNK) | st.binary(max_size=6))
        data = data[:first] + middle + data[beyond:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_read(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].feed(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_parser_keeps_its_contract(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    anything = st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass"))
    target.feed(data.draw(variants(target.seeds) | anything))


def long_ones(seeds: tuple[bytes, ...]) -> list[bytes]:
    """Return inputs of full length, made to be looked at again and again."""
    pieces = [seed[start:end] for seed in seeds for start, end in ((0, None), (0, 8), (-8, None))]
    pieces += [
        b'"',
        b"\\",
        b'\\"',
        b"a",
        b"a,",
        b"a=",
        b"=",
        b" ",
        b" ,",
        b".",
        b"/",
        b"a/",
        b"%2F",
        b"-",
        b"a-",
        b"&",
        b"a&",
    ]
    pieces += [b"[", b"{", b'{"a":', b"9", b":", b"a:", b"\n", b"a\n", b"\xff", b"*", b"?", b"\t"]
    fitting = [piece for piece in pieces if piece]
    tails = [seed + piece * (SIZE // len(piece)) for seed in seeds[:2] for piece in (b"a", b" ", b'"', b"*")]
    return [(piece * (SIZE // len(piece) + 1))[:SIZE] for piece in fitting] + [tail[:SIZE] for tail in tails]


def lines_run(name: str, data: bytes, most: int) -> None:
    """Feed the target; raise `TooMuchWorkError` once it has run more than `most` lines."""
    left = most

    def count(_frame: FrameType, event: str, _argument: Any) -> Any:  # noqa: ANN401 - as sys.settrace has it
        nonlocal left
        left -= event == "line"
        if left < 0:
            raise TooMuchWorkError(name, data[:40])
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        TARGETS[name].feed(data)
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("name", TARGETS)
def test_work_grows_with_the_input_and_not_faster(name: str) -> None:
    for data in long_ones(TARGETS[name].seeds):
        lines_run(name, data, _LINES + _LINES_A_BYTE * len(data))


def test_work_that_grows_faster_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def quadratic(data: bytes) -> None:
        for _ in data:
            for _ in data:
                pass

    monkeypatch.setitem(TARGETS, "slow", Target(quadratic, (b"a",)))
    with pytest.raises(TooMuchWorkError):
        lines_run("slow", b"a" * SIZE, _LINES + _LINES_A_BYTE * SIZE)
