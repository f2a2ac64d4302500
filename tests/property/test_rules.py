"""Mapping, against a plain oracle that knows only the sentences of the contract."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.config.addresses import parse_upstream
from proxy.core.rules import Address, RuleSet
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName
from proxy.model.rule import ROOT, CacheRule

HUB = "registry-1.docker.io"
HOSTS = (HUB, "quay.io", "ghcr.io", "mirror.example:8443")
SPELLINGS = {"docker.io": HUB, "index.docker.io": HUB, "quay.io:443": "quay.io", "QUAY.IO": "quay.io"} | {
    host: host for host in HOSTS
}

segments = st.sampled_from(["a", "b", "c", "library", "team", "ab"])
prefixes = st.lists(segments, min_size=1, max_size=2).map("/".join)
names = st.lists(segments, min_size=1, max_size=5).map("/".join)
namespaces = st.sampled_from([None, *SPELLINGS, "unknown.example", ""])


@st.composite
def rules(draw: st.DrawFn) -> list[CacheRule]:
    chosen = draw(st.lists(prefixes, unique=True, max_size=4))
    if draw(st.booleans()):
        chosen.append(ROOT)
    return [
        CacheRule(
            prefix,
            parse_upstream(draw(st.sampled_from(HOSTS))),
            upstream_prefix=draw(st.sampled_from(["", "", "up", "a"])),
            ns=draw(st.booleans()),
        )
        for prefix in chosen
    ]


def rule_meant_by(host: str, found: list[CacheRule]) -> CacheRule | None:
    """Return the rule for ``ns``: raise ValueError where the start would be refused."""
    group = [rule for rule in found if str(rule.upstream) == host]
    if len(group) <= 1:
        return group[0] if group else None
    for wanted in ([rule for rule in group if rule.ns], [rule for rule in group if not rule.upstream_prefix]):
        if wanted:
            if len(wanted) > 1:
                break
            return wanted[0]
    raise ValueError(host)


def oracle(  # noqa: C901 - one branch a sentence of the contract
    name: str, ns: str | None, mirror: str | None, found: list[CacheRule], hosted: set[str]
) -> tuple[str, str | None] | None:
    """Return (local repository, upstream or None for hosted), or None where the name is unknown."""

    def below(rule: CacheRule, rest: str) -> tuple[str, str | None]:
        local = "" if rule.prefix == ROOT else rule.prefix + "/"
        if (local + rest).split("/")[0] in hosted and "/" in local + rest:
            return local + rest, None
        upstream = f"{rule.upstream_prefix}/{rest}" if rule.upstream_prefix else rest
        if str(rule.upstream) == HUB and "/" not in upstream:
            rest = upstream = f"library/{rest}"
        if (local + rest).split("/")[0] in hosted and "/" in local + rest:
            return local + rest, None
        return local + rest, f"{rule.upstream}/{upstream}"

    by_prefix = {rule.prefix: rule for rule in found}
    host = SPELLINGS.get(ns, "") if ns is not None else None
    if mirror is not None:
        rule = by_prefix.get(mirror)
        if rule is None or (host is not None and str(rule.upstream) != host):
            return None
        return below(rule, name)
    fitting = [
        rule
        for rule in found
        if rule.prefix != ROOT and name.startswith(rule.prefix + "/") and host in {None, str(rule.upstream)}
    ]
    if fitting:
        rule = max(fitting, key=lambda rule: len(rule.prefix))
        return below(rule, name.removeprefix(rule.prefix + "/"))
    if host is not None:
        meant = rule_meant_by(host, found)
        if meant is None:
            return None
        if meant.upstream_prefix and not name.startswith(meant.upstream_prefix + "/"):
            return None
        return below(meant, name.removeprefix(meant.upstream_prefix + "/") if meant.upstream_prefix else name)
    if ROOT in by_prefix:
        return below(by_prefix[ROOT], name)
    return name, None


@given(names, namespaces, st.none() | prefixes, rules(), st.sets(st.sampled_from(["team", "a"])))
def test_mapping_is_what_the_contract_says(
    name: str, ns: str | None, mirror: str | None, found: list[CacheRule], hosted: set[str]
) -> None:
    try:
        for host in HOSTS:
            rule_meant_by(host, found)
    except ValueError:
        assume(False)  # noqa: FBT003 - hypothesis' own way of discarding
    ruleset = RuleSet(found, hosted=[f"{segment}/**" for segment in sorted(hosted)])
    expected = oracle(name, ns, mirror, found, hosted)
    if expected is None:
        with pytest.raises(ProxyError) as raised:
            ruleset.resolve(Address(RepositoryName(name), ns, mirror))
        assert raised.value.code is ErrorCode.NAME_UNKNOWN
    else:
        resolution = ruleset.resolve(Address(RepositoryName(name), ns, mirror))
        upstream = resolution.remote.provenance.source if resolution.remote is not None else None
        assert (resolution.repository, upstream) == expected


@given(rules())
def test_rules_are_refused_exactly_where_ns_would_be_open(found: list[CacheRule]) -> None:
    try:
        RuleSet(found)
    except ValueError:
        refused = True
    else:
        refused = False
    open_hosts = 0
    for host in HOSTS:
        try:
            rule_meant_by(host, found)
        except ValueError:
            open_hosts += 1
    assert refused == (open_hosts > 0)


@given(names, namespaces, rules())
def test_canonical_names_mean_themselves(name: str, ns: str | None, found: list[CacheRule]) -> None:
    try:
        ruleset = RuleSet(found)
        resolution = ruleset.resolve(Address(RepositoryName(name), ns))
    except (ValueError, ProxyError):
        assume(False)  # noqa: FBT003 - hypothesis' own way of discarding
    again = ruleset.resolve(Address(resolution.repository))
    # With ns a name may lie where a longer prefix begins; the short spelling then means that rule.
    if ns is None:
        assert (again.repository, again.remote) == (resolution.repository, resolution.remote)
