"""Ranges, against slices of bytes."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ProxyError
from proxy.model.ranges import parse_range

contents = st.binary(max_size=40)
numbers = st.integers(0, 60)


def served(header: str, content: bytes) -> bytes | None:
    """Return the bytes that are sent, None for 416."""
    found = parse_range(header)
    if found is None:
        return content
    try:
        start, stop = found.resolve(len(content))
    except ProxyError:
        return None
    assert 0 <= start < stop <= len(content)
    return content[start:stop]


@given(contents, numbers, numbers)
def test_first_to_last_is_a_slice(content: bytes, first: int, last: int) -> None:
    assert served(f"bytes={first}-{last}", content) == (content[first : last + 1] or None)


@given(contents, numbers)
def test_open_range_is_a_slice(content: bytes, first: int) -> None:
    assert served(f"bytes={first}-", content) == (content[first:] or None)


@given(contents, numbers)
def test_suffix_is_a_slice(content: bytes, length: int) -> None:
    assert served(f"bytes=-{length}", content) == ((content[-length:] if length else b"") or None)


@given(contents, st.text(max_size=30))
def test_any_header_is_answered(content: bytes, header: str) -> None:
    served(header, content)
    served(f"bytes={header}", content)


@given(contents, st.text(alphabet="0123456789-, ", max_size=30))
def test_any_header_that_is_nearly_right_is_answered(content: bytes, ranges: str) -> None:
    sent = served(f"bytes={ranges}", content)
    assert sent is None or sent in content
