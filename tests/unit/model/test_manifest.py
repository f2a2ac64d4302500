"""Manifests are read strictly: what two readers could understand differently is refused."""

import json
from typing import Any

import pytest

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import DESCRIPTOR_LIMIT, MANIFEST_LIMIT, OCI_ARTIFACT, parse_descriptors, parse_manifest
from proxy.model.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support.documents import CONFIG_TYPE, LAYER_TYPE, descriptor, image, index

CONFIG = Digest.of(b"{}")


def document(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2} | fields).encode()


def refused(raw: bytes, media_type: str) -> str:
    with pytest.raises(ProxyError) as raised:
        parse_manifest(raw, media_type)
    assert raised.value.code is ErrorCode.MANIFEST_INVALID
    return raised.value.message


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_image_points_to_its_config_and_layers(media_type: str) -> None:
    found = parse_manifest(image(b"{}", b"one", b"two", mediaType=media_type), media_type)
    assert [(child.digest, child.size, child.media_type) for child in found.children] == [
        (CONFIG, 2, CONFIG_TYPE),
        (Digest.of(b"one"), 3, LAYER_TYPE),
        (Digest.of(b"two"), 3, LAYER_TYPE),
    ]
    assert (found.media_type, found.subject, found.artifact_type) == (media_type, None, CONFIG_TYPE)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_index_points_to_its_manifests(media_type: str) -> None:
    found = parse_manifest(index(image(), mediaType=media_type), media_type)
    assert [child.digest for child in found.children] == [Digest.of(image())]
    assert found.artifact_type is None


@pytest.mark.parametrize("manifests", [[], None])
def test_empty_index_is_valid(manifests: list[Any] | None) -> None:
    assert parse_manifest(document(manifests=manifests), OCI_INDEX).children == ()


def test_subject_annotations_and_artifact_type_are_read() -> None:
    raw = image(
        b"{}",
        subject=descriptor(b"subject", OCI_MANIFEST),
        artifactType="application/x.sig",
        annotations={"a": "b"},
        unknown={"kept": [1, None]},
    )
    found = parse_manifest(raw, OCI_MANIFEST)
    assert found.subject is not None
    assert found.subject.digest == Digest.of(b"subject")
    assert (found.artifact_type, found.annotations) == ("application/x.sig", {"a": "b"})
    assert found.subject not in found.children
    assert parse_manifest(index(artifactType="application/x.set"), OCI_INDEX).artifact_type == "application/x.set"


def test_withdrawn_artifact_manifest_points_to_its_blobs() -> None:
    raw = document(mediaType=OCI_ARTIFACT, artifactType="x/y", blobs=[descriptor(b"blob")])
    found = parse_manifest(raw, OCI_ARTIFACT)
    assert ([child.digest for child in found.children], found.artifact_type) == ([Digest.of(b"blob")], "x/y")


def test_descriptors_keep_urls_annotations_and_artifact_types() -> None:
    layer = descriptor(b"x", urls=["https://e.example/x"], annotations={"k": "v"}, artifactType="a/b")
    child = parse_manifest(image(b"{}", layers=[layer]), OCI_MANIFEST).children[1]
    assert (child.urls, child.annotations, child.artifact_type) == (("https://e.example/x",), {"k": "v"}, "a/b")


def test_sha512_children_are_read() -> None:
    layer = descriptor(b"x") | {"digest": str(Digest.of(b"x", "sha512"))}
    assert parse_manifest(image(b"{}", layers=[layer]), OCI_MANIFEST).children[1].digest == Digest.of(b"x", "sha512")


@pytest.mark.parametrize("raw", [b"{}", b'{"manifests": 7}', b"[1]", b'"text"', b"null", b" 1 "])
def test_json_of_an_unknown_type_points_to_nothing(raw: bytes) -> None:
    found = parse_manifest(raw, "application/vnd.example+json")
    assert (found.children, found.subject, found.media_type) == ((), None, "application/vnd.example+json")


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (image(manifests=[]), OCI_MANIFEST),
        (index(layers=[]), OCI_INDEX),
        (index(config=descriptor(b"{}")), OCI_INDEX),
        (index(blobs=[]), OCI_INDEX),
        (image(blobs=[]), OCI_MANIFEST),
        (document(blobs=[], layers=[]), OCI_ARTIFACT),
        (image(), OCI_INDEX),
        (index(), OCI_MANIFEST),
        (image(), DOCKER_MANIFEST),
        (image(), "application/json"),
        (index(mediaType="text/html"), OCI_INDEX),
        (index(Layers=[]), OCI_INDEX),
        (image(MANIFESTS=[]), OCI_MANIFEST),
        (image(), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (image(), "application/vnd.docker.distribution.manifest.v1+json"),
    ],
)
def test_ambiguous_documents_are_refused(raw: bytes, media_type: str) -> None:
    refused(raw, media_type)


