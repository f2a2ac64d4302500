"""From what people write to the values that core works with."""

import pytest

from proxy.config.faults import ConfigurationError, spell
from proxy.config.loader import parse_settings
from proxy.model.rule import ROOT
from proxy.model.tag_policy import TagMutability, TagPolicy


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("rules: [{prefix: a, upstream: a.example, allow: ['Library/*']}]", "rules[0].allow"),
        ("rules: [{prefix: a, upstream: a.example, deny: [ok, 'a//b']}]", "rules[0].deny"),
        ("registry: {hosted: ['team/']}", "registry.hosted"),
    ],
)
def test_a_pattern_that_no_name_fits_is_a_fault_that_names_the_key(text: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(text, {})
    (fault,) = raised.value.faults
    assert spell(fault.key) == key
    assert "fits no name: a pattern is segments of a repository name joined by /" in fault.problem


def test_tag_policies_are_by_prefix() -> None:
    text = """
registry:
  tags:
    - {prefix: ROOT, mutability: IMMUTABLE}
    - {prefix: team/web/, mutability: IMMUTABLE_WITH_EXCLUSION, filters: [latest, "dev-*"]}
    - {prefix: team, mutability: MUTABLE_WITH_EXCLUSION, filters: ["v*"]}
    - {prefix: scratch, mutability: MUTABLE}
"""
    assert parse_settings(text, {}).registry.tag_policies() == {
        ROOT: TagPolicy(TagMutability.IMMUTABLE),
        "team/web": TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest", "dev-*")),
        "team": TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*",)),
        "scratch": TagPolicy(TagMutability.MUTABLE),
    }
    assert parse_settings("", {}).registry.tag_policies() == {}


@pytest.mark.parametrize(
    ("entries", "key", "problem"),
    [
        ("{prefix: Team, mutability: IMMUTABLE}", "registry.tags[0].prefix", "a repository name is"),
        ("{prefix: /, mutability: IMMUTABLE}", "registry.tags[0].prefix", "a repository name is"),
        ("{prefix: a, mutability: FROZEN}", "registry.tags[0].mutability", "IMMUTABLE_WITH_EXCLUSION"),
        ("{prefix: a}", "registry.tags[0].mutability", "missing"),
        ("{prefix: a, mutability: IMMUTABLE, filters: [x]}", "registry.tags[0]", "IMMUTABLE takes no filters"),
        ("{prefix: a, mutability: MUTABLE_WITH_EXCLUSION}", "registry.tags[0]", "needs 1 to 5 filters, not 0"),
        (
            "{prefix: a, mutability: MUTABLE_WITH_EXCLUSION, filters: ['*a*b*']}",
            "registry.tags[0]",
            "'*a*b*' is no filter: it has more than 2 *",
        ),
        (
            "{prefix: a/b, mutability: MUTABLE}, {prefix: a/b/, mutability: IMMUTABLE}",
            "registry.tags",
            "two entries have the prefix a/b; a prefix has one policy",
        ),
    ],
)
def test_a_tag_policy_that_is_none_is_a_fault_that_names_the_key(entries: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(f"registry: {{tags: [{entries}]}}", {})
    (fault,) = raised.value.faults
    assert spell(fault.key) == key
    assert problem in fault.problem
