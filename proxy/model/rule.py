"""Cache rules: which upstream registry stands behind a repository prefix, and how it is used."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from proxy.model.credentials import CredentialsSource
from proxy.model.reference import RepositoryName

ROOT = "ROOT"
"""The prefix of the rule for names under no other prefix (ECR: ``ecrRepositoryPrefix`` = ``ROOT``)."""

UPLOADED = ""
"""The source of what clients pushed: no upstream's name is empty."""

DOCKER_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
DOCKER_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """Name the origin of an upstream registry; `port` is always explicit (443 or 80 by default)."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Return ``host`` or ``host:port``, the port only where it is not the scheme's own."""
        default = {"https": 443, "http": 80}[self.scheme]
        return self.host if self.port == default else f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Return ``scheme://host[:port]``."""
        return f"{self.scheme}://{self.authority}"

    @property
    def is_docker_hub(self) -> bool:
        """Tell whether one-segment names get ``library/`` here: its official images live under that name."""
        return self.host == DOCKER_HUB

    def __str__(self) -> str:
        """Return the address as it is written in the configuration: https is implied."""
        return self.authority if self.scheme == "https" else self.origin


class OnUpstream404(StrEnum):
    """What to do with a cached tag that the upstream certainly no longer has."""

    SERVE = "serve"
    NOT_FOUND = "not_found"
    PURGE = "purge"


class Completion(StrEnum):
    """What is fetched in the background once a blob of an image was pulled."""

    PLATFORM = "platform"  # the rest of the image
    INDEX = "index"  # the rest of every image of the index
    NONE = "none"


@dataclass(frozen=True, slots=True)
class CacheRule:
    """Map repositories under `prefix` to an upstream registry.

    `prefix` is one or more whole name segments without a trailing slash, or `ROOT`. `upstream_prefix` goes
    before the upstream name ("" for none).
    """

    prefix: str
    upstream: UpstreamAddress
    credentials: CredentialsSource | None = None
    upstream_prefix: str = ""
    ns: bool = False
    revalidate_after: timedelta = timedelta(minutes=5)
    stale_after: timedelta = timedelta(seconds=2)
    on_upstream_404: OnUpstream404 = OnUpstream404.SERVE
    offline: bool = False
    max_connections: int = 16
    token_realms: tuple[str, ...] = ()
    allow_private: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)  # may hold a password
    client_cert: Path | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    complete: Completion = Completion.PLATFORM
    parallel_ranges: int = 1
    requests_per_second: float | None = None
    bandwidth: int | None = None
    push: bool = False

    @property
    def credentials_id(self) -> str:
        """Tell the account of this rule from others ("" for anonymous), without a secret."""
        return self.credentials.identity if self.credentials is not None else ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Say from which upstream repository, and through whose account, content came.

    `source` is ``<upstream>/<upstream repository>``, `account` the `CacheRule.credentials_id`.
    """

    source: str
    account: str

    def __hash__(self) -> int:
        # A text remembers its hash, and accounts of one source are few.
        return hash(self.source)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository of an upstream registry, as one rule reaches it.

    Unless `may_fetch`, nothing is asked of the upstream: who wants it may read only what is kept.
    """

    rule: CacheRule
    repository: RepositoryName
    may_fetch: bool = True
    provenance: Provenance = field(init=False, repr=False, compare=False)
    """What is written beside content that comes from here."""

    def __post_init__(self) -> None:
        source = f"{self.rule.upstream}/{self.repository}"
        object.__setattr__(self, "provenance", Provenance(source, self.rule.credentials_id))
