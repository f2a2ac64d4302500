"""What is asked of an upstream: one logical request, before tokens, redirects and retries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from yarl import URL

from proxy.model.rule import CacheRule, Remote


class Kind(StrEnum):
    """What a request is for; the `kind` label of the metrics."""

    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    PING = "ping"
    TOKEN = "token"  # noqa: S105 - a kind of request


class Weight(Enum):
    """How long a request keeps its connection, for the limit of connections to a host."""

    LIGHT = "light"  # a short answer: waits for a connection within its time budget
    BULK = "bulk"  # a transfer: leaves some connections to light requests, may wait long
    CARRIED = "carried"  # made during a transfer, which already counts


@dataclass(frozen=True, slots=True)
class Query:
    """One logical request to an upstream.

    `what` says it in an error's sentence ("manifest library/nginx:1.25"). `follow_elsewhere`: redirects to other
    origins are followed. `tagged_by`: If-Range is for this host only. `form` makes it a POST.
    """

    remote: Remote
    kind: Kind
    method: str
    url: URL
    what: str
    headers: Mapping[str, str] = field(default_factory=dict)
    weight: Weight = Weight.LIGHT
    follow_elsewhere: bool = True
    tagged_by: str = ""
    form: Mapping[str, str] | None = None

    @property
    def rule(self) -> CacheRule:
        """Return the rule on whose behalf the request is made."""
        return self.remote.rule
