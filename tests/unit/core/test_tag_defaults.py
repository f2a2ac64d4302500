"""Which policy the configuration has for a repository."""

import pytest

from proxy.core.tag_defaults import TagDefaults
from proxy.model.rule import ROOT
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagMutability, TagPolicy

KEPT = TagPolicy(TagMutability.IMMUTABLE)
BUT_LATEST = TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest",))
ONLY_RELEASES = TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*",))
DEFAULTS = TagDefaults({"team": KEPT, "team/web": BUT_LATEST, "team/web/a/b": ALL_TAGS_MOVE})


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("team", KEPT),
        ("team/api", KEPT),
        ("team/api/v2", KEPT),
        ("team/web", BUT_LATEST),
        ("team/web/a", BUT_LATEST),
        ("team/web/a/b", ALL_TAGS_MOVE),
        ("team/web/a/b/c", ALL_TAGS_MOVE),
        ("team/web/a/bc", BUT_LATEST),  # whole segments
        ("team/website", KEPT),
        ("teams", ALL_TAGS_MOVE),
        ("my/team", ALL_TAGS_MOVE),
    ],
)
def test_the_longest_prefix_counts(name: str, policy: TagPolicy) -> None:
    assert DEFAULTS.policy(name) == policy


def test_root_stands_for_what_no_other_prefix_fits() -> None:
    defaults = TagDefaults({ROOT: ONLY_RELEASES, "team": KEPT})
    assert defaults.policy("anything/else") == ONLY_RELEASES
    assert defaults.policy("team/web") == KEPT


def test_without_policies_every_tag_moves() -> None:
    assert TagDefaults().policy("team/web") == ALL_TAGS_MOVE
