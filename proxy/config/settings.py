"""The settings tree: every key of the configuration file, with its default and its meaning.

The descriptions are the configuration reference: ``docs/configuration.md`` is generated from them.
"""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from proxy.config.addresses import check_allow_private
from proxy.config.auth import Auth
from proxy.config.credentials import SecretsSettings
from proxy.config.names import Prefix, check_patterns
from proxy.config.rules import RuleSettings
from proxy.config.section import Section, is_origin
from proxy.config.values import Duration, PositiveDuration, PositiveSize, Size
from proxy.model.rule import CacheRule, Completion
from proxy.model.tag_policy import TagMutability, TagPolicy, check_filters

Port = Annotated[int, Field(ge=0, le=65535)]


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
