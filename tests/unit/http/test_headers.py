"""Header fields by themselves: RFC 9211, warnings, conditions, ranges."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.http.oci import headers
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.reference import Tag

DIGEST = Digest.of(b"content")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (CacheStatus(hit=True), "pullthrough; hit"),
        (CacheStatus(hit=True, detail="budget"), "pullthrough; hit; detail=budget"),
        (CacheStatus(forward=Forward.MISS, stored=True), "pullthrough; fwd=uri-miss; stored"),
        (CacheStatus(forward=Forward.MISS), "pullthrough; fwd=uri-miss"),
        (CacheStatus(forward=Forward.MISS, bypass=True), "pullthrough; fwd=uri-miss"),
        (CacheStatus(), "pullthrough; fwd=uri-miss"),
        (
            CacheStatus(forward=Forward.MISS, stored=True, collapsed=True),
            "pullthrough; fwd=uri-miss; stored; collapsed",
        ),
        (CacheStatus(hit=True, forward=Forward.STALE), "pullthrough; fwd=stale"),
        (CacheStatus(forward=Forward.STALE, stored=True), "pullthrough; fwd=stale; stored"),
        (CacheStatus(hit=True, stale="server_error"), "pullthrough; hit; detail=stale-server_error"),
        (CacheStatus(hit=True, stale='say "no"; x'), "pullthrough; hit; detail=stale"),
    ],
)
def test_cache_status(status: CacheStatus, expected: str) -> None:
    assert headers.cache_status(status) == expected


def test_a_warning_is_a_quoted_string() -> None:
    assert headers.warning('quay.io said "no" \\o/') == '299 - "quay.io said \\"no\\" \\\\o/"'


def test_a_warning_holds_no_line_breaks_and_only_ascii() -> None:
    assert headers.warning("a\r\nSet-Cookie: x\u00e9") == '299 - "a??Set-Cookie: x?"'


@pytest.mark.parametrize("text", ["x" * 9000, '"' * 9000, "x" + "\\" * 9000])
def test_a_warning_has_at_most_4096_bytes(text: str) -> None:
    value = headers.warning(text)
    assert 4094 <= len(value) <= 4096
    inner = value.removeprefix('299 - "').removesuffix('"')
    assert inner.replace("\\\\", "").replace('\\"', "").strip("x") == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([f'"{DIGEST}"'], True),
        ([f'W/"{DIGEST}"'], True),
        (["*"], True),
        ([f'"other", "{DIGEST}"'], True),
        (['"other"', f'"{DIGEST}"'], True),
        (['"other"'], False),
        ([str(DIGEST)], False),
        ([""], False),
    ],
)
def test_if_none_match(values: list[str], expected: bool) -> None:  # noqa: FBT001 - a table's column
    request = make_mocked_request("GET", "/", CIMultiDict([("If-None-Match", value) for value in values]))
    assert headers.unchanged(request, DIGEST) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (None, "bytes=1-2"),
        (f'"{DIGEST}"', "bytes=1-2"),
        (f'W/"{DIGEST}"', None),
        ('"other"', None),
        ("Sat, 29 Oct 1994 19:43:31 GMT", None),
    ],
)
def test_if_range_is_compared_strongly(condition: str | None, expected: str | None) -> None:
    fields = {"Range": "bytes=1-2"} | ({"If-Range": condition} if condition is not None else {})
    assert headers.wanted_range(make_mocked_request("GET", "/", fields), DIGEST) == expected


def test_a_range_counts_for_get_only() -> None:
    assert headers.wanted_range(make_mocked_request("HEAD", "/", {"Range": "bytes=1-2"}), DIGEST) is None


def test_several_range_fields_are_one_list() -> None:
    request = make_mocked_request("GET", "/", CIMultiDict([("Range", "bytes=0-1"), ("Range", "bytes=4-5")]))
    assert headers.wanted_range(request, DIGEST) == "bytes=0-1, bytes=4-5"


def test_content_never_changes_and_tags_may() -> None:
    assert headers.lifetime(DIGEST) == "max-age=31536000, immutable"
    assert headers.lifetime(Tag("latest")) == "no-cache"
