from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from proxy.config.settings import UpstreamSettings
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule
from proxy.upstream.guards import Guard, load_suffixes
from tests.support.upstream_rules import remote_of


@pytest.fixture
def guard() -> Guard:
    return Guard(UpstreamSettings(), load_suffixes())


def rule_of(upstream: str, *token_realms: str) -> CacheRule:
    return remote_of(upstream, token_realms=token_realms).rule


@pytest.mark.parametrize(
    ("upstream", "realm"),
    [
        ("quay.io", "https://quay.io/v2/auth"),
        ("quay.io", "HTTPS://QUAY.IO/v2/auth"),
        ("quay.io", "https://quay.io./v2/auth"),
        ("quay.io", "/v2/auth"),
        ("quay.io", "https://auth.quay.io:8443/token"),
        ("registry-1.docker.io", "https://auth.docker.io/token"),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("nvcr.io", "https://authn.nvidia.com/token"),
        ("mine.azurecr.io", "https://mine.azurecr.io/oauth2/token"),
        ("http://10.0.0.5:5000", "http://10.0.0.5:5000/token"),
        ("http://registry.corp", "https://registry.corp/token"),
    ],
)
def test_realms_of_the_upstreams_own_site_are_followed(guard: Guard, upstream: str, realm: str) -> None:
    rule = rule_of(upstream)
    assert guard.realm(rule, URL(f"{rule.upstream.origin}/v2/"), realm).path == URL(realm).path


@pytest.mark.parametrize(
    ("upstream", "realm"),
    [
        ("mine.azurecr.io", "https://evil.azurecr.io/oauth2/token"),
        ("mine.azurecr.io", "https://evil.azurecr.io.attacker.com/oauth2/token"),
        ("mine.azurecr.io", "https://azurecr.io/oauth2/token"),
        ("mine.azurecr.io", "https://a.mine.azurecr.io/oauth2/token"),
        ("us-docker.pkg.dev", "https://evil-docker.pkg.dev/v2/token"),
        ("1.dkr.ecr.us-east-1.amazonaws.com", "https://2.dkr.ecr.us-east-1.amazonaws.com/token"),
        ("me.github.io", "https://you.github.io/token"),
        ("registry.co.uk", "https://evil.co.uk/token"),
        ("registry-1.docker.io", "https://auth.docker.io.evil.test/token"),
        ("registry-1.docker.io", "https://auth.docker.com/token"),
        ("http://registry", "http://other/token"),
        ("http://10.0.0.5:5000", "http://10.0.0.6:5000/token"),
        ("http://10.0.0.5:5000", "http://10.0.0.5:22/token"),
        ("http://127.0.0.1:5000", "http://localhost:5000/token"),
    ],
)
def test_realms_of_strangers_are_refused(guard: Guard, upstream: str, realm: str) -> None:
    rule = rule_of(upstream)
    with pytest.raises(UpstreamError) as caught:
        guard.realm(rule, URL(f"{rule.upstream.origin}/v2/"), realm)
    assert caught.value.failure is UpstreamFailure.REFUSED_TARGET


@pytest.mark.parametrize("listed", ["auth.elsewhere.example", "*.elsewhere.example", "Auth.Elsewhere.Example."])
def test_the_operator_can_list_a_realm(guard: Guard, listed: str) -> None:
    source = URL("https://registry.example.com/v2/")
    assert guard.realm(rule_of("registry.example.com", listed), source, "https://auth.elsewhere.example/token")
    with pytest.raises(UpstreamError):
        guard.realm(rule_of("registry.example.com", listed), source, "https://elsewhere.example.evil.test/token")


HOSTS = st.sampled_from(
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "10.0.0.1",
        "0x7f.1",
        "a..b",
        "-",
        "a" * 64,
        "a." * 200,
        "%31",
        "\u2460",
        "::",
        "x:y",
    ]
)


@given(
    scheme=st.sampled_from(["https:", "HTTP:", "", "ftp:", "javascript:", "https"]),
    slashes=st.sampled_from(["//", "/", "", "\\\\", "///"]),
    user=st.sampled_from(["", "u@", "u:p@", "@", "registry.example.com@"]),
    host=HOSTS | st.text(max_size=12),
    port=st.sampled_from(["", ":", ":80", ":99999", ":x"]),
    path=st.text(max_size=12),
)
def test_whatever_an_upstream_writes_is_followed_to_a_public_place_or_refused(
    *, scheme: str, slashes: str, user: str, host: str, port: str, path: str
) -> None:
    guard = Guard(UpstreamSettings(), load_suffixes())
    rule = rule_of("registry.example.com")
    source = URL("https://registry.example.com/v2/")
    text = f"{scheme}{slashes}{user}{host}{port}{path}"
    with suppress(UpstreamError):
        target = guard.redirect(rule, source, text)
        assert target.scheme == "https"
        assert target.host not in {"127.0.0.1", "::1", "10.0.0.1", "0x7f.1"}
        assert target.user is None
        assert target.raw_path_qs.isascii()
        assert not set(target.raw_path_qs) & set(" \r\n\t")
    with suppress(UpstreamError):
        target = guard.realm(rule, source, text)
        assert (target.host or "").rstrip(".").endswith("example.com")
    with suppress(UpstreamError):
        assert guard.link(rule, source, text).origin() == source.origin()


@pytest.mark.parametrize(
    ("upstream", "host"),
    [
        ("mine.azurecr.io", "weu0.blob.core.windows.net"),
        ("mine.azurecr.io", "mine.westeurope.data.azurecr.io"),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com",
        ),
        ("registry.k8s.io", "europe-docker.pkg.dev"),
    ],
)
@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.1", "fd12::5"])
def test_a_kinds_own_storage_may_be_behind_a_private_link(guard: Guard, upstream: str, host: str, address: str) -> None:
    assert guard.policy(rule_of(upstream)).permits(host, ip_address(address))
    assert not guard.policy(rule_of("registry.example.com")).permits(host, ip_address(address))
    assert not guard.policy(rule_of(upstream)).permits(host, ip_address("169.254.169.254"))
    assert not guard.policy(rule_of(upstream)).permits(host, ip_address("127.0.0.1"))
