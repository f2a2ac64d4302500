"""What the configuration says about the tags of repositories: a policy by prefix."""

from collections.abc import Mapping

from proxy.model.rule import ROOT
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagPolicy


class TagDefaults:
    """Policies by the prefix of repository names.

    A prefix stands for the repository of that name and for all below it, on whole segments; the longest one counts.
    `ROOT` stands for all names; without it their tags are mutable.
    """

    def __init__(self, policies: Mapping[str, TagPolicy] | None = None) -> None:
        self._policies = dict(policies or {})

    def policy(self, name: str) -> TagPolicy:
        """Return the policy for a repository name."""
        prefix = name
        while prefix:
            found = self._policies.get(prefix)
            if found is not None:
                return found
            prefix = prefix.rpartition("/")[0]
        return self._policies.get(ROOT, ALL_TAGS_MOVE)
