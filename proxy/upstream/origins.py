"""Origins of URLs, and URLs exactly as an upstream wrote them."""

import re
from urllib.parse import quote

from yarl import URL

from proxy.model.rule import CacheRule

Origin = tuple[str, str, int]
"""Scheme, host in lower case without a trailing dot, port."""

_UNUSABLE = "not an http or https URL"
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")


class UnusableURLError(ValueError):
    """A text that names no http or https URL."""


def origin_of(url: URL) -> Origin:
    """Return the origin of an absolute http or https URL (RFC 6454 §4)."""
    return url.scheme, host_of(url), url.port or 0


def host_of(url: URL) -> str:
    """Return the host of `url` as it is compared: lower case, no trailing dot."""
    return (url.host or "").lower().rstrip(".")


def authority_of(url: URL) -> str:
    """Return ``host`` or ``host:port``, the port only where it is not the scheme's own."""
    return host_of(url) if url.is_default_port() else f"{host_of(url)}:{url.port}"


def origin_of_rule(rule: CacheRule) -> Origin:
    """Return the origin of the registry that the operator named in `rule`."""
    return rule.upstream.scheme, rule.upstream.host, rule.upstream.port


def parse_target(base: URL, text: str) -> URL:
    """Return the URL that `text`, as an upstream sent it, means relative to `base`.

    Nothing that is legal in a URL is re-quoted: signatures cover the very characters. Characters that no request
    line can hold are percent-encoded, as clients commonly do. Raises `UnusableURLError`.
    """
    verbatim = _UNSENDABLE.sub(lambda found: quote(found[0], errors="surrogateescape"), text.strip())
    try:
        relative = _SCHEME.match(verbatim) is None
        target = base.join(URL(verbatim, encoded=True)) if relative else URL(verbatim, encoded=True)
        usable = bool(verbatim) and target.scheme in {"http", "https"} and bool(target.host) and bool(target.port)
    except ValueError:
        raise UnusableURLError(_UNUSABLE) from None
    if not usable:
        raise UnusableURLError(_UNUSABLE)
    return target.with_fragment(None) if target.raw_fragment else target
