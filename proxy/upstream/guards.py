"""Which targets that an upstream answers are followed: redirects, token realms and links to the next page.

An upstream that is hostile, or broken into, must not be able to point this server at internal services, nor to
have credentials sent elsewhere. What the operator wrote in the configuration is never refused here.
"""

import re
from functools import cache

import structlog
from publicsuffixlist import PublicSuffixList
from yarl import URL

from proxy.config.settings import UpstreamSettings
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.upstream.addresses import AddressPolicy, is_local_name, literal, looks_like_address, matches_name
from proxy.upstream.kinds import is_shared, kind_of
from proxy.upstream.origins import UnusableURLError, host_of, origin_of, origin_of_rule, parse_target
from proxy.upstream.resolver import parse_connect_to

_log = structlog.get_logger(__name__)

_NAME_LIMIT = 253  # RFC 1035 §2.3.4
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")


@cache
def load_suffixes() -> PublicSuffixList:
    """Return the public suffix list; the first call reads a file."""
    return PublicSuffixList()


class Guard:
    """Judge targets that an upstream answered. Each check raises `UpstreamError` REFUSED_TARGET, and logs it."""

    def __init__(self, settings: UpstreamSettings, suffixes: PublicSuffixList) -> None:
        self._allow_private = settings.allow_private
        self._connect_to = frozenset(parse_connect_to(settings.connect_to))
        self._suffixes = suffixes

    def policy(self, rule: CacheRule) -> AddressPolicy:
        """Return the policy for addresses of hosts that the upstream of `rule` names."""
        return AddressPolicy.of((*self._allow_private, *rule.allow_private), kind_of(rule.upstream).storage)

    def redirect(self, rule: CacheRule, source: URL, location: str) -> URL:
        """Return the URL that a redirect from `source` leads to."""
        target = self._parse(rule, source, location, "a redirect")
        self._check(rule, source, target, "a redirect")
        return target

    def link(self, rule: CacheRule, page: URL, link: str) -> URL:
        """Return the URL of the next page; it must be of the page's own origin, or a token would leak."""
        target = self._parse(rule, page, link, "a Link")
        if origin_of(target) != origin_of(page):
            raise _refused(rule, target, "a Link to the next page at another origin; nothing permits that")
        self._check(rule, page, target, "a Link")
        return target

    def realm(self, rule: CacheRule, source: URL, realm: str) -> URL:
        """Return the URL of a token server: of the upstream's own site, or one that the rule lists."""
        target = self._parse(rule, source, realm, "a token realm")
        host = host_of(target)
        if not (host == rule.upstream.host or self._same_site(host, rule.upstream.host) or _listed(rule, host)):
            raise _refused(
                rule, target, f"a token realm at another site; if it is the right one, add {host!r} to `token_realms`"
            )
        self._check(rule, source, target, "a token realm")
        return target

    def refused_address(self, rule: CacheRule, target: URL) -> UpstreamError:
        """Return the refusal for a host whose name resolved to an address that the policy forbids."""
        return _refused(rule, target, f"a private address; if that is right, add {host_of(target)!r} {_KEYS}")

    def _parse(self, rule: CacheRule, base: URL, text: str, what: str) -> URL:
        try:
            target = parse_target(base, text)
        except UnusableURLError:
            raise UpstreamError(
                UpstreamFailure.GARBAGE, f"{rule.upstream} answered {what} that is no http or https URL"
            ) from None
        if target.raw_user is not None or target.raw_password is not None:
            raise _refused(rule, target, f"{what} with a user name in it; nothing permits that")
        return target

    def _check(self, rule: CacheRule, source: URL, target: URL, what: str) -> None:
        if source.scheme == "https" and target.scheme == "http":
            raise _refused(rule, target, f"{what} from https to http; nothing permits that")
        host = host_of(target)
        if origin_of(target) == origin_of_rule(rule) or self._is_connected_to(host, target.port):
            return
        address = literal(host)
        policy = self.policy(rule)
        if address is not None:
            if not policy.permits(host, address):
                raise _refused(rule, target, f"{what} to a private address; if that is right, add '{address}' {_KEYS}")
        elif len(host) > _NAME_LIMIT or _HOST_NAME.fullmatch(host) is None or looks_like_address(host):
            raise _refused(rule, target, f"{what} to a host that is no proper name; nothing permits that")
        elif rule.proxy is not None and is_local_name(host) and not policy.allows_name(host):
            # Behind a forward proxy it is the proxy that resolves names; all we can judge is the name.
            raise _refused(rule, target, f"{what} to a private name; if that is right, add {host!r} {_KEYS}")

    def _same_site(self, host: str, upstream: str) -> bool:
        """Tell whether two names share a registrable domain; addresses and single labels never do."""
        if literal(host) is not None or looks_like_address(host) or is_shared(upstream):
            return False
        site = self._suffixes.privatesuffix(host)
        return site is not None and site == self._suffixes.privatesuffix(upstream)

    def _is_connected_to(self, host: str, port: int | None) -> bool:
        return host in self._connect_to or f"{host}:{port}" in self._connect_to


_KEYS = "to `allow_private` of the rule or of `upstreams`"


def _refused(rule: CacheRule, target: URL, why: str) -> UpstreamError:
    host = host_of(target)[:255]
    _log.warning("upstream.target_refused", rule=rule.prefix, upstream=str(rule.upstream), host=host, why=why)
    return UpstreamError(
        UpstreamFailure.REFUSED_TARGET, f"refused to go from {rule.upstream} to {host} (rule {rule.prefix}): {why}"
    )


def _listed(rule: CacheRule, host: str) -> bool:
    if host in kind_of(rule.upstream).token_realms:
        return True
    return any(matches_name(host, pattern.lower().rstrip(".")) for pattern in rule.token_realms)
