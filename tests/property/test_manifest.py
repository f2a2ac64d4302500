"""Manifests: whatever comes, it is read or refused, and what is read is what was written."""

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import OCI_ARTIFACT, Manifest, media_type_of, parse_manifest, parse_pushed
from proxy.model.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from proxy.model.strict_json import DEPTH_LIMIT, JsonError, check_json
from tests.support.documents import descriptor, image, index

TYPES = st.sampled_from([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, "application/json"])
KEYS = ["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "subject", "annotations", "Layers"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(descriptor(b"x")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


def read(raw: bytes, media_type: str, parse: Callable[[bytes, str], Manifest] = parse_manifest) -> bool:
    """Tell whether the document is accepted; any other failure than the one of the table is an error of the test."""
    code = None
    try:
        parse(raw, media_type)
    except ProxyError as error:
        code = error.code
    assert code in {None, ErrorCode.MANIFEST_INVALID}
    return code is None


@given(st.binary(max_size=60), TYPES)
def test_any_bytes_are_read_or_refused(raw: bytes, media_type: str) -> None:
    read(raw, media_type)


@given(st.dictionaries(st.sampled_from(KEYS), JSON), TYPES)
def test_any_document_is_read_or_refused(document: dict[str, object], media_type: str) -> None:
    read(json.dumps(document).encode(), media_type)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_document_is_both_an_index_and_an_image(document: dict[str, object]) -> None:
    raw = json.dumps({"schemaVersion": 2} | document).encode()
    pointing = [kind for kind in (OCI_INDEX, OCI_MANIFEST) if read(raw, kind) and parse_manifest(raw, kind).children]
    assert len(pointing) <= 1


@given(st.lists(st.binary(max_size=8)))
def test_children_are_those_that_were_written(contents: list[bytes]) -> None:
    found = parse_manifest(image(b"{}", *contents), OCI_MANIFEST)
    assert [(child.digest, child.size) for child in found.children[1:]] == [
        (Digest.of(content), len(content)) for content in contents
    ]
    assert [child.digest for child in parse_manifest(index(*contents), OCI_INDEX).children] == [
        Digest.of(content) for content in contents
    ]


@given(st.dictionaries(st.sampled_from(KEYS), JSON), TYPES)
def test_what_may_be_pushed_may_be_pulled(document: dict[str, object], media_type: str) -> None:
    raw = json.dumps({"schemaVersion": 2} | document).encode()
    assert read(raw, media_type) or not read(raw, media_type, parse_pushed)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_what_a_document_calls_itself_is_what_it_may_be_sent_as(document: dict[str, object]) -> None:
    raw = json.dumps(document | {"mediaType": OCI_INDEX}).encode()
    assert media_type_of(raw) == OCI_INDEX
    assert not read(raw, OCI_MANIFEST)


# --- strict JSON ----------------------------------------------------------------------------------------------------

TEXT = st.text(alphabet='[]{},:"\\\u0000\u00e9\U0001f600ab', max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def is_strict(raw: bytes) -> bool:
    try:
        check_json(raw)
    except JsonError:
        return False
    return True


@given(
    value=VALUES,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    brackets=st.integers(0, DEPTH_LIMIT + 2),
)
def test_documents_are_accepted_however_they_are_written(
    *, value: object, ascii_only: bool, indent: int | None, brackets: int
) -> None:
    # Brackets in strings are not those of arrays, however many there are.
    document = {"value": value, "text": "[" * brackets}
    assert is_strict(json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode())


def plain(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def escaped(key: str) -> str:
    return '"' + "".join(f"\\u{ord(each):04x}" for each in key) + '"'


KEY = st.text(alphabet='[]{},:"\\\u0000\u00e9ab', max_size=6)
SPELLINGS = st.sampled_from([plain, escaped])
AROUND = st.lists(st.sampled_from(["[%s]", '{"a":%s}', '[1,%s,"[[["]', '{"]":"}","b":%s}']))


@given(VALUES, KEY, SPELLINGS, SPELLINGS, AROUND)
def test_key_that_stands_twice_is_found_wherever_it_is(
    value: object, key: str, first: Callable[[str], str], second: Callable[[str], str], around: list[str]
) -> None:
    def document(other: str) -> bytes:
        text = f'{{{first(key)}:{json.dumps(value)},"c":1,{second(other)}:0}}'
        for each in around:
            text = each.replace("%s", text)
        return text.encode()

    assert not is_strict(document(key))
    assert is_strict(document(f"{key}d"))


@given(st.binary(max_size=40) | st.text(alphabet='[]{},:"\\01ea ', max_size=20).map(str.encode))
def test_what_is_accepted_is_what_another_parser_reads(raw: bytes) -> None:
    try:
        json.loads(raw.decode(), parse_constant=int, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        assert not is_strict(raw)
    else:
        assert is_strict(raw)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
