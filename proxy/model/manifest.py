"""Manifests: what they point to, read strictly (OCI image-spec, image index, manifest; Docker image manifest v2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any

import msgspec

from proxy.model.descriptor import SIZE_LIMIT, Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.media_types import IMAGES, INDEXES, SCHEMA1_PREFIX, TYPE_LIMIT, fits_type, is_media_type
from proxy.model.strict_json import JsonError, check_json

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

    @property
    def required(self) -> tuple[Descriptor, ...]:
        """Return the children whose content belongs into the registry that holds the manifest."""
        return tuple(child for child in self.children if not child.is_foreign)


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=SIZE_LIMIT)]
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


class _Spelling(msgspec.Struct):
    config: dict[str, msgspec.Raw] | None = None
    layers: list[dict[str, msgspec.Raw]] | None = None
    blobs: list[dict[str, msgspec.Raw]] | None = None
    manifests: list[dict[str, msgspec.Raw]] | None = None
    subject: dict[str, msgspec.Raw] | None = None


class _Named(msgspec.Struct, rename="camel"):
    media_type: str | None = None


def _folded(keys: Iterable[str]) -> dict[str, str]:
    # Go's readers ignore the case of keys: "Layers" beside "manifests" is the same ambiguity in disguise. They fold
    # letters beyond ASCII too: the long s of "layer\u017f" is an s to them.
    return {key.casefold(): key for key in keys}


_DOCUMENT_KEYS = _folded(_Document.__struct_encode_fields__)
_DESCRIPTOR_KEYS = _folded((*_Descriptor.__struct_encode_fields__, "data", "platform"))
_KEYS = _DOCUMENT_KEYS | _DESCRIPTOR_KEYS
_LONGEST_KEY = max(map(len, _KEYS))  # no folding makes a key shorter
_document = msgspec.json.Decoder(_Document)
_spelling = msgspec.json.Decoder(_Spelling)
_top = msgspec.json.Decoder(dict[str, msgspec.Raw])
_named = msgspec.json.Decoder(_Named)


def parse_manifest(raw: bytes, media_type: str) -> Manifest:
    """Return what the manifest `raw`, sent as `media_type` (without parameters), points to.

    Documents that two readers could understand differently are refused (CVE-2021-41190), as are Docker's schema 1,
    malformed descriptors and documents over the limits: `ProxyError` MANIFEST_INVALID. JSON of another media type
    is content of its own kind: it points to nothing.
    """
    keys = _check_text(raw)
    if media_type.startswith(SCHEMA1_PREFIX):
        raise _invalid("Docker's image manifest schema 1 is not supported: its content cannot be verified")
    if media_type in INDEXES | IMAGES | {OCI_ARTIFACT}:
        return _parse_known(raw, media_type, keys)
    if raw.lstrip().startswith(b"{"):
        _check_media_type(_decode(_named, raw).media_type, media_type)
    return Manifest(media_type)


def parse_pushed(raw: bytes, media_type: str) -> Manifest:
    """Return what a manifest that a client pushes points to, as `parse_manifest`.

    More is asked of it than of what registries already hold: what stands for a media type is to be one, and its own is
    to be no type of page that a browser would show.
    """
    if not is_media_type(media_type) or not media_type.lower().startswith("application/"):
        raise _invalid(f"{media_type[:TYPE_LIMIT]!r} is not a media type of manifests")
    manifest = parse_manifest(raw, media_type)
    own = (manifest.artifact_type,) if manifest.artifact_type is not None else ()
    for text in chain(own, *map(_types, filter(None, (manifest.subject, *manifest.children)))):
        # Types with parameters are in use: "application/vnd.dev.sigstore.bundle+json;version=0.2".
        if not is_media_type(text.partition(";")[0].rstrip()):
            raise _invalid(f"{text!r} in it is not a media type")
    return manifest


def media_type_of(raw: bytes) -> str | None:
    """Return the media type that a document gives itself, for where it was sent without one; None where it does not.

    Raises `ProxyError` MANIFEST_INVALID where there is no telling. What is returned is to be parsed as that.
    """
    _check_size(raw)
    media_type: str | None = _decode(_named, raw).media_type
    if media_type is not None and not is_media_type(media_type):
        raise _invalid(f"its mediaType {media_type[:TYPE_LIMIT]!r} is not a media type")
    return media_type


def parse_descriptors(raw: bytes) -> tuple[Descriptor, ...]:
    """Return the descriptors of a list of referrers that is kept here, of whatever length.

    Raises `ProxyError` MANIFEST_INVALID.
    """
    return tuple(map(_descriptor, _decode(_document, raw).manifests or ()))


def _parse_known(raw: bytes, media_type: str, keys: set[str]) -> Manifest:
    _check_spelling(raw, keys)
    document = _decode(_document, raw)
    _check_media_type(document.media_type, media_type)
    if not fits_type(document.artifact_type or ""):
        raise _invalid("its artifactType is not a media type")
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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid("it is not JSON") from error
    except RecursionError as error:
        raise _invalid("it is nested too deeply") from error


def _check_size(raw: bytes) -> None:
    if len(raw) > MANIFEST_LIMIT:
        raise _invalid(f"it has {len(raw)} bytes; at most {MANIFEST_LIMIT} are accepted")


def _check_text(raw: bytes) -> set[str]:
    _check_size(raw)
    try:
        return check_json(raw)
    except JsonError as error:
        raise _invalid(str(error)) from error


def _check_spelling(raw: bytes, keys: set[str]) -> None:
    """Refuse keys that are fields of a manifest or descriptor only to readers that ignore case."""
    likely = [key for key in keys.difference(_KEYS.values()) if len(key) <= _LONGEST_KEY]
    if _KEYS.keys().isdisjoint(map(str.casefold, likely)):
        return
    # There is such a key; it does no harm where keys are free, as in annotations.
    suspects = {key for key in likely if key.casefold() in _KEYS}
    _check_keys(suspects.intersection(_decode(_top, raw)), _DOCUMENT_KEYS)
    found = _decode(_spelling, raw)
    ones = filter(None, (found.config, found.subject))
    for descriptor in chain(ones, found.layers or (), found.blobs or (), found.manifests or ()):
        _check_keys(suspects.intersection(descriptor), _DESCRIPTOR_KEYS)


def _check_keys(suspects: Iterable[str], known: Mapping[str, str]) -> None:
    for key in suspects:
        if (name := known.get(key.casefold())) is not None and key != name:
            raise _invalid(f"the key {key[:40]!r} is spelled {name!r}")


def _check_media_type(inside: object, outside: str) -> None:
    # image-spec, "mediaType": it must be the type the document is sent as; else each reader picks its own meaning.
    # Go's readers take an empty string for an absent one.
    if inside is not None and inside not in ("", outside):
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
    annotations, urls = found.annotations or {}, tuple(found.urls or ())
    descriptor = Descriptor(found.media_type, digest, found.size, found.artifact_type, annotations, urls)
    if not descriptor.is_sound:
        raise _invalid(f"the media type of {digest} in it is none")
    return descriptor


def _types(descriptor: Descriptor) -> tuple[str, ...]:
    own = descriptor.artifact_type
    return (descriptor.media_type, own) if own else (descriptor.media_type,)


def _artifact_type(document: _Document) -> str | None:
    if document.artifact_type:
        return document.artifact_type
    return document.config.media_type or None if document.config is not None else None


def _invalid(reason: str) -> ProxyError:
    return ProxyError(ErrorCode.MANIFEST_INVALID, f"manifest invalid: {reason}")
