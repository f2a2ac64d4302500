"""What the configuration says of those who use the registry: how they are known, and what they may do."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from proxy.config.faults import Key
from proxy.config.section import Section, check_forward_proxy
from proxy.config.values import PositiveDuration
from proxy.model.access import Action
from proxy.model.patterns import NamePattern
from proxy.model.principal import CERTIFICATE

EVERYWHERE = "**"
"""The pattern of all repositories, in policies."""

_PROVIDER = re.compile(r"[a-z][a-z0-9-]{0,31}")
_TEMPLATE = re.compile(r"(?:[^{}\s]|\{[A-Za-z_][A-Za-z0-9_]{0,63}\})+")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class OidcSettings(Section):
    """An identity provider whose tokens are taken (OpenID Connect): those of CI jobs, for example."""

    issuer: str = Field(description="Its URL, exactly as tokens have it in `iss`.")
    audience: str = Field(description="What tokens must have in `aud`: a name of this registry.")
    name: str = Field("oidc", description="What principals known by it begin with; `docker login` may use it as user.")
    principal: str = Field(
        "{sub}",
        description="The rest of a principal's name, made of the token's claims: `{repository}`. Of several, none may "
        "hold the sign that stands between them: `{repository}:{ref}`.",
    )
    claims: dict[str, str] = Field(
        default_factory=dict,
        description="Claims that tokens must have with these values; `*` stands for any part. An issuer that serves "
        "the public (GitHub, GitLab.com) gives anybody a token for any audience: name there whose tokens count.",
    )
    jwks_url: str | None = Field(
        None, description="Where its keys are, if not on its own host, as its discovery document tells."
    )
    ca_file: Path | None = Field(None, description="Certificate authorities (PEM) for asking it.")
    proxy: str | None = Field(
        None, repr=False, description="Forward proxy for asking it: `http://[user:password@]host:port`."
    )

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://-")
        plain = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if (parts.scheme != "https" and not plain) or not parts.hostname or parts.username or parts.fragment:
            message = f"{value!r} is no https URL (http is taken of this machine only)"
            raise ValueError(message)
        return value

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: str | None) -> str | None:
        return check_forward_proxy(value)

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if _PROVIDER.fullmatch(value) is None or value == CERTIFICATE:
            message = "a name is up to 32 lower case letters, digits and -, begins with a letter, and is not `cert`"
            raise ValueError(message)
        return value

    @field_validator("principal")
    @classmethod
    def _check_principal(cls, value: str) -> str:
        if _TEMPLATE.fullmatch(value) is None or "{" not in value:
            message = "it is made of characters other than white space and of claims in braces: repo-{repository}"
            raise ValueError(message)
        if "}{" in value:
            message = "something must stand between two claims, or nobody could tell where one ends: {sub}:{ref}"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _check_proxied(self) -> Self:
        # Plain HTTP is taken where nobody is in between, and a proxy asks its own machine for what `localhost` has.
        if self.proxy is not None and "http" in {urlsplit(url).scheme for url in (self.issuer, self.jwks_url or "")}:
            message = (
                "behind a proxy, issuer and jwks_url are https URLs: another machine would see, and could forge, "
                "what they answer"
            )
            raise ValueError(message)
        return self


class GrantSettings(Section):
    """What some principals may do with some repositories."""

    principals: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        min_length=1,
        description="Names of users, `oidc:…`, `cert:…`, with `*` for any part; `*` alone: all that show who they "
        "are; `anonymous`: everyone.",
    )
    actions: tuple[Action, ...] = Field(
        min_length=1, description="What they may do: `pull`, `first_pull`, `push`, `delete`, `admin`, `metrics`."
    )
    repositories: tuple[str, ...] = Field(
        (EVERYWHERE,), min_length=1, description="Patterns of repositories, such as `team/**`; `**` is all."
    )

    @field_validator("repositories")
    @classmethod
    def _check_repositories(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            NamePattern(pattern)
        return value


class AuthSettings(Section):
    """Who may use the registry. With this section, nobody may do what no policy grants."""

    htpasswd: Path | None = Field(
        None, description="File of users and their passwords as bcrypt has them (`htpasswd -B`); re-read on change."
    )
    access_keys: Path | None = Field(
        None, description="File of access keys for the AWS APIs; see `pullthrough access-keys`. Re-read on change."
    )
    oidc: tuple[OidcSettings, ...] = Field((), description="Identity providers whose tokens are taken.")
    client_ca: Path | None = Field(
        None,
        description="Certificate authorities (PEM) whose client certificates are taken, where TLS is served. "
        "Re-read on change.",
    )
    policies: tuple[GrantSettings, ...] | None = Field(
        None,
        description="Who may do what; what none of them grants is refused. Without them, all who show who they are "
        "may do everything, and `anonymous` nothing.",
    )
    failed_attempts: int = Field(
        10,
        ge=1,
        description="Wrong passwords a minute from one address after which further ones are refused unheard; for one "
        "user from all addresses it is ten times as many, but not where the right one came from in the last day.",
    )
    password_cache: PositiveDuration = Field(
        timedelta(minutes=5), description="How long a password that was right is known without computing bcrypt again."
    )
    token_lifetime: PositiveDuration = Field(
        timedelta(minutes=5), description="How long the tokens are good that the token endpoint gives."
    )

    @model_validator(mode="after")
    def _check_identities(self) -> Self:
        if not (self.htpasswd or self.access_keys or self.oidc or self.client_ca):
            message = "nobody could be known: set htpasswd, access_keys, oidc or client_ca"
            raise ValueError(message)
        names = [provider.name for provider in self.oidc]
        if len(set(names)) < len(names):
            message = "several identity providers have one name: give each a `name` of its own"
            raise ValueError(message)
        return self

    @property
    def grants(self) -> tuple[GrantSettings, ...]:
        """Return the policies, or what holds without them."""
        if self.policies is not None:
            return self.policies
        return (GrantSettings(principals=("*",), actions=tuple(Action), repositories=(EVERYWHERE,)),)


EMPTY: Final[Mapping[Key, str]] = {
    ("auth",): "is empty: say who is known, leave it out, or write `auth: none` to let everyone do everything",
    ("auth", "policies"): "is empty: write [] to grant nothing, or leave it out to let all who are known do everything",
}
"""Keys whose absence opens something, and what is wrong with them where nothing stands behind them."""

TAGS: Final = frozenset({"[section]", "[word]"})
"""What stands after ``auth`` in the places of faults that pydantic tells, and is no key."""


def _written(value: object) -> str:
    return "[section]" if isinstance(value, dict | AuthSettings) else "[word]"


# Whichever of both is written is looked at, so that its faults are told and not those of the other.
Auth = Annotated[
    Annotated[AuthSettings, Tag("[section]")] | Annotated[Literal["none"], Tag("[word]")], Discriminator(_written)
]
"""``auth`` as it is written: who may use the registry, or the word for everyone."""
