"""Manifests: whatever comes, it is read or refused, and what is read is what was written."""

import json

from hypothesis import given
from hypothesis import strategies as st

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import OCI_ARTIFACT, parse_manifest
from proxy.model.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support.documents import descriptor, image, index

TYPES = st.sampled_from([OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, "application/json"])
KEYS = ["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "subject", "annotations", "Layers"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(descriptor(b"x")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


def read(raw: bytes, media_type: str) -> bool:
    """Tell whether the document is accepted; any other failure than the one of the table is an error of the test."""
    code = None
    try:
        parse_manifest(raw, media_type)
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
