"""What the configuration says about asking upstreams and about the character of the registry."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from proxy.config.settings import RegistrySettings, UpstreamSettings
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import Remote


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings for all rules together.

    `ecr`: follow ECR to the letter where the friendly superset differs; `account` is the registry's number there.
    """

    negative_ttl: timedelta = timedelta(seconds=60)
    retry_check_after: timedelta = timedelta(seconds=60)
    listing_ttl: timedelta = timedelta(minutes=5)
    offline: bool = False
    ecr: bool = False
    account: str = "000000000000"

    @classmethod
    def of(cls, upstreams: UpstreamSettings, registry: RegistrySettings) -> Self:
        """Return what these sections of the configuration say."""
        return cls(
            negative_ttl=upstreams.negative_ttl,
            retry_check_after=upstreams.retry_check_after,
            listing_ttl=upstreams.listing_ttl,
            offline=upstreams.offline,
            ecr=registry.compatibility == "ecr",
            account=registry.account_id,
        )

    def unknown(self, repository: RepositoryName) -> ProxyError:
        """Return the answer for a client that names a repository which is not there."""
        # The sentence is ECR's: its clients are known to look for it.
        sentence = f"The repository with name '{repository}' does not exist in the registry with id '{self.account}'"
        return ProxyError(ErrorCode.NAME_UNKNOWN, sentence if self.ecr else None, detail={"name": repository})

    def silence(self, remote: Remote) -> UpstreamFailure | None:
        """Return why no request may be made to this upstream for this caller, or None."""
        if not remote.may_fetch:
            return UpstreamFailure.NOT_PERMITTED
        return UpstreamFailure.OFFLINE if self.offline or remote.rule.offline else None

    def is_offline(self, remote: Remote) -> bool:
        """Tell whether no request may be made to this upstream, whatever the reason."""
        return self.silence(remote) is not None
