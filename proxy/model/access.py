"""What can be permitted: the actions of policies."""

from enum import StrEnum


class Action(StrEnum):
    """An action that a policy grants. None includes another."""

    PULL = "pull"  # read what is kept: manifests, blobs, lists
    FIRST_PULL = "first_pull"  # have the upstream asked, and what it sends kept
    PUSH = "push"  # write content, tags and manifests; never remove any
    DELETE = "delete"  # remove tags, manifests and blobs
    ADMIN = "admin"  # change rules, repositories, policies, secrets
    METRICS = "metrics"  # read /metrics
