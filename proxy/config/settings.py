"""The settings tree: every key of the configuration file, with its default and its meaning.

The descriptions are the configuration reference: ``docs/configuration.md`` is generated from them.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from proxy.config.auth import Auth
from proxy.config.credentials import CredentialsSettings, SecretsSettings
from proxy.config.section import Section, is_origin
from proxy.config.values import Duration, PositiveDuration, PositiveSize, Size
from proxy.model.errors import ProxyError
from proxy.model.patterns import NamePattern
from proxy.model.reference import parse_repository
from proxy.model.rule import (
    DOCKER_HUB,
    DOCKER_HUB_ALIASES,
    ROOT,
    CacheRule,
    Completion,
    OnUpstream404,
    UpstreamAddress,
)
from proxy.model.tag_policy import TagMutability, TagPolicy, check_filters

Port = Annotated[int, Field(ge=0, le=65535)]


def _check_prefix(value: str) -> str:
    prefix = value.removesuffix("/")
    if prefix != ROOT:
        check_name(prefix)
    return prefix


Prefix = Annotated[str, AfterValidator(_check_prefix)]
"""What names of repositories begin with, in whole segments; `ROOT` for any. A slash behind it says nothing more."""


class TlsSettings(Section):
    """The certificate of the listeners. Its files are read again when they change; the names of the files are not."""

    certificate: Path = Field(
        description="Certificate in PEM, and behind it those that lead to the authority that clients trust."
    )
    key: Path | None = Field(None, description="Its key in PEM, without a password; without it, in the same file.")
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest version of TLS that is spoken.")


class LimitSettings(Section):
    """What one client may ask of the server, so that others are served too."""

    header_timeout: PositiveDuration = Field(
        timedelta(seconds=20), description="Time for the headers of a request, and for a TLS handshake."
    )
    body_timeout: PositiveDuration = Field(
        timedelta(seconds=60), description="A request whose body brings no byte for this long is given up."
    )
    send_timeout: PositiveDuration = Field(
        timedelta(minutes=5), description="A client that takes no byte of its answer for this long is left."
    )
    connections: int = Field(4096, ge=1, description="Open connections of all clients; further ones wait.")
    requests_per_second: float | None = Field(
        None,
        gt=0,
        description="Requests of one principal, or of one address of those who show none; further ones get 429.",
    )
    burst: int = Field(100, ge=1, description="Requests that may come at once before `requests_per_second` counts.")


class ServerSettings(Section):
    """Where the registry listens."""

    host: str = Field("127.0.0.1", description="Address to listen on. Only loopback unless `auth` is set.")
    port: Port = Field(5000, description="Port of the registry; 0 takes a free one.")
    hosts: tuple[str, ...] = Field((), description="Further Host names that requests may carry; others get 421.")
    public_url: str | None = Field(None, description="URL under which clients reach the registry, if not the address.")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Networks of reverse proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed; "
        "those of others are ignored.",
    )
    workers: int = Field(
        1, ge=1, le=64, description="Processes that serve together; about one for each core that is to be used."
    )
    speedups: Literal["auto", "off"] = Field(
        "auto", description="`auto`: TLS by the package of the extra `speedups`, where it is installed; `off`: without."
    )
    drain_timeout: Duration = Field(
        timedelta(seconds=30), description="How long running answers may take to end after SIGTERM."
    )
    tls: TlsSettings | None = Field(None, description="Speak TLS, on all listeners.")
    limits: LimitSettings = LimitSettings()

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str | None) -> str | None:
        if value is not None and not is_origin(value, {"http", "https"}):
            message = "a public URL is http://host[:port] or https://host[:port], without a path"
            raise ValueError(message)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_trusted_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError:
                message = f"{network!r} is no network such as 10.0.0.0/8 or 192.0.2.7"
                raise ValueError(message) from None
        return value


class MirrorSettings(Section):
    """A listener on which every name belongs to one rule: what dockerd's `registry-mirrors` points to."""

    port: Port = Field(description="Port of the mirror, on `server.host`; 0 takes a free one.")
    rule: str = Field(description="Prefix of the rule whose repositories are served without their prefix.")


