"""Manifests as upstreams send them: verbatim, hashed, and refused where they are something else."""

import msgspec
from yarl import URL

from proxy.core.ports import FetchedManifest, ManifestHead
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError
from proxy.model.media_types import ACCEPT, SCHEMA1_PREFIX
from proxy.model.reference import Tag
from proxy.model.rule import Remote
from proxy.telemetry.metrics import Metrics
from proxy.upstream.answers import Answer
from proxy.upstream.query import Kind, Query

MANIFEST_LIMIT = 8 << 20
_METHOD_NOT_ALLOWED, _NOT_IMPLEMENTED = 405, 501
_ACCEPT = ", ".join(ACCEPT)
_UNTYPED = frozenset({"", "application/json", "application/octet-stream"})


class _Envelope(msgspec.Struct):
    schemaVersion: object = None  # noqa: N815 - the image-spec's spelling
    mediaType: object = None  # noqa: N815 - the image-spec's spelling


def manifest_query(remote: Remote, reference: Tag | Digest, method: str) -> Query:
    """Return the request for a manifest; it always carries the full Accept list."""
    separator = "@" if isinstance(reference, Digest) else ":"
    url = URL(f"{remote.rule.upstream.origin}/v2/{remote.repository}/manifests/{reference}", encoded=True)
    what = f"manifest {remote.repository}{separator}{reference}"
    return Query(remote, Kind.MANIFEST, method, url, what, headers={"Accept": _ACCEPT})


HEAD_EXPECTED = frozenset({200, _METHOD_NOT_ALLOWED, _NOT_IMPLEMENTED})


def head_of(answer: Answer, reference: Tag | Digest) -> ManifestHead:
    """Return what a HEAD told; a registry that knows no HEAD, or names no digest, told nothing of it."""
    if answer.status in {_METHOD_NOT_ALLOWED, _NOT_IMPLEMENTED}:
        return ManifestHead(None, "", None)
    media_type = _checked_type(answer)
    try:
        digest = Digest.parse(answer.headers.get("Docker-Content-Digest", "").strip())
    except ProxyError:
        digest = None
    # distribution-spec: the header may be in another algorithm than was asked for, but not name other content.
    same_algorithm = isinstance(reference, Digest) and digest is not None and digest.algorithm == reference.algorithm
    if same_algorithm and digest != reference:
        raise answer.garbage("another digest")
    return ManifestHead(digest, media_type, answer.length)


async def manifest_of(answer: Answer, reference: Tag | Digest, metrics: Metrics) -> FetchedManifest:
    """Read a manifest, hash it and return it; raise `UpstreamError` GARBAGE for anything else."""
    media_type = _checked_type(answer)
    raw = await answer.read(MANIFEST_LIMIT)
    metrics.bytes.labels("upstream").inc(len(raw))
    algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
    digest = Digest.of(raw, algorithm)
    if isinstance(reference, Digest) and digest != reference:
        metrics.verify_failures.labels(answer.query.rule.prefix).inc()
        raise answer.garbage(f"bytes with the digest {digest}")
    try:
        envelope = msgspec.json.decode(raw, type=_Envelope)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise answer.garbage("something that is no JSON object") from None
    if envelope.schemaVersion == 1:
        raise answer.garbage("a manifest of schema version 1")
    if media_type in _UNTYPED:
        # Some static servers know no better; a manifest may say itself what it is (image-spec, "mediaType").
        if not isinstance(envelope.mediaType, str) or envelope.mediaType.startswith(SCHEMA1_PREFIX):
            raise answer.garbage("a manifest without a media type")
        media_type = envelope.mediaType
    return FetchedManifest(raw, media_type, digest)


def _checked_type(answer: Answer) -> str:
    media_type = answer.media_type
    if media_type.startswith("text/") or "html" in media_type:
        raise answer.garbage("a text or a web page")
    if media_type.startswith(SCHEMA1_PREFIX):
        # Made up by the registry for old clients: another digest than the manifest that was pushed.
        raise answer.garbage("a manifest of schema version 1")
    return media_type
