"""Manifests: what they point to, read strictly (OCI image-spec, image index, manifest; Docker image manifest v2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.media_types import IMAGES, INDEXES, SCHEMA1_PREFIX

MANIFEST_LIMIT = 8 << 20
"""The largest manifest that is accepted, in bytes. The distribution-spec asks for at least 4 MiB."""

DESCRIPTOR_LIMIT = 10_000
"""The most descriptors that one manifest may hold."""

OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
"""The artifact manifest of image-spec 1.1.0-rc1; withdrawn, but still found in registries."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says, beside its bytes.

    `children` are the descriptors of all content it points to (config, layers, blobs, manifests) in the order of
    the document, without its subject. `artifact_type` is as referrers lists tell it: the manifest's own, else
    its config's media type; for an index only its own (distribution-spec, "Listing Referrers").
    """

    media_type: str
    children: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    media_type: str = ""
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None


class _Document(msgspec.Struct, rename="camel"):
    schema_version: int | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    blobs: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    subject: _Descriptor | None = None
    annotations: dict[str, str] | None = None


_KEYS = {key.lower(): key for key in _Document.__struct_encode_fields__}
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
_document = msgspec.json.Decoder(_Document)


def parse_manifest(raw: bytes, media_type: str) -> Manifest:
    """Return what the manifest `raw`, sent as `media_type` (without parameters), points to.

    Documents that two readers could understand differently are refused (CVE-2021-41190), as are Docker's schema 1,
    malformed descriptors and documents over the limits: `ProxyError` MANIFEST_INVALID. JSON of another media type
    is content of its own kind: it points to nothing.
    """
    _check_text(raw)
    if media_type.startswith(SCHEMA1_PREFIX):
        raise _invalid("Docker's image manifest schema 1 is not supported: its content cannot be verified")
    if media_type in INDEXES | IMAGES | {OCI_ARTIFACT}:
        return _parse_known(raw, media_type)
    value = _decode(_any, raw)
    if isinstance(value, dict):
        _check_media_type(value.get("mediaType"), media_type)
    return Manifest(media_type)


def parse_descriptors(raw: bytes) -> tuple[Descriptor, ...]:
    """Return the descriptors of an image index whose media type is not at hand, such as a referrers list.

    Raises `ProxyError` MANIFEST_INVALID, as `parse_manifest` does.
    """
    _check_text(raw)
    document = _decode(_document, raw)
    return _descriptors(document.manifests)


def _parse_known(raw: bytes, media_type: str) -> Manifest:
    if raw.count(b'"digest"') > DESCRIPTOR_LIMIT + 2:  # found before a million of them become objects
        raise _invalid(f"it holds more than {DESCRIPTOR_LIMIT} descriptors")
    for key in _decode(_keys, raw):
        # Go's readers ignore the case of keys: "Layers" beside "manifests" is the same ambiguity in disguise.
        if key not in _KEYS.values() and key.lower() in _KEYS:
            raise _invalid(f"the key {key[:40]!r} is spelled {_KEYS[key.lower()]!r}")
    document = _decode(_document, raw)
    _check_media_type(document.media_type, media_type)
    children: tuple[Descriptor, ...]
    if media_type in INDEXES:
        _check_version(document)
        _check_absent(document, media_type, "config", "layers", "blobs")
        children = _descriptors(document.manifests)
    elif media_type in IMAGES:
        _check_version(document)
        _check_absent(document, media_type, "manifests", "blobs")
        if document.config is None:
            raise _invalid("it has no config")
        children = (_descriptor(document.config), *_descriptors(document.layers))
    else:
        _check_absent(document, media_type, "config", "layers", "manifests")
        children = _descriptors(document.blobs)
    return Manifest(
        media_type,
        children,
        _descriptor(document.subject) if document.subject is not None else None,
        _artifact_type(document),
        document.annotations or {},
    )


def _decode(decoder: msgspec.json.Decoder[Any], raw: bytes) -> Any:  # noqa: ANN401 - the decoder says which type
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except msgspec.DecodeError as error:
        raise _invalid("it is not JSON") from error
    except RecursionError as error:
        raise _invalid("it is nested too deeply") from error


def _check_text(raw: bytes) -> None:
    if len(raw) > MANIFEST_LIMIT:
        raise _invalid(f"it has {len(raw)} bytes; at most {MANIFEST_LIMIT} are accepted")
    try:  # The decoder looks at the text of the fields it reads only.
        raw.decode()
    except UnicodeDecodeError as error:
        raise _invalid("it is not UTF-8") from error  # RFC 8259 §8.1


def _check_media_type(inside: object, outside: str) -> None:
    # image-spec, "mediaType": it must be the type the document is sent as; else each reader picks its own meaning.
    if inside is not None and inside != outside:
        raise _invalid(f"it calls itself {str(inside)[:120]!r} and was sent as {outside!r}")


def _check_version(document: _Document) -> None:
    if document.schema_version != 2:  # noqa: PLR2004 - the one schema version of image-spec and of Docker's schema 2
        raise _invalid("schemaVersion is not 2")


def _check_absent(document: _Document, media_type: str, *keys: str) -> None:
    for key in keys:
        if getattr(document, key) is not None:
            raise _invalid(f"a document of type {media_type!r} cannot hold {key!r}")


def _descriptors(found: list[_Descriptor] | None) -> tuple[Descriptor, ...]:
    if found is None:
        return ()
    if len(found) > DESCRIPTOR_LIMIT:
        raise _invalid(f"it holds {len(found)} descriptors; at most {DESCRIPTOR_LIMIT} are accepted")
    return tuple(_descriptor(one) for one in found)


def _descriptor(found: _Descriptor) -> Descriptor:
    try:
        digest = Digest.parse(found.digest)
    except ProxyError as error:
        raise _invalid(f"it points to a malformed digest: {error.message}") from error
    return Descriptor(
        found.media_type, digest, found.size, found.artifact_type, found.annotations or {}, tuple(found.urls or ())
    )


def _artifact_type(document: _Document) -> str | None:
    if document.artifact_type:
        return document.artifact_type
    return document.config.media_type if document.config is not None else None


def _invalid(reason: str) -> ProxyError:
    return ProxyError(ErrorCode.MANIFEST_INVALID, f"manifest invalid: {reason}")
