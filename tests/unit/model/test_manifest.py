"""Manifests are read strictly: what two readers could understand differently is refused."""

import json
from typing import Any

import pytest

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.manifest import (
    DESCRIPTOR_LIMIT,
    MANIFEST_LIMIT,
    OCI_ARTIFACT,
    media_type_of,
    parse_descriptors,
    parse_manifest,
    parse_pushed,
)
from proxy.model.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support.documents import CONFIG_TYPE, LAYER_TYPE, descriptor, image, index

CONFIG = Digest.of(b"{}")

# With a long s, as keys of Python's own syntax cannot be written.
LONG_LAYERS = {"layer\u017f": list[str]()}
LONG_SUBJECT = {"\u017fubject": descriptor(b"x")}


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
        (image(**LONG_LAYERS), OCI_MANIFEST),
        (image(**LONG_SUBJECT), OCI_MANIFEST),
        (index(Subject=descriptor(b"x")), OCI_INDEX),
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
        {"mediaType": "a/" + "b" * 254},
        {"mediaType": "text/\u00e9"},
        {"mediaType": "a/b\x00"},
        {"mediaType": "a/b\r\nc: d"},
        {"artifactType": "a/b\n"},
        {"artifactType": ["a/b"]},
        {"size": 10**400},
        {"Digest": str(CONFIG)},
        {"SIZE": 1},
        {"mediatype": "a/b"},
        {"\u017fize": 1},
        {"Annotations": {}},
        {"URLs": []},
        {"Data": ""},
        {"annotations": {"\ud800": "a"}},
        {"annotations": {"a": "\udc00"}},
        {"mediaType": "a/\ud800"},
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


@pytest.mark.parametrize("key", ["digest", "\\u0064igest"])
def test_too_many_descriptors_are_refused(key: str) -> None:
    entry = f'{{"{key}":"{CONFIG}","size":2}}'
    raw = '{"schemaVersion":2,"manifests":[%s]}'
    assert len(parse_manifest((raw % ",".join([entry] * DESCRIPTOR_LIMIT)).encode(), OCI_INDEX).children) == 10_000
    assert "holds 10003 descriptors" in refused((raw % ",".join([entry] * 10_003)).encode(), OCI_INDEX)
    assert "values" in refused((raw % ",".join([entry] * 80_000)).encode(), OCI_INDEX)
    tiny = b'{"schemaVersion":2,"manifests":[%b]}' % b",".join([b"{}"] * 1_000_000)
    assert "values" in refused(tiny, OCI_INDEX)


