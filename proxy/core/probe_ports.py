"""The port by which an upstream is tried before, or beside, its use: what asking it showed."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule


class Access(StrEnum):
    """What became of a rule's credentials when its upstream was asked."""

    WORKS = "works"
    REFUSED = "refused"
    NOT_NEEDED = "not needed"  # the upstream asks nobody for any
    NONE = "none"  # the rule has none, and the upstream asks for a token
    UNTESTED = "not tested"  # it did not come to that


@dataclass(frozen=True, slots=True)
class Sample:
    """An image of an upstream by which access is tested and the limit read; `repository` is the upstream's name."""

    repository: RepositoryName
    reference: Tag | Digest


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many pulls an upstream grants in a `window` of seconds, and how many are left; None where it did not say."""

    limit: int
    remaining: int | None
    window: int | None


@dataclass(frozen=True, slots=True)
class Probe:
    """What asking an upstream showed: `latency` seconds to its first answer (None: it gave none), then the rest.

    `error` is what ended the questions: that of the sample if it was `sampled`, otherwise one before it.
    """

    latency: float | None
    access: Access
    sampled: bool = False
    allowance: Allowance | None = None
    error: UpstreamError | None = None


class UpstreamProbe(Protocol):
    """A way to try an upstream. It fetches no content and raises nothing: what fails is part of the answer."""

    async def probe(self, rule: CacheRule, sample: Sample | None) -> Probe:
        """Ask the upstream of `rule` whether it answers and takes the rule's credentials, then for `sample`'s HEAD."""
