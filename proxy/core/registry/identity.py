"""Which registry this is, as AWS would name it."""

from dataclasses import dataclass
from typing import Self

from proxy.config.settings import Settings
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName


@dataclass(frozen=True, slots=True)
class RegistryIdentity:
    """The account and region of the registry. `ecr`: follow ECR to the letter where the friendly superset differs."""

    account: str = "000000000000"
    region: str = "us-east-1"
    ecr: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return which registry a configuration describes."""
        registry = settings.registry
        return cls(registry.account_id, registry.region, registry.compatibility == "ecr")

    def arn(self, name: RepositoryName) -> str:
        """Return the ARN of a repository."""
        return f"arn:{self.partition}:ecr:{self.region}:{self.account}:repository/{name}"

    def user_arn(self, principal: Principal) -> str:
        """Return the ARN by which policies name a principal that is known here."""
        return f"arn:{self.partition}:iam::{self.account}:user/{principal}"

    @property
    def root_arn(self) -> str:
        """Return the ARN by which policies name all of the account, and which whoever gave no name has."""
        return f"arn:{self.partition}:iam::{self.account}:root"

    @property
    def partition(self) -> str:
        """Return the partition of AWS that the region is in."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    def require(self, registry_id: str | None) -> None:
        """Raise `ApiError` InvalidParameterException where a request names another registry."""
        if registry_id not in {None, self.account}:
            raise ApiError(
                ApiErrorCode.InvalidParameterException,
                f"Invalid parameter at 'registryId' failed to satisfy constraint: 'this registry is {self.account}'",
            )

    def unknown(self, name: str, registry_id: str | None = None) -> ApiError:
        """Return ECR's refusal of a repository that does not exist."""
        return ApiError(
            ApiErrorCode.RepositoryNotFoundException,
            f"The repository with name '{name}' does not exist in the registry with id '{registry_id or self.account}'",
        )
