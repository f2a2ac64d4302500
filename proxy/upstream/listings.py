"""Lists of tags and referrers: their documents, and the links from page to page."""

import re
from collections.abc import Iterator, Sequence

import msgspec
import structlog
from yarl import URL

from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError, UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX
from proxy.model.reference import is_tag
from proxy.model.rule import Remote
from proxy.upstream.answers import Answer
from proxy.upstream.failures import denied
from proxy.upstream.kinds import Referrers, kind_of
from proxy.upstream.query import Kind, Query

PAGE_LIMIT = 8 << 20
_LINK = re.compile(r'<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]*))?)*)')
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)

_log = structlog.get_logger(__name__)


class _TagDocument(msgspec.Struct):
    tags: list[object] | None  # null for none, from distribution and others


class _IndexDocument(msgspec.Struct):
    manifests: list[msgspec.Raw] | None


class _Descriptor(msgspec.Struct):
    mediaType: str  # noqa: N815 - the image-spec's spelling
    digest: str
    size: int
    artifactType: str | None = None  # noqa: N815 - the image-spec's spelling
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None


def tags_query(remote: Remote) -> Query:
    """Return the request for the first page of tags."""
    size = kind_of(remote.rule.upstream).page_size
    url = URL(f"{remote.rule.upstream.origin}/v2/{remote.repository}/tags/list?n={size}", encoded=True)
    return Query(remote, Kind.TAGS, "GET", url, f"the tags of {remote.repository}", {"Accept": "application/json"})


def referrers_query(remote: Remote, subject: Digest) -> Query:
    """Return the request for the first page of referrers; upstream filters are not used, so that the list is whole."""
    url = URL(f"{remote.rule.upstream.origin}/v2/{remote.repository}/referrers/{subject}", encoded=True)
    what = f"the referrers of {remote.repository}@{subject}"
    # ghcr.io leads to a web page at github.com. registry.k8s.io leads to the registry that has the manifests, too.
    elsewhere = kind_of(remote.rule.upstream).referrers is Referrers.REDIRECTED
    return Query(remote, Kind.REFERRERS, "GET", url, what, {"Accept": OCI_INDEX}, follow_elsewhere=elsewhere)


_BAD_REQUEST = 400
_UNSUPPORTED = frozenset({404, 405, 501})
_REFUSED = _UNSUPPORTED | {_BAD_REQUEST, 403}
REFERRERS_EXPECTED = (200, *_REFUSED)


async def tags_of(answer: Answer) -> list[str]:
    """Return the tags of one page that are within the grammar of tags."""
    try:
        document = msgspec.json.decode(await _document(answer), type=_TagDocument)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise answer.garbage("something that is no tag list") from None
    named = document.tags or []
    tags = [tag for tag in named if isinstance(tag, str) and is_tag(tag)]
    if len(tags) < len(named):
        _log.warning(
            "upstream.tags_dropped",
            rule=answer.query.rule.prefix,
            repository=answer.query.remote.repository,
            dropped=len(named) - len(tags),
        )
    return tags


async def referrers_of(answer: Answer) -> list[Descriptor]:
    """Return the descriptors of one page; those with a digest that is not known here are left out.

    Raises `UpstreamError` UNSUPPORTED where the answer says that there is no referrers API.
    """
    # quay.io answers 400 MANIFEST_INVALID for a subject that it does not know.
    unknown = answer.status == _BAD_REQUEST and "MANIFEST_INVALID" in await answer.errors()
    without = kind_of(answer.query.rule.upstream).referrers is Referrers.FALLBACK
    if unknown or answer.status in (_REFUSED if without else _UNSUPPORTED):
        raise UpstreamError(UpstreamFailure.UNSUPPORTED, f"{answer.host} does not list {answer.query.what}")
    if answer.status == _BAD_REQUEST:
        raise answer.garbage(f"{answer.status}")
    if answer.status in _REFUSED:
        raise denied(answer)
    try:
        document = msgspec.json.decode(await _document(answer), type=_IndexDocument)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise answer.garbage("something that is no image index") from None
    return list(_descriptors(document.manifests or ()))


async def _document(answer: Answer) -> bytes:
    if "html" in answer.media_type:
        raise answer.garbage("a web page")
    # text/plain is what private ECR calls its tag lists: the parser decides.
    return await answer.read(PAGE_LIMIT)


def _descriptors(documents: Sequence[msgspec.Raw]) -> Iterator[Descriptor]:
    for raw in documents:
        try:
            entry = msgspec.json.decode(raw, type=_Descriptor)
            digest = Digest.parse(entry.digest)
        except (msgspec.MsgspecError, ProxyError) as error:
            _log.debug("upstream.referrer_dropped", reason=type(error).__name__)
            continue
        yield Descriptor(
            entry.mediaType, digest, entry.size, entry.artifactType, entry.annotations or {}, tuple(entry.urls or ())
        )


def next_page(headers: Sequence[str]) -> str | None:
    """Return the target of ``rel="next"`` in Link headers (RFC 8288 §3), verbatim, or None."""
    for header in headers:
        for found in _LINK.finditer(header):
            rel = _REL.search(found[2])
            if rel is not None and "next" in (rel[1] or rel[2] or "").lower().split():
                return found[1]
    return None
