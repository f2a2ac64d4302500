"""The settings of one cache rule."""

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from proxy.config.addresses import check_allow_private, parse_upstream
from proxy.config.credentials import CredentialsSettings
from proxy.config.names import Prefix, check_name, check_patterns
from proxy.config.section import Section, check_forward_proxy
from proxy.config.values import Duration, PositiveSize
from proxy.model.rule import CacheRule, Completion, OnUpstream404


class RuleSettings(Section):
    """A cache rule."""

    prefix: Prefix = Field(description="Repository prefix, whole segments; `ROOT` for names under no other prefix.")
    upstream: str = Field(description="`host[:port]` (https) or `http://host[:port]` of the upstream registry.")
    credentials: CredentialsSettings | None = Field(
        None, description="Credentials for the upstream; anonymous without."
    )
    upstream_prefix: str = Field("", description="Put before the upstream repository name.")
    ns: bool = Field(default=False, description="Of several rules for one host, the one that `?ns=HOST` means.")
    revalidate_after: Duration | None = Field(
        None, description="How long a tag is served without asking upstream; 5 minutes, 24 hours with `ecr`."
    )
    stale_after: Duration = Field(
        timedelta(seconds=2), description="How long a client waits for a check before the kept copy is served."
    )
    on_upstream_404: OnUpstream404 = Field(
        OnUpstream404.SERVE, description="What to do with a kept tag that upstream no longer has."
    )
    offline: bool = Field(default=False, description="Make no request to this upstream; serve what is kept.")
    max_connections: int = Field(16, ge=1, description="Connections to the upstream's hosts at a time.")
    token_realms: tuple[str, ...] = Field((), description="Further hosts that the upstream may name as token server.")
    allow_private: tuple[str, ...] = Field(
        (), description="Hosts or networks that redirects and realms of this upstream may lead to although private."
    )
    ca_file: Path | None = Field(None, description="Certificate authorities (PEM) for this upstream.")
    client_cert: Path | None = Field(
        None, description="Client certificate and its key (one PEM file) to show to this upstream."
    )
    proxy: str | None = Field(None, repr=False, description="Forward proxy: `http://[user:password@]host:port`.")
    allow: tuple[str, ...] = Field(
        (),
        description="Patterns of upstream names that may be pulled, such as `library/*` or `team/**`; all without. "
        "`*` is one segment or a part of it, `**` all further ones.",
    )
    deny: tuple[str, ...] = Field(
        (), description="Patterns of upstream names that may not be pulled, kept copies included; wins over `allow`."
    )
    complete: Literal["platform", "index", "none", False] | None = Field(
        None,
        description="What is fetched in the background once a layer of an image was pulled: `platform`, the rest of "
        "that image; `index`, the rest of all images of its index (the default with `ecr`); `none`.",
    )
    parallel_ranges: int = Field(
        1, ge=1, le=16, description="Connections by which one large blob is fetched, delivered in order."
    )
    requests_per_second: float | None = Field(
        None, gt=0, description="Requests to this upstream; the kind of upstream says how many without it."
    )
    bandwidth: PositiveSize | None = Field(
        None, description="Bytes a second from this upstream, all transfers together."
    )
    push: Literal["allow", "deny"] | None = Field(
        None,
        description="Whether clients may push below the prefix, beside what is pulled through: `deny`, or `allow` (the "
        "default with `ecr`). What was pushed is served as it is, and never checked upstream.",
    )

    @field_validator("upstream_prefix")
    @classmethod
    def _check_upstream_prefix(cls, value: str) -> str:
        prefix = value.removesuffix("/")
        if prefix:
            check_name(prefix)
        return prefix

    @field_validator("upstream")
    @classmethod
    def _check_upstream(cls, value: str) -> str:
        parse_upstream(value)
        return value

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: str | None) -> str | None:
        return check_forward_proxy(value)

    @field_validator("allow_private")
    @classmethod
    def _check_allow_private(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_allow_private(value)

    @field_validator("allow", "deny")
    @classmethod
    def _check_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_patterns(value)

    def rule(
        self, revalidate_after: timedelta, complete: Completion = Completion.PLATFORM, *, push: bool = False
    ) -> CacheRule:
        """Return the rule that core works with; the arguments are the defaults of the registry."""
        return CacheRule(
            prefix=self.prefix,
            upstream=parse_upstream(self.upstream),
            credentials=self.credentials.source() if self.credentials is not None else None,
            upstream_prefix=self.upstream_prefix,
            ns=self.ns,
            revalidate_after=self.revalidate_after if self.revalidate_after is not None else revalidate_after,
            stale_after=self.stale_after,
            on_upstream_404=self.on_upstream_404,
            offline=self.offline,
            max_connections=self.max_connections,
            token_realms=self.token_realms,
            allow_private=self.allow_private,
            ca_file=self.ca_file,
            client_cert=self.client_cert,
            proxy=self.proxy,
            allow=self.allow,
            deny=self.deny,
            complete=complete if self.complete is None else Completion(self.complete or "none"),
            parallel_ranges=self.parallel_ranges,
            requests_per_second=self.requests_per_second,
            bandwidth=self.bandwidth,
            push=push if self.push is None else self.push == "allow",
        )
