"""Where a rule's upstream credentials come from. The secret itself is read when it is needed, never kept here."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Name the environment variable or the file that holds a secret; exactly one of both is set."""

    env: str | None = None
    file: Path | None = None

    @property
    def identity(self) -> str:
        """Name the place of the secret: no part of the secret itself."""
        return f"env:{self.env}" if self.env is not None else f"file:{self.file}"


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user name in the configuration with a password from elsewhere."""

    username: str
    password: SecretSource

    @property
    def identity(self) -> str:
        """Tell this account from others, without a secret."""
        return f"user:{self.username}:{self.password.identity}"


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The entry for the upstream in a Docker ``config.json`` (``auths``, ``credHelpers``, ``credsStore``)."""

    path: Path

    @property
    def identity(self) -> str:
        """Tell this source from others, without a secret."""
        return f"docker_config:{self.path}"


@dataclass(frozen=True, slots=True)
class CredentialHelper:
    """A program ``docker-credential-<name>`` (Docker's credential-helper protocol)."""

    name: str

    @property
    def identity(self) -> str:
        """Tell this source from others, without a secret."""
        return f"helper:{self.name}"


@dataclass(frozen=True, slots=True)
class EcrCredentials:
    """The token that Amazon ECR gives to this machine's AWS identity (GetAuthorizationToken) in a region."""

    region: str

    @property
    def identity(self) -> str:
        """Tell this source from others, without a secret."""
        return f"ecr:{self.region}"


@dataclass(frozen=True, slots=True)
class SecretCredentials:
    """A secret by its ARN, or by its name: a JSON object with ``username`` and ``accessToken``, as ECR has it."""

    arn: str

    @property
    def identity(self) -> str:
        """Tell this source from others, without a secret."""
        return f"secret:{self.arn}"


CredentialsSource = UserPassword | DockerConfig | CredentialHelper | EcrCredentials | SecretCredentials
