"""What the configuration says about asking upstreams and about the character of the registry."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from proxy.config.settings import UpstreamSettings
from proxy.core.registry.identity import RegistryIdentity
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import Remote


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings for all rules together, and which registry they are those of."""

    negative_ttl: timedelta = timedelta(seconds=60)
    retry_check_after: timedelta = timedelta(seconds=60)
    listing_ttl: timedelta = timedelta(minutes=5)
    offline: bool = False
    identity: RegistryIdentity = field(default_factory=RegistryIdentity)

    @classmethod
    def of(cls, upstreams: UpstreamSettings, identity: RegistryIdentity) -> Self:
        """Return what this section of the configuration says, for that registry."""
        return cls(
            negative_ttl=upstreams.negative_ttl,
            retry_check_after=upstreams.retry_check_after,
            listing_ttl=upstreams.listing_ttl,
            offline=upstreams.offline,
            identity=identity,
        )

    @property
    def ecr(self) -> bool:
        """Tell whether to follow ECR to the letter where the friendly superset differs."""
        return self.identity.ecr

    def unknown(self, repository: RepositoryName) -> ProxyError:
        """Return the answer for a client that names a repository which is not there."""
        # The sentence is ECR's: its clients are known to look for it.
        sentence = self.identity.unknown(repository).message if self.ecr else None
        return ProxyError(ErrorCode.NAME_UNKNOWN, sentence, detail={"name": repository})

    def silence(self, remote: Remote) -> UpstreamFailure | None:
        """Return why no request may be made to this upstream for this caller, or None."""
        if not remote.may_fetch:
            return UpstreamFailure.NOT_PERMITTED
        return UpstreamFailure.OFFLINE if self.offline or remote.rule.offline else None

    def is_offline(self, remote: Remote) -> bool:
        """Tell whether no request may be made to this upstream, whatever the reason."""
        return self.silence(remote) is not None
