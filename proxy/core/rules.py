"""From what a request names to the repository that is meant, and the upstream behind it: a pure function."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Self

from proxy.config.settings import Settings
from proxy.core.tag_defaults import TagDefaults
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.patterns import NamePattern
from proxy.model.reference import RepositoryName, parse_repository
from proxy.model.rule import DOCKER_HUB, DOCKER_HUB_ALIASES, ROOT, UPLOADED, CacheRule, Remote
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagPolicy

OFFICIAL = "library"
"""The namespace of Docker Hub's official images: ``nginx`` is ``library/nginx`` there."""

_LOCATED: Final = 4096
"""Addresses that a `RuleSet` remembers with what they mean. Names come from clients, so there may be any number."""


class Address(NamedTuple):
    """What a request named, before mapping.

    `ns` is the registry host that the client means (containerd's ``?ns=``). `mirror` is the prefix of the rule
    that the listener, or a ``/<prefix>/v2/`` URL, belongs to.
    """

    name: RepositoryName
    ns: str | None = None
    mirror: str | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is meant: a repository of this registry and, unless it is hosted here, the upstream one behind it.

    `repository` is canonical: every spelling of one upstream repository under one rule has the same. `reason` tells
    people in one sentence how it was found. `namespace` is the host that ``ns`` named, where it took part in
    choosing the upstream: answers echo it as ``OCI-Namespace``. `refusal` is set where `allow` or `deny` of the rule
    keep the upstream repository from being pulled: the sentence that clients are told. `tag_policy` is what the
    configuration says of the repository's tags: it counts where the repository has no policy of its own.
    """

    repository: RepositoryName
    remote: Remote | None
    reason: str
    namespace: str | None = None
    refusal: str | None = None
    tag_policy: TagPolicy = ALL_TAGS_MOVE

    def require_served(self) -> None:
        """Raise `ProxyError` DENIED where the rule does not let the repository be pulled."""
        if self.refusal is not None and self.remote is not None:
            rule, upstream = self.remote.rule, self.remote.provenance.source
            raise ProxyError(ErrorCode.DENIED, self.refusal, detail={"rule": rule.prefix, "upstream": upstream})

    @property
    def takes_pushes(self) -> bool:
        """Tell whether clients may write to the repository: it is hosted here, or its rule lets them."""
        return self.remote is None or self.remote.rule.push

    @property
    def sources(self) -> tuple[str, ...] | None:
        """Return from where tags may have come to be served: what was pushed counts where pushes are taken."""
        if self.remote is None:
            return None
        here = self.remote.provenance.source
        return (here, UPLOADED) if self.remote.rule.push else (here,)


class RuleSet:
    """The cache rules of one configuration, ready to resolve names.

    `hosted` are `NamePattern`s of names that never go upstream. `add_library` puts Docker Hub's official images under
    ``library/``. `tag_defaults` go into what is resolved. Raises ValueError, with a sentence for the operator, where
    two rules have one prefix, where no name could fit a pattern, or where it is open which rule ``ns`` would mean.
    Where rules with the prefixes `made` come from callers, who cannot mark one, that may stay open: the operator's own
    is meant then, and where there is none such a request is refused.
    """

    def __init__(
        self,
        rules: Sequence[CacheRule],
        *,
        hosted: Sequence[str] = (),
        add_library: bool = True,
        tag_defaults: TagDefaults | None = None,
        made: Collection[str] = (),
    ) -> None:
        self.rules = tuple(rules)
        self.hosted = tuple(hosted)
        self.add_library = add_library
        self._tag_defaults = tag_defaults or TagDefaults()
        self._patterns = tuple(map(NamePattern, hosted))
        self._gates = {rule.prefix: _Gate(rule) for rule in rules if rule.allow or rule.deny}
        self._by_prefix = _by_prefix(self.rules)
        self._by_host = _by_host(self.rules)
        self._made = frozenset(made)
        if not made:
            for host, group in self._by_host.items():
                _namespace_rule(host, group.values())
        self._depth = max((prefix.count("/") + 1 for prefix in self._by_prefix), default=0)
        # Clients ask for few repositories many times; refusals are not remembered.
        self._located = lru_cache(_LOCATED)(self._locate)

    @classmethod
    def of(cls, settings: Settings, made: Sequence[CacheRule] = ()) -> Self:
        """Return the rules of a configuration, with those `made` elsewhere in place of its own of the same prefix.

        ValueError as above.
        """
        relaxed = settings.registry.compatibility == "relaxed"
        shadowed = {rule.prefix for rule in made}
        written = [rule for rule in settings.cache_rules() if rule.prefix not in shadowed]
        return cls(
            [*written, *made],
            made=shadowed,
            hosted=settings.registry.hosted,
            add_library=relaxed,
            tag_defaults=TagDefaults(settings.registry.tag_policies()),
        )

    def rule(self, prefix: str) -> CacheRule | None:
        """Return the rule with this prefix, or None."""
        return self._by_prefix.get(prefix)

    def tag_policy(self, name: RepositoryName) -> TagPolicy:
        """Return what the configuration says of the tags of a repository."""
        return self._tag_defaults.policy(name)

    def resolve(self, address: Address) -> Resolution:
        """Return what `address` means, for a client.

        Raises `ProxyError`: NAME_UNKNOWN where the address names no repository that could exist here, NAME_INVALID
        where the mapped name is longer than names may be, DENIED where its rule does not let it be pulled: neither
        from upstream nor from what is kept.
        """
        found = self.locate(address)
        found.require_served()
        return found

    def locate(self, address: Address) -> Resolution:
        """Return what `address` means, for an operator: also where it may not be pulled. Otherwise as `resolve`."""
        return self._located(address)

    def _locate(self, address: Address) -> Resolution:
        name, ns, mirror = address
        if mirror is not None:
            return self._on_mirror(name, mirror, ns)
        if ns is not None:
            return self._in_namespace(name, ns)
        found = self._longest(name, self.rules)
        if found is not None:
            rule, rest = found
            return self._below(rule, rest, f"it begins with {rule.prefix}/, the prefix of a rule", None)
        root = self._by_prefix.get(ROOT)
        if root is not None:
            return self._below(root, name, "no other prefix fits, so it belongs to the ROOT rule", None)
        reason = f"{name} is outside the prefix of every rule: it is hosted here"
        if name in self._by_prefix:
            reason = f"{name} is the prefix of a rule for names below it: itself is hosted here"
        return Resolution(name, None, reason, tag_policy=self._tag_defaults.policy(name))

    def refusal(self, remote: Remote) -> str | None:
        """Return why the rule does not let an upstream repository be pulled, as one sentence, or None."""
        gate = self._gates.get(remote.rule.prefix)
        return gate.refusal(remote) if gate is not None else None

    def _on_mirror(self, name: RepositoryName, prefix: str, ns: str | None) -> Resolution:
        rule = self._by_prefix.get(prefix)
        if rule is None:
            raise _unknown(name, f"this address mirrors the rule {prefix}, and there is no such rule")
        host = _canonical_host(ns) if ns is not None else None
        if host is not None and host not in _hosts(rule):
            raise _unknown(name, f"this address mirrors {rule.upstream} only; ns={_shown(ns)} is another registry")
        return self._below(rule, name, f"the address is a mirror of the rule {prefix}", host and ns)

    def _in_namespace(self, name: RepositoryName, ns: str) -> Resolution:
        host = _canonical_host(ns)
        rules = self._by_host.get(host, {})
        found = self._longest(name, rules.values())
        if found is not None:
            rule, rest = found
            reason = f"it begins with {rule.prefix}/, the prefix of a rule for ns={ns}"
            return self._below(rule, rest, reason, ns)
        if not rules:
            raise _unknown(name, f"no cache rule has the upstream that ns={_shown(ns)} names")
        rule = self._meant(host, name, list(rules.values()))
        reason = f"ns={ns} names the upstream of the rule {rule.prefix}, to which the whole name belongs"
        rest = name
        if rule.upstream_prefix:
            # The client means <ns>/<name>. A rule with an upstream prefix reaches a part of that registry only.
            before = f"{rule.upstream_prefix}/"
            if not name.startswith(before):
                raise _unknown(name, f"the rule {rule.prefix} reaches only {rule.upstream}/{rule.upstream_prefix}/")
            rest = RepositoryName(name.removeprefix(before))
        return self._below(rule, rest, reason, ns)

    def _meant(self, host: str, name: str, rules: list[CacheRule]) -> CacheRule:
        """Return which of the rules for a host ``ns`` means."""
        try:
            return _namespace_rule(host, rules)
        except ValueError as error:
            written = [rule for rule in rules if rule.prefix not in self._made]
            if not 0 < len(written) < len(rules):
                raise _unknown(name, str(error)) from error
        return self._meant(host, name, written)

    def _longest(self, name: str, rules: Iterable[CacheRule]) -> tuple[CacheRule, RepositoryName] | None:
        allowed = {rule.prefix for rule in rules} - {ROOT}
        segments = name.split("/")
        # Something must follow the prefix: "docker-hub" alone names no image.
        for count in range(min(self._depth, len(segments) - 1), 0, -1):
            prefix = "/".join(segments[:count])
            if prefix in allowed:
                return self._by_prefix[prefix], RepositoryName("/".join(segments[count:]))
        return None

    def _below(self, rule: CacheRule, rest: RepositoryName, reason: str, namespace: str | None) -> Resolution:
        """Return the repository `rest` under `rule`; hosted names are kept from going upstream whatever led here."""
        hosted = self._hosted_by(_local(rule, rest))
        official = self.add_library and rule.upstream.is_docker_hub and not rule.upstream_prefix and "/" not in rest
        if hosted is None and official:
            rest = RepositoryName(f"{OFFICIAL}/{rest}")
            hosted = self._hosted_by(_local(rule, rest))
        repository = parse_repository(_local(rule, rest))
        policy = self._tag_defaults.policy(repository)
        if hosted is not None:
            own = f"{repository} is hosted here: it matches {hosted}, and never goes upstream"
            return Resolution(repository, None, own, tag_policy=policy)
        remote = Remote(rule, parse_repository(f"{rule.upstream_prefix}/{rest}" if rule.upstream_prefix else rest))
        refusal = self.refusal(remote)
        added = f"; {OFFICIAL}/ was added, as Docker Hub's official images are there" if official else ""
        way = f"{reason}; upstream it is {rule.upstream}/{remote.repository}{added}"
        return Resolution(repository, remote, f"{way}; {refusal}" if refusal else way, namespace, refusal, policy)

    def _hosted_by(self, name: str) -> NamePattern | None:
        return next((pattern for pattern in self._patterns if pattern.fits(name)), None)


class _Gate:
    """The upstream names that one rule lets pass."""

    def __init__(self, rule: CacheRule) -> None:
        self._allow = tuple(map(NamePattern, rule.allow))
        self._deny = tuple(map(NamePattern, rule.deny))

    def refusal(self, remote: Remote) -> str | None:
        name, rule = remote.repository, remote.rule
        denied = next((pattern for pattern in self._deny if pattern.fits(name)), None)
        if denied is not None:
            return f"rule {rule.prefix} does not let {name} be pulled: it matches {denied} in its `deny`"
        if self._allow and not any(pattern.fits(name) for pattern in self._allow):
            return f"rule {rule.prefix} does not let {name} be pulled: it matches nothing in its `allow`"
        return None


class RuleBook:
    """The rules in force. A reload replaces them at once; what is under way ends by the rules it began with."""

    def __init__(self, rules: RuleSet) -> None:
        self.current = rules
        self.behind: Callable[[], bool] = lambda: False
        """Tells whether other processes may have changed rules that `latest` would put in force; waits for nothing."""
        self._refresh: Callable[[], Awaitable[None]] | None = None

    def follow(self, behind: Callable[[], bool], refresh: Callable[[], Awaitable[None]]) -> None:
        """Have `refresh` put in force, before a request is served, what others changed, where `behind` says so."""
        self.behind = behind
        self._refresh = refresh

    async def latest(self) -> RuleSet:
        """Return the rules as whichever process changed them last."""
        if self._refresh is not None and self.behind():
            await self._refresh()
        return self.current

    def tag_policy(self, name: RepositoryName) -> TagPolicy:
        """Return what the configuration in force says of the tags of a repository."""
        return self.current.tag_policy(name)

    def canonical(self, name: RepositoryName) -> RepositoryName:
        """Return the repository that clients reach by a name, or raise `ProxyError` as `RuleSet.locate` does."""
        return self.current.locate(Address(name)).repository

    def replace(self, rules: RuleSet) -> None:
        """Put other rules in force."""
        self.current = rules


def _by_prefix(rules: Iterable[CacheRule]) -> dict[str, CacheRule]:
    found: dict[str, CacheRule] = {}
    for rule in rules:
        if rule.prefix in found:
            raise ValueError(f"two rules have the prefix {rule.prefix}; a prefix belongs to one rule")
        found[rule.prefix] = rule
    return found


def _by_host(rules: Iterable[CacheRule]) -> Mapping[str, Mapping[str, CacheRule]]:
    found: dict[str, dict[str, CacheRule]] = {}
    for rule in rules:
        for host in _hosts(rule):
            found.setdefault(host, {})[rule.prefix] = rule
    return found


def _namespace_rule(host: str, rules: Iterable[CacheRule]) -> CacheRule:
    """Return the rule that ``ns`` means: the only one, the marked one, or the only one without upstream prefix."""
    group = list(rules)
    marked = [rule for rule in group if rule.ns]
    candidates = marked or [rule for rule in group if not rule.upstream_prefix]
    if len(group) == 1:
        return group[0]
    if len(candidates) != 1:
        names = ", ".join(rule.prefix for rule in group)
        raise ValueError(
            f"the rules {names} all have the upstream {host}, and it is open which one clients mean by ns={host}: "
            f"write `ns: true` in exactly one of them"
        )
    return candidates[0]


def _hosts(rule: CacheRule) -> frozenset[str]:
    """Return every spelling of the rule's upstream that ``ns`` may have, in canonical form."""
    upstream = rule.upstream
    return frozenset({_canonical_host(upstream.authority), _canonical_host(f"{upstream.host}:{upstream.port}")})


def _canonical_host(text: str) -> str:
    """Return `text` as hosts are compared: lower case, Docker Hub's aliases as one, the port kept."""
    host, separator, port = text.partition(":")
    host = host.lower().removesuffix(".") if text.isascii() else host
    return f"{DOCKER_HUB if host in DOCKER_HUB_ALIASES else host}{separator}{port}"


def _local(rule: CacheRule, rest: str) -> str:
    return rest if rule.prefix == ROOT else f"{rule.prefix}/{rest}"


def _shown(ns: str | None) -> str:
    return repr((ns or "")[:100])


def _unknown(name: str, message: str) -> ProxyError:
    return ProxyError(ErrorCode.NAME_UNKNOWN, message, detail={"name": name})