def test_as_many_full_descriptors_as_the_limit_are_accepted() -> None:
    entry = descriptor(b"x", OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"})
    raw = index(manifests=[entry] * DESCRIPTOR_LIMIT)
    assert len(parse_pushed(raw, OCI_INDEX).children) == DESCRIPTOR_LIMIT


LAYER = json.dumps(descriptor(b"x"))


@pytest.mark.parametrize(
    "fields",
    [
        f'"layers":[{LAYER}],"layers":[]',
        f'"layers":[],"config":{LAYER}',
        '"mediaType":"application/vnd.oci.image.manifest.v1+json","mediaType":null',
        f'"layers":[{LAYER[:-1]},"size":2}}]',
        f'"layers":[{LAYER[:-1]},"annotations":{{"a":"b","a":"b"}}}}]',
        f'"subject":{LAYER[:-1]},"\\u0064igest":"{CONFIG}"}}',
        '"annotations":{"a":"b"},"annotations":{}',
        '"annotations":{"a":"b","a":"c"}',
        '"x":{"y":[{"z":1,"z":1}]}',
    ],
)
def test_key_that_an_object_has_twice_is_refused_at_every_level(fields: str) -> None:
    raw = f'{{"schemaVersion":2,"config":{json.dumps(descriptor(b"{}"))},{fields}}}'.encode()
    assert "twice" in refused(raw, OCI_MANIFEST)


def test_document_of_an_unknown_type_has_no_key_twice_either() -> None:
    refused(b'{"mediaType":"a/b","mediaType":"c/d"}', "c/d")


def test_keys_in_other_case_are_free_where_keys_are_free() -> None:
    annotations = {"Digest": "a", "LAYERS": "b", "size": "c", "Size": "d"}
    layer = descriptor(b"x", annotations=annotations, platform={"OS": "linux"}, unknown={"Digest": 1})
    raw = image(layers=[layer], annotations=annotations, Size=1, URLS=[], unknown={"Layers": []})
    found = parse_pushed(raw, OCI_MANIFEST)
    assert (found.annotations, found.children[1].annotations) == (annotations, annotations)


def test_numbers_are_only_limited_where_they_are_read() -> None:
    raw = image(layers=[descriptor(b"x") | {"size": (1 << 63) - 1}], big=10**400)
    assert parse_manifest(raw, OCI_MANIFEST).children[1].size == (1 << 63) - 1
    parse_manifest(b'{"schemaVersion":2,"manifests":[],"x":1e999}', OCI_INDEX)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused_wherever_it_stands(text: str) -> None:
    refused(f'{{"schemaVersion":2,"manifests":[],"x":[{{"y":{text}}}]}}'.encode(), OCI_INDEX)


def test_descriptors_that_are_kept_as_a_list_are_read_whatever_their_number() -> None:
    assert [one.digest for one in parse_descriptors(index(image()))] == [Digest.of(image())]
    many = index(manifests=[descriptor(b"x", note="y" * 1000)] * (DESCRIPTOR_LIMIT + 1))
    assert len(many) > MANIFEST_LIMIT
    assert len(parse_descriptors(many)) == DESCRIPTOR_LIMIT + 1
    for raw in (
        b"{",
        b"[]",
        index(manifests=[{"digest": "x", "size": 1}]),
        index(manifests=[descriptor(b"x") | {"size": -1}]),
    ):
        with pytest.raises(ProxyError) as raised:
            parse_descriptors(raw)
        assert raised.value.code is ErrorCode.MANIFEST_INVALID


# --- what clients push ----------------------------------------------------------------------------------------------

EMPTY = descriptor(b"{}", "application/vnd.oci.empty.v1+json", data="e30=")
HELM = image(
    config=descriptor(b"chart", "application/vnd.cncf.helm.config.v1+json"),
    layers=[descriptor(b"tar", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")],
    annotations={"org.opencontainers.image.title": "chart"},
)
ORAS = image(
    artifactType="application/vnd.example+type",
    config=EMPTY,
    layers=[descriptor(b"text", "text/plain", annotations={"org.opencontainers.image.title": "a.txt"})],
)
BUNDLE = image(
    artifactType="application/vnd.dev.sigstore.bundle+json;version=0.2",
    config=EMPTY,
    layers=[descriptor(b"bundle", "application/vnd.dev.sigstore.bundle+json; version=0.2")],
    subject=descriptor(image(), OCI_MANIFEST),
)
UNKNOWN_PLATFORM = descriptor(b"a", OCI_MANIFEST, platform={"architecture": "unknown", "os": "unknown"})


@pytest.mark.parametrize(
    ("raw", "media_type", "artifact_type", "children"),
    [
        (image(), OCI_MANIFEST, CONFIG_TYPE, 1),
        (image(b"{}", layers=None), OCI_MANIFEST, CONFIG_TYPE, 1),
        (image(b"{}", b"", b"", b""), OCI_MANIFEST, CONFIG_TYPE, 4),
        (image(b"{}", b"x", mediaType=DOCKER_MANIFEST), DOCKER_MANIFEST, CONFIG_TYPE, 2),
        (image(config=EMPTY, artifactType="a/b", layers=[EMPTY]), OCI_MANIFEST, "a/b", 2),
        (HELM, OCI_MANIFEST, "application/vnd.cncf.helm.config.v1+json", 2),
        (ORAS, OCI_MANIFEST, "application/vnd.example+type", 2),
        (BUNDLE, OCI_MANIFEST, "application/vnd.dev.sigstore.bundle+json;version=0.2", 2),
        (index(), OCI_INDEX, None, 0),
        (index(manifests=[UNKNOWN_PLATFORM]), OCI_INDEX, None, 1),
        (index(manifests=[descriptor(index(), OCI_INDEX)]), OCI_INDEX, None, 1),
        (index(artifactType="a/b", subject=descriptor(image(), OCI_MANIFEST)), OCI_INDEX, "a/b", 0),
        (index(image(), mediaType=DOCKER_LIST), DOCKER_LIST, None, 1),
        (document(config=descriptor(b"{}", CONFIG_TYPE), layers=[]), OCI_MANIFEST, CONFIG_TYPE, 1),
        (document(artifactType="a/b", blobs=[]), OCI_ARTIFACT, "a/b", 0),
        (b'{"any": "thing"}', "application/vnd.example.manifest+json", None, 0),
    ],
)
def test_what_tools_push_is_accepted(raw: bytes, media_type: str, artifact_type: str | None, children: int) -> None:
    found = parse_pushed(raw, media_type)
    assert (found.media_type, found.artifact_type, len(found.children)) == (media_type, artifact_type, children)
    assert found == parse_manifest(raw, media_type)


@pytest.mark.parametrize("text", ["", "text", "a/", "/b", "a/b/c", "a b/c", "a/b c", ";a/b", "a/" + "b" * 128, "*/*"])
@pytest.mark.parametrize("place", ["config", "layers", "subject", "manifests", "artifactType", "own"])
def test_pushed_documents_name_media_types_and_others_need_not(place: str, text: str) -> None:
    bad, kind = descriptor(b"x") | {"mediaType": text}, OCI_MANIFEST
    match place:
        case "config" | "subject":
            raw = image(**{place: bad})
        case "layers":
            raw = image(layers=[bad])
        case "manifests":
            raw, kind = index(manifests=[bad]), OCI_INDEX
        case "artifactType":
            raw = image(layers=[descriptor(b"x", artifactType=text or "-")])
        case _:
            raw, kind = index(artifactType=text or "-"), OCI_INDEX
    parse_manifest(raw, kind)
    with pytest.raises(ProxyError) as raised:
        parse_pushed(raw, kind)
    assert raised.value.code is ErrorCode.MANIFEST_INVALID


@pytest.mark.parametrize(
    "media_type", ["text/html", "image/svg+xml", "", "json", "application/x; charset=utf-8", "*/*"]
)
def test_pushed_document_is_of_a_type_of_documents(media_type: str) -> None:
    with pytest.raises(ProxyError) as raised:
        parse_pushed(b'"<script>"', media_type)
    assert raised.value.code is ErrorCode.MANIFEST_INVALID


def test_descriptor_without_media_type_is_read_where_a_registry_holds_it() -> None:
    bare = {"digest": str(CONFIG), "size": 2}
    found = parse_manifest(image(config=bare, layers=[bare]), OCI_MANIFEST)
    assert ([child.media_type for child in found.children], found.artifact_type) == (["", ""], None)


# --- what it says of itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (image(), OCI_MANIFEST),
        (index(mediaType=DOCKER_LIST), DOCKER_LIST),
        (image(mediaType=None), None),
        (b"{}", None),
        (b'{"x": {"mediaType": "a/b"}}', None),
    ],
)
def test_media_type_is_what_the_document_says(raw: bytes, media_type: str | None) -> None:
    assert media_type_of(raw) == media_type


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"a/b"',
        b'{"mediaType": 7}',
        b'{"mediaType": ""}',
        b'{"mediaType": "a/b\\r\\nX: y"}',
        b'{"mediaType": "a/b; c=d"}',
        b'{"mediaType": "a/\xff"}',
        b'{"mediaType": "\\ud800/b"}',
        b'{"a":' * 100_000,
        b" " * (MANIFEST_LIMIT + 1),
    ],
)
def test_document_that_does_not_say_what_it_is_is_refused(raw: bytes) -> None:
    with pytest.raises(ProxyError) as raised:
        media_type_of(raw)
    assert raised.value.code is ErrorCode.MANIFEST_INVALID