class StorageSettings(Section):
    """Where content is kept."""

    path: Path = Field(
        Path("data"), description="Folder of blobs and database; made if absent. One machine, local disk."
    )
    min_free: Size = Field(
        Size(1 << 30),
        description="Space that is left free; below it pulled blobs are passed through, not kept, and pushes refused.",
    )
    memory: Size = Field(
        Size(64 << 20),
        description="Manifests and blobs of up to 256 KiB that each process holds in memory, to answer without "
        "asking the database; 0 holds none.",
    )


class TagPolicySettings(Section):
    """Whether tags of repositories may be given another digest, as ECR's image tag mutability."""

    prefix: Prefix = Field(
        description="The repository of this name and all below it, whole segments; `ROOT` for all. The longest counts."
    )
    mutability: TagMutability = Field(
        description="Whether tags keep their first image; `_WITH_EXCLUSION`: but for those that `filters` fit."
    )
    filters: tuple[str, ...] = Field(
        (), description="1 to 5 patterns of whole tags, with at most two `*` each, such as `latest` or `dev-*`."
    )

    @model_validator(mode="after")
    def _check_filters(self) -> Self:
        check_filters(self.mutability, self.filters)
        return self


class RegistrySettings(Section):
    """What kind of registry this is."""

    account_id: Annotated[str, Field(pattern=r"^\d{12}$")] = Field(
        "000000000000", description="Account number of the registry, as ECR would give it."
    )
    region: str = Field("us-east-1", description="Region of the registry, as ECR would name it.")
    compatibility: Literal["relaxed", "ecr"] = Field(
        "relaxed", description="`relaxed` is the friendly superset; `ecr` follows ECR to the letter."
    )
    hosted: tuple[str, ...] = Field(
        (), description="With a ROOT rule: patterns of names that never go upstream, such as `team/**`."
    )

    tags: tuple[TagPolicySettings, ...] = Field(
        (), description="Which tags are immutable, by prefix, where a repository was not given a policy of its own."
    )
    lifecycle_interval: PositiveDuration = Field(
        timedelta(hours=1), description="How often lifecycle policies of repositories are carried out."
    )
    sparse_indexes: bool = Field(
        default=False, description="Take indexes that name manifests which were not pushed to the repository."
    )

    @field_validator("hosted")
    @classmethod
    def _check_hosted(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_patterns(value)

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, value: tuple[TagPolicySettings, ...]) -> tuple[TagPolicySettings, ...]:
        prefixes = [entry.prefix for entry in value]
        twice = next((prefix for prefix in prefixes if prefixes.count(prefix) > 1), None)
        if twice is not None:
            raise ValueError(f"two entries have the prefix {twice}; a prefix has one policy")
        return value

    def tag_policies(self) -> dict[str, TagPolicy]:
        """Return the policies by prefix that core works with."""
        return {entry.prefix: TagPolicy(entry.mutability, entry.filters) for entry in self.tags}


