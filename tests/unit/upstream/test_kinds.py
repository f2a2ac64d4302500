import pytest

from proxy.config.addresses import parse_upstream
from proxy.upstream.kinds import GENERIC, KINDS, Rate, Referrers, host_fits, is_shared, kind_of


@pytest.mark.parametrize(
    ("upstream", "name"),
    [
        ("registry-1.docker.io", "docker-hub"),
        ("docker.io", "docker-hub"),
        ("index.docker.io", "docker-hub"),
        ("quay.io", "quay"),
        ("QUAY.IO.", "quay"),
        ("ghcr.io", "github-container-registry"),
        ("registry.gitlab.com", "gitlab-container-registry"),
        ("registry.k8s.io", "k8s"),
        ("public.ecr.aws", "ecr-public"),
        ("mine.azurecr.io", "azure-container-registry"),
        ("X.AZURECR.IO", "azure-container-registry"),
        ("x.azurecr.io.", "azure-container-registry"),
        ("mine.azurecr.cn", "azure-container-registry"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr"),
        ("cgr.dev", "chainguard"),
        ("europe-west4-docker.pkg.dev", "google-artifact-registry"),
        ("eu.gcr.io", "google-artifact-registry"),
        ("nvcr.io", "nvidia"),
        ("registry.example.com", "generic"),
        ("http://localhost:5000", "generic"),
        ("10.0.0.1", "generic"),
    ],
)
def test_a_registry_is_known_by_its_host(upstream: str, name: str) -> None:
    assert kind_of(parse_upstream(upstream)).name == name


@pytest.mark.parametrize(
    "upstream",
    [
        "evil.azurecr.io.attacker.com",
        "azurecr.io",
        "a.b.azurecr.io",
        "evilazurecr.io",
        "azurecr.io.azurecr.io.evil.test",
        "quay.io.evil.test",
        "notquay.io",
        "a.quay.io",
        "hub.docker.io",
        "registry-1.docker.io.evil.test",
        "registry.gitlab.com.evil.test",
        "gitlab.com",
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
        "x123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.a.b.amazonaws.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test",
        "evil.cgr.dev",
        "docker.pkg.dev",
        "a.b-docker.pkg.dev",
    ],
)
def test_a_host_that_only_looks_like_one_is_not_known(upstream: str) -> None:
    assert kind_of(parse_upstream(upstream)) is GENERIC


def test_the_names_of_docker_hub_mean_the_one_that_is_a_registry() -> None:
    for alias in ("docker.io", "index.docker.io", "registry.hub.docker.com", "https://docker.io:443"):
        assert str(parse_upstream(alias)) == "registry-1.docker.io"
    assert str(parse_upstream("docker.io:5000")) == "docker.io:5000"
    assert str(parse_upstream("http://docker.io")) == "http://docker.io"


def test_names_are_unique_and_no_host_has_two_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    samples = [pattern.replace("*", "x").replace("#", "1") for kind in KINDS for pattern in kind.hosts]
    for host in samples:
        assert len([kind for kind in KINDS if any(host_fits(host, pattern) for pattern in kind.hosts)]) == 1, host


def test_neighbours_are_strangers_where_names_are_given_to_anybody() -> None:
    assert all(is_shared(host) for host in ("a.azurecr.io", "us.gcr.io", "a-docker.pkg.dev", "1.dkr.amazonaws.com"))
    assert not any(is_shared(host) for host in ("quay.io", "azurecr.io.evil.test", "registry.example.com"))


def test_ecrs_own_words_are_the_names_of_its_kinds() -> None:
    assert {kind.name for kind in KINDS} >= {
        "ecr",
        "ecr-public",
        "quay",
        "k8s",
        "docker-hub",
        "github-container-registry",
        "azure-container-registry",
        "gitlab-container-registry",
        "chainguard",
    }


def test_an_account_at_ecr_public_is_ten_times_as_fast() -> None:
    kind = kind_of(parse_upstream("public.ecr.aws"))
    assert (kind.rate(authenticated=False), kind.rate(authenticated=True)) == (Rate(1, 1), Rate(10, 10))


def test_an_unknown_registry_is_taken_for_one_that_follows_the_spec() -> None:
    assert (GENERIC.rate(authenticated=False), GENERIC.referrers, GENERIC.ban) == (None, Referrers.API, 0)
    assert not GENERIC.hosts
