import base64
from collections.abc import AsyncIterator

import pytest

from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.model.rule import Remote
from proxy.upstream.client import UpstreamClient
from tests.support.forward_proxy import ForwardProxy, forwarding
from tests.support.upstream_registry import manifest_bytes
from tests.support.upstream_rules import remote_of
from tests.support.upstream_server import UpstreamServer, answering, redirecting
from tests.unit.upstream.conftest import Opener

REGISTRY = "registry.example.com"
LATEST = Tag("latest")


@pytest.fixture
async def proxy(server: UpstreamServer) -> AsyncIterator[ForwardProxy]:
    async with forwarding(server.port) as running:
        yield running


@pytest.fixture
async def client(connect: Opener) -> UpstreamClient:
    return await connect(connect_to={})


def behind(proxy: ForwardProxy, allow_private: tuple[str, ...] = ()) -> Remote:
    return remote_of(REGISTRY, proxy=f"http://user:pass@127.0.0.1:{proxy.port}", allow_private=allow_private)


async def test_the_upstream_is_reached_through_the_proxy_with_its_credentials(
    client: UpstreamClient, server: UpstreamServer, proxy: ForwardProxy
) -> None:
    server.script(REGISTRY, answering(200, manifest_bytes(), content_type=OCI_MANIFEST))
    await client.get_manifest(behind(proxy), LATEST, retry=False)
    head = proxy.heads[0]
    assert head.startswith(f"CONNECT {REGISTRY}:443 ")
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:pass').decode()}" in head
    assert "Proxy-Authorization" not in server.journal[0].headers


async def test_a_redirect_goes_through_the_proxy_by_name(
    client: UpstreamClient, server: UpstreamServer, proxy: ForwardProxy
) -> None:
    server.script(REGISTRY, redirecting("https://storage.example.net/x"))
    server.script("storage.example.net", answering(200, manifest_bytes(), content_type=OCI_MANIFEST))
    await client.get_manifest(behind(proxy), LATEST, retry=False)
    assert proxy.heads[1].startswith("CONNECT storage.example.net:443 ")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "metadata.google.internal",
        "intranet",
        "169.254.169.254",
        "10.0.0.1",
        "127.1",
        "[::1]",
        "a.localhost.",
    ],
)
async def test_private_names_and_addresses_are_refused(
    client: UpstreamClient, server: UpstreamServer, proxy: ForwardProxy, host: str
) -> None:
    server.script(REGISTRY, redirecting(f"https://{host}/x"))
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(behind(proxy), LATEST, retry=False)
    assert caught.value.failure is UpstreamFailure.REFUSED_TARGET
    assert len(proxy.heads) == 1


async def test_a_private_name_can_be_permitted(
    client: UpstreamClient, server: UpstreamServer, proxy: ForwardProxy
) -> None:
    server.script(REGISTRY, redirecting("https://store.internal/x"))
    with pytest.raises(UpstreamError):
        await client.get_manifest(behind(proxy, allow_private=("*.internal",)), LATEST, retry=False)
    assert proxy.heads[1].startswith("CONNECT store.internal:443 ")


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"403 Forbidden", b"502 Bad Gateway"])
async def test_a_proxy_that_refuses_is_named(client: UpstreamClient, proxy: ForwardProxy, status: bytes) -> None:
    proxy.status = status
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(behind(proxy), LATEST, retry=False)
    assert caught.value.failure is UpstreamFailure.UNREACHABLE
    assert "`proxy`" in caught.value.message
    assert "pass" not in caught.value.message


async def test_plain_http_goes_to_the_proxy_as_a_whole_url(client: UpstreamClient, proxy: ForwardProxy) -> None:
    proxy.status = b"407 Proxy Authentication Required"
    remote = remote_of("http://registry.corp", proxy=f"http://user:pass@127.0.0.1:{proxy.port}")
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(remote, LATEST, retry=False)
    assert caught.value.failure is UpstreamFailure.UNREACHABLE
    assert proxy.heads[0].startswith("GET http://registry.corp/v2/team/app/manifests/latest ")


async def test_a_proxy_that_is_down_is_named(client: UpstreamClient, proxy: ForwardProxy) -> None:
    down = remote_of(REGISTRY, proxy="http://127.0.0.1:1")
    with pytest.raises(UpstreamError) as caught:
        await client.get_manifest(down, LATEST, retry=False)
    assert caught.value.failure is UpstreamFailure.UNREACHABLE
    assert "`proxy`" in caught.value.message
    assert proxy.heads == []