class UpstreamSettings(Section):
    """How upstream registries are reached; the rules refine it."""

    connect_to: dict[str, str] = Field(
        default_factory=dict,
        description="Connect to another address for a host, like curl's --connect-to: `host: address:port`.",
    )
    ca_file: Path | None = Field(None, description="Further certificate authorities (PEM) to trust.")
    offline: bool = Field(default=False, description="Make no upstream request at all; serve what is kept.")
    allow_private: tuple[str, ...] = Field(
        (), description="Hosts or networks that redirects and realms may lead to although they are private."
    )
    connect_timeout: PositiveDuration = Field(timedelta(seconds=5), description="Time to connect, TLS included.")
    header_timeout: PositiveDuration = Field(timedelta(seconds=15), description="Time to the headers of an answer.")
    budget: PositiveDuration = Field(
        timedelta(seconds=20), description="Time for a request with all its retries, redirects and tokens."
    )
    stall_timeout: PositiveDuration = Field(
        timedelta(seconds=30), description="A transfer without a byte for this long is resumed."
    )
    min_rate: Size = Field(Size(10 << 10), description="Bytes a second; a transfer slower than this is resumed.")
    min_rate_window: PositiveDuration = Field(
        timedelta(seconds=60), description="Time over which `min_rate` is measured."
    )
    negative_ttl: Duration = Field(
        timedelta(seconds=60), description="How long an upstream's no (not found, denied, rate limit) is remembered."
    )
    retry_check_after: Duration = Field(
        timedelta(seconds=60), description="How long a failed check of a cached tag is not repeated (jittered)."
    )
    listing_ttl: Duration = Field(
        timedelta(minutes=5),
        description="How long tag lists, referrers and `sha256-*` tags are served without a check.",
    )
    max_tag_pages: int = Field(100, ge=1, description="Longest tag list that is followed, in pages.")
    pull_floor: int = Field(
        10, ge=0, description="Pulls left of an upstream's rate limit below which kept tags are served without a check."
    )
    breaker_failures: int = Field(5, ge=1, description="Failures in a row after which a host is left alone.")
    breaker_reset: Duration = Field(timedelta(seconds=30), description="How long such a host is left alone.")

    @field_validator("connect_to")
    @classmethod
    def _check_connect_to(cls, value: dict[str, str]) -> dict[str, str]:
        for target in value.values():
            _, _, port = target.rpartition(":")
            if not port.isdigit():
                message = f"{target!r} is not address:port"
                raise ValueError(message)
        return value

    @field_validator("allow_private")
    @classmethod
    def _check_allow_private(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return check_allow_private(value)


class FillSettings(Section):
    """How blobs are fetched and shared among clients."""

    segment: PositiveSize = Field(Size(256 << 10), description="Bytes written to a client at a time.")
    batch: PositiveSize = Field(Size(1 << 20), description="Bytes hashed and written to disk at a time.")
    piece: PositiveSize = Field(
        Size(8 << 20),
        description="Most bytes asked for at a time where a rule's `parallel_ranges` allows several connections; blobs "
        "of more than two such pieces are fetched so, in as many for each connection. A piece costs a request.",
    )
    poll: PositiveDuration = Field(
        timedelta(milliseconds=10), description="How often a fill of another process is looked at."
    )
    attempts: int = Field(5, ge=1, description="Transfers of one blob that may break off without progress.")
    retry_delay: Duration = Field(
        timedelta(milliseconds=500),
        description="Longest wait before a transfer is resumed; doubled with each attempt, up to 20 times as long.",
    )
    failed_ttl: Duration = Field(
        timedelta(seconds=10), description="How long a digest whose bytes were wrong is not fetched again."
    )
    headers_deadline: PositiveDuration = Field(
        timedelta(seconds=20), description="When a queued blob of known size gets its headers."
    )


class UploadSettings(Section):
    """How content that clients push is taken."""

    chunk_min_length: Size = Field(
        Size(0), description="Advise clients to send chunks of at least this size (`OCI-Chunk-Min-Length`); 0: do not."
    )
    expire_after: PositiveDuration = Field(
        timedelta(hours=24), description="An upload that got no byte for this long is removed."
    )
    sweep_interval: PositiveDuration = Field(
        timedelta(minutes=10), description="How often expired uploads are looked for."
    )


class AuditSettings(Section):
    """What was changed, and what was refused, and to whom: one JSON line each."""

    path: Path | None = Field(
        None,
        description="File of the events; without it `audit.jsonl` in the storage folder if `auth` is set, else none.",
    )
    max_size: PositiveSize = Field(Size(64 << 20), description="Size from which on the file is put aside.")
    keep: int = Field(10, ge=1, description="How many files that were put aside are kept.")


class LogSettings(Section):
    """What is logged, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe event that is logged."
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto`: for people on a terminal, JSON lines otherwise."
    )


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
        if value is not None and not is_origin(value, {"http", "https"}, userinfo=True):
            # The value may hold a password: it is not repeated.
            message = "a forward proxy is http://[user:password@]host:port"
            raise ValueError(message)
        return value

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


LIVE = ("rules", "registry.hosted", "registry.tags", "secrets.values", "auth.policies", "log.level")
"""The keys that a reload takes over in a running server, with all that is inside them; others need a restart."""


class Settings(Section):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    mirrors: tuple[MirrorSettings, ...] = ()
    storage: StorageSettings = StorageSettings()
    registry: RegistrySettings = RegistrySettings()
    upstreams: UpstreamSettings = UpstreamSettings()
    fills: FillSettings = FillSettings()
    uploads: UploadSettings = UploadSettings()
    secrets: SecretsSettings = SecretsSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()
    auth: Auth | None = Field(
        None,
        description="Who may use the registry. Without it, everyone on this machine; `none` opens the registry on "
        "other addresses than loopback, to everyone who reaches it.",
    )
    rules: tuple[RuleSettings, ...] = ()

    def cache_rules(self) -> tuple[CacheRule, ...]:
        """Return the rules with the registry's defaults filled in."""
        return tuple(self.cache_rule(rule) for rule in self.rules)

    def cache_rule(self, rule: RuleSettings) -> CacheRule:
        """Return a rule, of this configuration or made elsewhere, with the registry's defaults filled in."""
        ecr = self.registry.compatibility == "ecr"
        revalidate_after = timedelta(hours=24) if ecr else timedelta(minutes=5)
        complete = Completion.INDEX if ecr else Completion.PLATFORM
        return rule.rule(revalidate_after, complete, push=ecr)


def check_name(value: str) -> None:
    """Raise ValueError unless `value` is one or more segments of a repository name."""
    try:
        parse_repository(value)
    except ProxyError as error:
        raise ValueError(error.message) from error


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the patterns as they are, or raise ValueError for one that no repository name fits."""
    for pattern in patterns:
        NamePattern(pattern)
    return patterns


def check_allow_private(entries: Iterable[str]) -> tuple[str, ...]:
    """Return host names and networks in lower case, or raise ValueError for one that is neither."""
    checked = []
    for entry in entries:
        text = entry.lower().rstrip(".")
        if not _is_host(text.removeprefix("*.")):
            try:
                ip_network(text)
            except ValueError:
                message = f"{entry!r} is neither a host name nor a network such as 10.0.0.0/8"
                raise ValueError(message) from None
        checked.append(text)
    return tuple(checked)


_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HOST_LIMIT = 253  # RFC 1035 §2.3.4, without the lengths of first label and root


def _is_host(text: str) -> bool:
    return len(text) <= _HOST_LIMIT and _HOST.fullmatch(text) is not None


def parse_upstream(text: str) -> UpstreamAddress:
    """Return the origin that ``[https://|http://]host[:port]`` names, or raise ValueError."""
    if "@" in text:
        message = "an upstream is host[:port], without a user name or password: those are `credentials`"
        raise ValueError(message)
    message = f"{text!r} is not host[:port], https://host[:port] or http://host[:port]"
    # Of these, urlsplit leaves out what stands inside, and what is empty behind them.
    if not text.isprintable() or "?" in text or "#" in text:
        raise ValueError(message)
    url = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(message) from None
    host = (parts.hostname or "").rstrip(".")
    extra = parts.path.strip("/") or parts.username or parts.password or parts.netloc.endswith(":")
    if parts.scheme not in {"http", "https"} or extra or not _is_host(host) or port == 0:
        raise ValueError(message)
    address = UpstreamAddress(parts.scheme, host, port or {"https": 443, "http": 80}[parts.scheme])
    # The other names of Docker Hub lead to web pages, or to nothing.
    return replace(address, host=DOCKER_HUB) if str(address) in DOCKER_HUB_ALIASES else address