# --- what need not be here ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_foreign"),
    [
        ({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"}, True),
        ({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}, True),
        ({"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"}, True),
        ({"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, True),
        ({"urls": ["https://example.com/layer"]}, True),
        ({"urls": []}, False),
        ({"urls": None}, False),
        ({"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}, False),
        ({"mediaType": "application/vnd.example.nondistributable.v1.tar"}, False),
        ({"data": "eA=="}, False),
    ],
)
def test_layers_that_are_kept_elsewhere_are_not_required(fields: dict[str, Any], is_foreign: bool) -> None:  # noqa: FBT001 - a case of the table
    found = parse_pushed(image(b"{}", layers=[descriptor(b"x") | fields, descriptor(b"y")]), OCI_MANIFEST)
    assert found.children[1].is_foreign is is_foreign
    assert [child.digest for child in found.required] == [
        CONFIG,
        *([] if is_foreign else [Digest.of(b"x")]),
        Digest.of(b"y"),
    ]


def test_subject_is_not_required() -> None:
    found = parse_pushed(image(b"{}", subject=descriptor(b"subject", OCI_MANIFEST)), OCI_MANIFEST)
    assert [child.digest for child in found.required] == [CONFIG]


def test_an_empty_media_type_counts_as_none() -> None:
    assert parse_manifest(image(b"{}", mediaType=""), OCI_MANIFEST).media_type == OCI_MANIFEST
