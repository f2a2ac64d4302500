"""Header fields of answers, and the conditions that requests put on them."""

import re
from typing import Final

from aiohttp import hdrs, web
from multidict import istr

from proxy.core.access.caller import Caller
from proxy.core.rules import Resolution
from proxy.model.cache_status import CacheStatus, Forward
from proxy.model.digest import Digest
from proxy.model.reference import Tag

# OCI distribution-spec, "Warnings": at most 4096 bytes in all.
_WARNING_LIMIT = 4096
_UNSAFE = re.compile(r"[^\x20-\x7e]")
_SPECIAL = re.compile(r'["\\]')
_TOKEN = re.compile(r"[A-Za-z0-9_.:/-]+")
_ENTITY_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e]*")')


_CACHE_STATUS: Final = istr("Cache-Status")
_NAMESPACE: Final = istr("OCI-Namespace")


def entity_tag(digest: Digest) -> str:
    """Return the strong entity tag of content: its digest, quoted."""
    return f'"{digest}"'


def lifetime(reference: Tag | Digest | None, caller: Caller | None = None) -> str:
    """Return the value of ``Cache-Control``: what a digest names never changes, what a tag names may (RFC 9111).

    What a known `caller` gets is not for others: caches in front of the registry ask nobody who they are.
    """
    allowed = "max-age=31536000, immutable" if isinstance(reference, Digest) else "no-cache"
    # Where credentials are a link or a certificate, no field of the request would keep it out (RFC 9111 §3.5).
    return allowed if caller is None or caller.anonymous else f"private, {allowed}"


def common(resolution: Resolution, status: CacheStatus | None) -> dict[str, str]:
    """Return the fields that every answer about a repository carries."""
    headers: dict[str, str] = {}
    if status is not None:
        headers[_CACHE_STATUS] = cache_status(status)
    if resolution.namespace is not None:
        headers[_NAMESPACE] = resolution.namespace
    return headers


def cache_status(status: CacheStatus) -> str:
    """Return the value of ``Cache-Status`` (RFC 9211)."""
    if status.stale is not None:
        reason = f"stale-{status.stale}"
        return f"pullthrough; hit; detail={reason if _TOKEN.fullmatch(reason) else 'stale'}"
    # RFC 9211 §2.1: hit says that no request went forward, so a confirmed copy is told by its fwd alone.
    if status.hit and status.forward is None:
        return f"pullthrough; hit; detail={status.detail}" if status.detail else "pullthrough; hit"
    value = f"pullthrough; fwd={status.forward or Forward.MISS}"
    if status.stored:
        value += "; stored"
    if status.collapsed:
        value += "; collapsed"
    return value


def warning(text: str) -> str:
    """Return the value of ``Warning``: code 299, no agent, no date (OCI distribution-spec, "Warnings")."""
    escaped = _SPECIAL.sub(r"\\\g<0>", _UNSAFE.sub("?", text))[: _WARNING_LIMIT - len('299 - ""')]
    if (len(escaped) - len(escaped.rstrip("\\"))) % 2:
        escaped = escaped[:-1]  # the cut went through an escape
    return f'299 - "{escaped}"'


def unchanged(request: web.Request, digest: Digest) -> bool:
    """Tell whether ``If-None-Match`` names the content, so that 304 answers (RFC 9110 §13.1.2: weak comparison)."""
    if hdrs.IF_NONE_MATCH not in request.headers:
        return False
    condition = _condition(request)
    return condition == "*" or entity_tag(digest) in _ENTITY_TAG.findall(condition)


def unchanged_whatever_exists(request: web.Request) -> bool:
    """Tell whether ``If-None-Match`` is ``*``: any existing content answers 304."""
    return hdrs.IF_NONE_MATCH in request.headers and _condition(request) == "*"


def wanted_range(request: web.Request, digest: Digest) -> str | None:
    """Return the ``Range`` that counts, if any, after ``If-Range``."""
    # RFC 9110 §14.2: a range is defined for GET only.
    if hdrs.RANGE not in request.headers or request.method != hdrs.METH_GET:
        return None
    condition = request.headers.get(hdrs.IF_RANGE)
    # RFC 9110 §13.1.5: strong comparison; a date or another tag means the whole content.
    if condition is not None and condition.strip() != entity_tag(digest):
        return None
    return ", ".join(request.headers.getall(hdrs.RANGE)) or None


def _condition(request: web.Request) -> str:
    return ", ".join(request.headers.getall(hdrs.IF_NONE_MATCH, ())).strip()
