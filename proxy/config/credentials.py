"""The settings of credentials and secrets: where they are, never what they are."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from proxy.config.section import Section, is_origin
from proxy.model.credentials import (
    CredentialHelper,
    CredentialsSource,
    DockerConfig,
    EcrCredentials,
    SecretCredentials,
    SecretSource,
    UserPassword,
)

_REGION = r"^[a-z]{2,}(-[a-z]+)+-\d$"


class SecretSettings(Section):
    """A secret: by environment variable or file, never written in the configuration."""

    env: str | None = Field(None, description="Environment variable that holds the secret.")
    file: Path | None = Field(None, description="File that holds the secret; re-read when it is needed.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            message = "a secret is {env: VARIABLE} or {file: PATH}, exactly one of them"
            raise ValueError(message)
        return self

    def source(self) -> SecretSource:
        """Return the value that core works with."""
        return SecretSource(self.env, self.file)


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9/_+=.@:-]{1,612}$")]


class SecretValueSettings(Section):
    """A secret whose parts are in environment variables or files."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9/_+=.@-]{1,512}$")] = Field(
        description="Name of the secret; the API's rules want it to begin with `ecr-pullthroughcache/`."
    )
    username: str = Field(min_length=1, description="User name at the upstream registry.")
    access_token: SecretSettings = Field(description="Where the password or token is.")


class AwsSecretsSettings(Section):
    """AWS Secrets Manager, asked as the AWS identity that boto3 finds."""

    region: str = Field(pattern=_REGION, description="AWS region of the secrets: `eu-west-1`.")
    endpoint_url: str | None = Field(None, description="Another address of its API, such as a private endpoint's.")

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint_url(cls, value: str | None) -> str | None:
        if value is not None and not is_origin(value, {"http", "https"}):
            message = "an endpoint is http://host[:port] or https://host[:port], without a path"
            raise ValueError(message)
        return value


class SecretsSettings(Section):
    """Secrets that rules name: those of the API are looked at first, then `values`, then AWS."""

    key: SecretSettings | None = Field(
        None,
        description="Key of the secrets that the API makes: 32 bytes in base64, a line each; the first one seals, all "
        "open. Without it, one is made in the store: `keys/secrets.key`.",
    )
    values: tuple[SecretValueSettings, ...] = Field((), description="Secrets made of variables and files, by name.")
    aws: AwsSecretsSettings | None = Field(None, description="AWS Secrets Manager, not asked without.")

    @field_validator("values")
    @classmethod
    def _check_values(cls, value: tuple[SecretValueSettings, ...]) -> tuple[SecretValueSettings, ...]:
        names = [entry.name for entry in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two secrets have the name {twice}")
        return value


class EcrSettings(Section):
    """The AWS identity of this machine, as boto3 finds it, asked for a token of Amazon ECR."""

    region: str = Field(pattern=_REGION, description="AWS region whose ECR API gives the token: `eu-west-1`.")


class CredentialsSettings(Section):
    """Credentials for an upstream: exactly one way of getting them."""

    username: str | None = Field(None, description="User name; with `password`.")
    password: SecretSettings | None = Field(None, description="Where the password or token is; with `username`.")
    docker_config: Path | None = Field(None, description="A Docker `config.json` with an entry for the upstream.")
    helper: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]+$", description="Name of a program `docker-credential-NAME`."
    )
    ecr: EcrSettings | None = Field(
        None, description="For Amazon ECR: a token for the AWS identity that boto3 finds, renewed in time."
    )
    secret: SecretName | None = Field(
        None,
        description="Name or ARN of a secret, a JSON object with `username` and `accessToken`: one that the API made, "
        "one of `secrets.values`, or one of AWS (`secrets.aws`).",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        ways = [self.username is not None or self.password is not None, self.docker_config is not None]
        ways += [self.helper is not None, self.ecr is not None, self.secret is not None]
        if sum(ways) != 1 or (self.username is None) != (self.password is None):
            message = "give username with password, or docker_config, or helper, or ecr, or secret: exactly one of them"
            raise ValueError(message)
        return self

    def source(self) -> CredentialsSource:
        """Return the value that core works with."""
        if self.docker_config is not None:
            return DockerConfig(self.docker_config)
        if self.helper is not None:
            return CredentialHelper(self.helper)
        if self.ecr is not None:
            return EcrCredentials(self.ecr.region)
        if self.secret is not None:
            return SecretCredentials(self.secret)
        if self.username is None or self.password is None:
            message = "validated settings hold exactly one kind of credentials"
            raise AssertionError(message)
        return UserPassword(self.username, self.password.source())
