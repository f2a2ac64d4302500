from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.values import format_duration, format_size, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("24h", 86400),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1.5 h", 5400),
        ("30", 30),
        (2, 2),
        (0.5, 0.5),
        ("0s", 0),
    ],
)
def test_durations_are_numbers_with_a_unit_or_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5 minutes", "-5s", -5, True, None, "1e9s", float("nan"), float("inf"), "9" * 30 + "d"]
)
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is a number with a unit"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**11))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1, "1 B"), (1024, "1 KiB"), (1536, "1536 B"), (1 << 30, "1 GiB"), (3 << 40, "3 TiB")],
)
def test_sizes_are_shown_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert format_size(size) == text