@pytest.mark.parametrize(
    "fields",
    [
        {"size": -1},
        {"size": 1 << 63},
        {"size": 1.5},
        {"size": "1"},
        {"size": None},
        {"digest": "sha256:../../etc/passwd"},
        {"digest": "sha256:" + "A" * 64},
        {"digest": "sha256:" + "a" * 63},
        {"digest": "md5:" + "a" * 32},
        {"digest": ""},
        {"digest": None},
        {"annotations": {"a": 1}},
        {"annotations": []},
        {"urls": "https://e.example"},
        {"mediaType": 7},
    ],
)
@pytest.mark.parametrize("place", ["layers", "config", "subject", "manifests"])
def test_malformed_descriptors_are_refused(place: str, fields: dict[str, Any]) -> None:
    bad = descriptor(b"x") | fields
    if place == "manifests":
        refused(index(manifests=[bad]), OCI_INDEX)
    else:
        refused(image(b"{}", **{place: [bad] if place == "layers" else bad}), OCI_MANIFEST)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html></html>",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'{"schemaVersion":2,"manifests":[]} trailing',
        b'{"schemaVersion":NaN,"manifests":[]}',
        b'{"schemaVersion":2,"manifests":[],"x":NaN}',
        b'{"schemaVersion":2,"manifests":[],"x":"\xff"}',
        b'{"schemaVersion":2,"manifests":[],"artifactType":"\\ud800"}',
        b'{"schemaVersion":1,"manifests":[]}',
        b'{"manifests":[]}',
        b'{"schemaVersion":"2","manifests":[]}',
        b'{"schemaVersion":2,"manifests":{}}',
        b'{"schemaVersion":2,"manifests":[null]}',
        b'{"schemaVersion":2,"manifests":[],"annotations":{"a":null}}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_index_is_refused(raw: bytes) -> None:
    refused(raw, OCI_INDEX)


@pytest.mark.parametrize("raw", [b"", b"<html></html>", b"{", b"\xff"])
def test_what_is_no_json_is_refused_whatever_its_type(raw: bytes) -> None:
    refused(raw, "application/vnd.example+json")


def test_image_without_config_is_refused() -> None:
    refused(document(layers=[]), OCI_MANIFEST)


@pytest.mark.parametrize("media_type", [OCI_INDEX, "application/vnd.example+json"])
def test_too_large_documents_are_refused_before_they_are_read(media_type: str) -> None:
    assert str(MANIFEST_LIMIT) in refused(b" " * (MANIFEST_LIMIT + 1), media_type)


def test_four_mebibytes_of_annotations_are_accepted() -> None:
    raw = index(annotations={f"k{i}": "v" * 1000 for i in range(4000)})
    assert len(parse_manifest(raw, OCI_INDEX).annotations) == 4000


@pytest.mark.parametrize("media_type", [OCI_INDEX, "application/vnd.example+json"])
@pytest.mark.parametrize("nest", ["[", '{"a":'])
def test_deeply_nested_documents_are_refused(nest: str, media_type: str) -> None:
    refused(f'{{"schemaVersion":2,"manifests":[],"x":{nest * 100_000}'.encode(), media_type)


@pytest.mark.parametrize(("key", "words"), [("digest", "holds more than"), ("\\u0064igest", "holds 10003 descriptors")])
def test_too_many_descriptors_are_refused(key: str, words: str) -> None:
    entry = f'{{"{key}":"{CONFIG}","size":2}}'
    raw = '{"schemaVersion":2,"manifests":[%s]}'
    assert len(parse_manifest((raw % ",".join([entry] * DESCRIPTOR_LIMIT)).encode(), OCI_INDEX).children) == 10_000
    many = (raw % ",".join([entry] * (DESCRIPTOR_LIMIT + 3))).encode()
    assert words in refused(many, OCI_INDEX)


def test_last_of_duplicate_keys_counts_as_it_does_for_clients() -> None:
    raw = f'{{"schemaVersion":2,"manifests":[{json.dumps(descriptor(b"x"))}],"manifests":[]}}'.encode()
    assert parse_manifest(raw, OCI_INDEX).children == ()


def test_descriptors_of_an_index_are_read() -> None:
    assert [one.digest for one in parse_descriptors(index(image()))] == [Digest.of(image())]
    for raw in (b"{", b" " * (MANIFEST_LIMIT + 1), index(manifests=[{"digest": "x", "size": 1}])):
        with pytest.raises(ProxyError) as raised:
            parse_descriptors(raw)
        assert raised.value.code is ErrorCode.MANIFEST_INVALID
