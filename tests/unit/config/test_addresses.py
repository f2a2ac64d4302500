"""What is an address of a host, and what only looks like one."""

import pytest

from proxy.config.addresses import check_allow_private, parse_upstream
from proxy.model.rule import UpstreamAddress


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("quay.io", UpstreamAddress("https", "quay.io", 443)),
        ("quay.io:8443", UpstreamAddress("https", "quay.io", 8443)),
        ("https://quay.io/", UpstreamAddress("https", "quay.io", 443)),
        ("http://127.0.0.1:5001", UpstreamAddress("http", "127.0.0.1", 5001)),
        ("http://registry", UpstreamAddress("http", "registry", 80)),
        ("QUAY.io.", UpstreamAddress("https", "quay.io", 443)),
        (f"{'a' * 63}.io", UpstreamAddress("https", f"{'a' * 63}.io", 443)),
    ],
)
def test_an_upstream_is_a_host_with_https_implied(text: str, address: UpstreamAddress) -> None:
    assert parse_upstream(text) == address


@pytest.mark.parametrize("alias", ["docker.io", "index.docker.io", "registry.hub.docker.com"])
def test_the_other_names_of_docker_hub_mean_its_registry(alias: str) -> None:
    assert parse_upstream(alias) == UpstreamAddress("https", "registry-1.docker.io", 443)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b",
        "ftp://a",
        "a/b",
        "https://a/b",
        "a:0",
        "a:99999",
        "a:x",
        "http://",
        "https://a?x",
        "-a",
        "a@b",
        "[::1",
        "a:",
        "a?",
        "a#",
        "quay\n.io",
        "qu\tay.io",
        "*.quay.io",
        f"{'a' * 64}.io",
        ".".join(["a" * 63] * 4),
    ],
)
def test_anything_else_is_no_upstream(text: str) -> None:
    with pytest.raises(ValueError, match="host"):
        parse_upstream(text)


def test_private_places_are_hosts_or_networks() -> None:
    assert check_allow_private(["CDN.Corp.", "*.corp", "10.0.0.0/8", "fd00::/8", "10.1.2.3"]) == (
        "cdn.corp",
        "*.corp",
        "10.0.0.0/8",
        "fd00::/8",
        "10.1.2.3",
    )
    for wrong in ("10.0.0.1/8", "a b", "", "a/b"):
        with pytest.raises(ValueError, match="neither a host name nor a network"):
            check_allow_private([wrong])
