"""What is kept about the registry for its administrators. Times are in seconds since the epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagPolicy


def key_of(prefix: str) -> str:
    """Return the prefix by which rules, and templates, are told apart: ``quay/`` is ``quay``."""
    return prefix.removesuffix("/")


@dataclass(frozen=True, slots=True)
class RuleRecord:
    """A cache rule as the API was given it; every text is kept as it was written, to be answered byte for byte.

    `registry` is ECR's name for the kind of upstream, None for one that ECR does not know. `upstream_prefix` is None
    where the caller did not send one.
    """

    prefix: str
    upstream_url: str
    created_at: float
    registry: str | None = None
    credential_arn: str | None = None
    custom_role_arn: str | None = None
    upstream_prefix: str | None = None
    updated_at: float | None = None

    @property
    def key(self) -> str:
        """Return what tells the rule from others."""
        return key_of(self.prefix)


@dataclass(frozen=True, slots=True)
class Encryption:
    """How ECR would encrypt a repository; kept and returned, as the store does not encrypt."""

    type: str = "AES256"
    kms_key: str | None = None


@dataclass(frozen=True, slots=True)
class RepositoryDetails:
    """What administrators said about a repository, beside its tag policy.

    `resource_tags` are ECR's key-value tags of the resource; the policies are JSON texts as they were given.
    """

    encryption: Encryption = Encryption()
    scan_on_push: bool = False
    resource_tags: Mapping[str, str] = field(default_factory=dict)
    policy: str | None = None
    lifecycle: str | None = None
    lifecycle_evaluated_at: float | None = None


PLAIN = RepositoryDetails()
"""The details of a repository of which nothing was said."""


class Scenario(StrEnum):
    """What makes a repository that nobody created (ECR: ``appliedFor``)."""

    PULL_THROUGH_CACHE = "PULL_THROUGH_CACHE"
    CREATE_ON_PUSH = "CREATE_ON_PUSH"
    REPLICATION = "REPLICATION"


@dataclass(frozen=True, slots=True)
class TemplateRecord:
    """A repository creation template; `prefix` as it was written, or `ROOT`."""

    prefix: str
    applied_for: tuple[Scenario, ...]
    created_at: float
    updated_at: float
    description: str | None = None
    encryption: Encryption = Encryption()
    resource_tags: Mapping[str, str] = field(default_factory=dict)
    tag_policy: TagPolicy = ALL_TAGS_MOVE
    repository_policy: str | None = None
    lifecycle_policy: str | None = None
    custom_role_arn: str | None = None

    @property
    def key(self) -> str:
        """Return what tells the template from others."""
        return key_of(self.prefix)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A manifest of a repository as an image, with all its tags in order.

    `size` is that of the manifest, `content_size` the sum of its distinct children that are no manifests; of an index
    it is the largest of its images here (ECR: ``imageSizeInBytes``).
    `pushed_at` is when the repository first got it, by push or by pull; `pulled_at` when a client last got it.
    """

    digest: Digest
    media_type: str
    size: int
    content_size: int
    pushed_at: float
    tags: tuple[Tag, ...] = ()
    artifact_type: str | None = None
    subject: Digest | None = None
    pulled_at: float | None = None


@dataclass(frozen=True, slots=True)
class PullNote:
    """A client got a manifest of a repository."""

    repository: RepositoryName
    digest: Digest
    at: float


@dataclass(frozen=True, slots=True)
class SecretVersion:
    """A version of a secret; `sealed` is its value, encrypted. `stages` are such as ``AWSCURRENT``."""

    id: str
    sealed: bytes
    created_at: float
    stages: tuple[str, ...]
    binary: bool = False


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """A secret of the built-in store, with its versions, newest last. `suffix` are the six characters of its ARN."""

    name: str
    suffix: str
    created_at: float
    changed_at: float
    description: str | None = None
    kms_key: str | None = None
    resource_tags: Mapping[str, str] = field(default_factory=dict)
    policy: str | None = None
    deleted_at: float | None = None
    versions: tuple[SecretVersion, ...] = ()
