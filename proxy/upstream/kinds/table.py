"""The kinds of registries that are known: one entry each."""

from functools import lru_cache

from proxy.model.rule import DOCKER_HUB_ALIASES, UpstreamAddress
from proxy.upstream.kinds.hosts import host_fits
from proxy.upstream.kinds.kind import Counted, Forbidden, Pacing, Rate, Referrers, RegistryKind

_S3 = ("*.s3.*.amazonaws.com", "*.s3.dualstack.*.amazonaws.com", "*.s3.*.amazonaws.com.cn")
_CLOUDFRONT = "*.cloudfront.net"
_R2 = "*.*.r2.cloudflarestorage.com"

DOCKER_HUB = RegistryKind(
    name="docker-hub",
    hosts=tuple(sorted(DOCKER_HUB_ALIASES)),
    token_realms=frozenset({"auth.docker.io"}),
    storage=("production.cloudflare.docker.com", "production.cloudfront.docker.com", _R2, *_S3),
    # The pull limit is read from its headers. Beside it there is one against abuse, of thousands a minute.
    pacing=Pacing(anonymous=Rate(30, 200), authenticated=Rate(30, 200)),
    # A 429 means that the pulls of hours are used up: soon is no better than now.
    limit_pause=60.0,
    referrers=Referrers.FALLBACK,
)
QUAY = RegistryKind(
    name="quay",
    hosts=("quay.io",),
    storage=("cdn.quay.io", "cdn##.quay.io", _CLOUDFRONT, *_S3),
    # "A few requests per second per IP, with bursts"; nginx answers 429 beyond that, without a time to wait.
    pacing=Pacing(anonymous=Rate(4, 16), authenticated=Rate(4, 16)),
    page_size=100,
)
GITHUB = RegistryKind(
    name="github-container-registry",
    hosts=("ghcr.io",),
    storage=("pkg-containers.githubusercontent.com",),
    referrers=Referrers.FALLBACK,
)
GITLAB = RegistryKind(
    name="gitlab-container-registry",
    hosts=("registry.gitlab.com",),
    token_realms=frozenset({"gitlab.com"}),
    storage=("cdn.registry.gitlab-static.net", "storage.googleapis.com"),
    # About 30 failed logins in 3 minutes shut out the address for an hour.
    forbidden=Forbidden.CREDENTIALS,
    ban=3600.0,
    referrers=Referrers.FALLBACK,
)
KUBERNETES = RegistryKind(
    name="k8s",
    hosts=("registry.k8s.io",),
    storage=("*-docker.pkg.dev", "storage.googleapis.com", *_S3),
    referrers=Referrers.REDIRECTED,
)
ECR_PUBLIC = RegistryKind(
    name="ecr-public",
    hosts=("public.ecr.aws",),
    storage=(_CLOUDFRONT,),
    # "Rate of unauthenticated image pulls: 1 per second", 10 with an account (Amazon ECR Public service quotas).
    pacing=Pacing(anonymous=Rate(1, 1), authenticated=Rate(10, 10), counted=Counted.PULLS),
    token_service="ecr-public",  # noqa: S106 - the name of a service
)
AZURE = RegistryKind(
    name="azure-container-registry",
    hosts=("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
    storage=("*.blob.core.windows.net", "*.blob.storage.azure.net", "*.*.data.azurecr.io"),
    tenants=(".azurecr.io", ".azurecr.cn", ".azurecr.us"),
    # The smallest tier, Basic, grants 1 000 reads a minute.
    pacing=Pacing(anonymous=Rate(15, 100), authenticated=Rate(15, 100)),
)
ECR = RegistryKind(
    name="ecr",
    hosts=(
        "############.dkr.ecr.*.amazonaws.com",
        "############.dkr.ecr.*.amazonaws.com.cn",
        "############.dkr.ecr-fips.*.amazonaws.com",
        "############.dkr-ecr.*.on.aws",
        "############.dkr-ecr-fips.*.on.aws",
    ),
    storage=_S3,
    tenants=(".amazonaws.com", ".amazonaws.com.cn", ".on.aws"),
    token_service="ecr",  # noqa: S106 - the name of a service
)
CHAINGUARD = RegistryKind(
    name="chainguard",
    hosts=("cgr.dev",),
    storage=(_R2, "storage.googleapis.com"),
    pacing=Pacing(anonymous=Rate(10, 50), authenticated=Rate(10, 50)),
)
GOOGLE = RegistryKind(
    name="google-artifact-registry",
    hosts=("*-docker.pkg.dev", "gcr.io", "*.gcr.io"),
    storage=("storage.googleapis.com",),
    tenants=(".gcr.io", ".pkg.dev"),
)
NVIDIA = RegistryKind(
    name="nvidia",
    hosts=("nvcr.io",),
    # Named only in the challenge to a token that has expired; the first one names nvcr.io itself.
    token_realms=frozenset({"authn.nvidia.com"}),
    storage=(_CLOUDFRONT, *_S3),
)
GENERIC = RegistryKind(name="generic")

KINDS = (
    DOCKER_HUB,
    QUAY,
    GITHUB,
    GITLAB,
    KUBERNETES,
    ECR_PUBLIC,
    AZURE,
    ECR,
    CHAINGUARD,
    GOOGLE,
    NVIDIA,
    GENERIC,
)
_TENANTS = tuple(suffix for kind in KINDS for suffix in kind.tenants)


@lru_cache(1024)
def kind_of(upstream: UpstreamAddress) -> RegistryKind:
    """Return the kind of a registry by its host: `GENERIC` for one that is not known."""
    known = (kind for kind in KINDS if any(host_fits(upstream.host, pattern) for pattern in kind.hosts))
    return next(known, GENERIC)


def is_shared(host: str) -> bool:
    """Tell whether the neighbours of `host` belong to strangers although they look like one site."""
    return host.endswith(_TENANTS)
