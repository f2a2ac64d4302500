"""The Content-Range of chunks, as the distribution-spec writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.chunk import ChunkRange
from proxy.model.errors import ErrorCode, ProxyError


@pytest.mark.parametrize(
    ("header", "first", "last", "length"),
    [("0-0", 0, 0, 1), ("0-1023", 0, 1023, 1024), ("1024-2047", 1024, 2047, 1024), ("007-08", 7, 8, 2)],
)
def test_a_range_is_two_positions_inclusive(header: str, first: int, last: int, length: int) -> None:
    found = ChunkRange.parse(header)
    assert (found, found.length) == (ChunkRange(first, last), length)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "0-",
        "-5",
        "5",
        "5-4",
        "a-b",
        "+1-2",
        "1--2",
        "0 - 5",
        " 0-5",
        "0-5 ",
        "0-5\n",
        "0-5, 6-7",
        "0-5/6",
        "0-5/*",
        "bytes 0-5",
        "bytes 0-5/6",
        "bytes=0-5",
        "0x0-0x5",
        "\u0660-\u0665",  # digits, but not of ASCII
        "0-" + "9" * 19,
        "0" * 5000 + "-5",
    ],
)
def test_everything_else_is_refused(header: str) -> None:
    with pytest.raises(ProxyError) as raised:
        ChunkRange.parse(header)
    assert raised.value.code is ErrorCode.BLOB_UPLOAD_INVALID
    assert raised.value.detail["content_range"] == header[:100]


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_a_written_range_is_read_as_it_was_meant(first: int, last: int) -> None:
    if first <= last:
        assert ChunkRange.parse(f"{first}-{last}") == ChunkRange(first, last)
    else:
        with pytest.raises(ProxyError):
            ChunkRange.parse(f"{first}-{last}")
