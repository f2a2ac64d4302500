"""The grammar of names, tags and digests, against generated text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.media_types import fits_type, is_media_type
from proxy.model.pages import PAGE_LIMIT, parse_page
from proxy.model.reference import RepositoryName, Tag, is_tag, parse_reference, parse_repository

SAFE = re.compile(r"[a-z0-9][a-z0-9._/-]*[a-z0-9]|[a-z0-9]")
word = st.from_regex(r"[a-z0-9]{1,5}", fullmatch=True)
separator = st.sampled_from([".", "_", "__", "-", "--", "---"])


@st.composite
def components(draw: st.DrawFn) -> str:
    text = draw(word)
    for _ in range(draw(st.integers(0, 2))):
        text += draw(separator) + draw(word)
    return text


@given(st.lists(components(), min_size=1, max_size=5).map("/".join))
def test_names_of_the_grammar_are_accepted(name: str) -> None:
    assert parse_repository(name) == name


@given(st.text(max_size=20) | st.text(alphabet="aA0._-/%:\n\u00e9", max_size=12))
def test_names_are_accepted_only_where_they_are_safe_in_paths(text: str) -> None:
    found: RepositoryName | ErrorCode
    try:
        found = parse_repository(text)
    except ProxyError as error:
        found = error.code
    if isinstance(found, ErrorCode):
        assert found is ErrorCode.NAME_INVALID
    else:
        assert found == text
        assert SAFE.fullmatch(found)
        assert not {"", ".", ".."} & set(found.split("/"))


@given(st.text(max_size=20) | st.text(alphabet="aA0._-/%:\n\u00e9", max_size=12))
def test_references_are_tags_digests_or_refused(text: str) -> None:
    found: Tag | Digest | ErrorCode
    try:
        found = parse_reference(text)
    except ProxyError as error:
        found = error.code
    if isinstance(found, Digest):
        assert str(found) == text
    elif isinstance(found, str):
        assert is_tag(found)
        assert found == text
        assert not found.startswith((".", "-"))
        assert "/" not in found
    else:
        assert found in {ErrorCode.DIGEST_INVALID, ErrorCode.MANIFEST_UNKNOWN}


@given(st.binary(max_size=50), st.sampled_from(["sha256", "sha512"]))
def test_digests_survive_writing_and_reading(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    assert Digest.parse(str(digest)) == digest


name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", fullmatch=True)


@given(name, name)
def test_media_types_of_the_grammar_are_accepted(kind: str, subtype: str) -> None:
    assert is_media_type(f"{kind}/{subtype}")


@given(st.text(max_size=20) | st.text(alphabet="aA0/+.;= *\r\n\u00e9", max_size=12))
def test_media_types_are_accepted_only_where_they_are_safe_in_headers(text: str) -> None:
    if is_media_type(text):
        assert re.fullmatch(r"[!-~]+/[!-~]+", text)
        assert not set(text) & set('",;= *()<>@:\\[]?{}')
        assert fits_type(text)
    if fits_type(text):
        assert re.fullmatch(r"[ -~]*", text)


@given(st.text(max_size=6) | st.integers(-1, PAGE_LIMIT + 2).map(str), st.text(max_size=20))
def test_pages_are_within_their_limits_or_refused(n: str, last: str) -> None:
    try:
        page = parse_page(n, last)
    except ProxyError as error:
        assert error.code is ErrorCode.PAGINATION_NUMBER_INVALID  # noqa: PT017 - refused or read, and nothing else
        return
    assert page.n is not None
    assert 0 <= page.n <= PAGE_LIMIT
    assert re.fullmatch(r"[ -~]*", page.last)
    assert (page.n, page.last) == (int(n), last)
