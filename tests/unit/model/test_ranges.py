"""The Range header (RFC 9110 §14)."""

import pytest

from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.ranges import ByteRange, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499", (0, 500)),
        ("bytes=500-999", (500, 1000)),
        ("bytes=500-", (500, 1000)),
        ("bytes=-500", (500, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=0-0", (0, 1)),
        ("bytes=999-999", (999, 1000)),
        ("bytes=500-1000", (500, 1000)),  # regclient asks for one byte too many
        ("bytes=0-99999999999999999999999999", (0, 1000)),
        ("BYTES=1-2", (1, 3)),
        ("bytes= 1-2 ", (1, 3)),
        ("bytes=,1-2, ,", (1, 3)),
        ("bytes=000000000000000000000000001-2", (1, 3)),
    ],
)
def test_single_range_is_resolved_and_clamped(header: str, expected: tuple[int, int]) -> None:
    found = parse_range(header)
    assert found is not None
    assert found.resolve(1000) == expected


@pytest.mark.parametrize(
    "header",
    [
        "bytes=1000-",
        "bytes=1000-2000",
        f"bytes={'9' * 5000}-",
        "bytes=-0",
        "bytes=-00",
        "bytes=500-0",
        "bytes=500-499",
        "bytes=2000-1500",
        f"bytes={'9' * 5000}-0",
    ],
)
def test_range_that_holds_no_byte_is_refused_with_the_size(header: str) -> None:
    found = parse_range(header)
    assert found is not None
    with pytest.raises(ProxyError) as raised:
        found.resolve(1000)
    assert raised.value.code is ErrorCode.RANGE_INVALID
    assert raised.value.headers == {"Content-Range": "bytes */1000"}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-5", "bytes=-5"])
def test_no_range_lies_in_empty_content(header: str) -> None:
    found = parse_range(header)
    assert found is not None
    with pytest.raises(ProxyError, match="0 bytes"):
        found.resolve(0)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=0x1-2",
        "bytes=\u0661-\u0662",  # digits, but not of the grammar
        "bytes=0-1,5-6",
        "bytes=0-1,0-1",
        "items=0-5",
        "0-5",
        "bytes:0-5",
    ],
)
def test_what_is_not_one_valid_range_of_bytes_is_ignored(header: str | None) -> None:
    assert parse_range(header) is None


def test_ranges_are_values() -> None:
    assert parse_range("bytes=1-2") == ByteRange(1, 2)
    assert parse_range("bytes=-2") == ByteRange(None, 2)
