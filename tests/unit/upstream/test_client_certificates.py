"""A rule's client certificate: shown to its registry and token server, to nobody else."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import Remote
from proxy.upstream.client import UpstreamClient
from tests.support.upstream_rules import remote_of
from tests.unit.upstream.conftest import Opener

REGISTRY, STORAGE = "registry.example.com", "storage.example.net"
DATA = b"data"
DIGEST = Digest.of(DATA)


@dataclass
class CertifiedRegistry:
    """A registry that asks everybody for a certificate, and answers only whom its authority knows."""

    folder: Path
    port: int = 0
    shown: list[tuple[str, bool]] = field(default_factory=list)

    def prepare(self) -> ssl.SSLContext:
        authority, stranger = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        for name, issuer in (("client.pem", authority), ("stranger.pem", stranger)):
            issuer.issue_cert("client@example.com").private_key_and_cert_chain_pem.write_to_path(self.folder / name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        authority.configure_trust(context)
        authority.issue_cert(REGISTRY, STORAGE).configure_cert(context)
        return context

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        host = request.headers["Host"].partition(":")[0]
        transport = request.transport
        assert transport is not None
        known = bool(transport.get_extra_info("peercert"))
        self.shown.append((host, known))
        if host == REGISTRY:
            if not known:
                return web.Response(status=400, text="No required SSL certificate was sent")
            return web.Response(status=307, headers={"Location": f"https://{STORAGE}/blob"})
        return web.Response(body=DATA)


@pytest.fixture
async def certified(tmp_path: Path) -> AsyncIterator[CertifiedRegistry]:
    registry = CertifiedRegistry(tmp_path / "certified")
    registry.folder.mkdir()
    runner = web.ServerRunner(web.Server(registry.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=registry.prepare()).start()
    registry.port = runner.addresses[0][1]
    yield registry
    await runner.cleanup()


@pytest.fixture
async def client(certified: CertifiedRegistry, connect: Opener) -> UpstreamClient:
    place = f"127.0.0.1:{certified.port}"
    return await connect(connect_to={REGISTRY: place, STORAGE: place}, ca_file=certified.folder / "ca.pem")


async def pull(client: UpstreamClient, remote: Remote) -> bytes:
    async with client.open_blob(remote, DIGEST) as body:
        return b"".join([chunk async for chunk in body.chunks()])


async def failure_of(client: UpstreamClient, remote: Remote) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await client.head_manifest(remote, DIGEST, retry=False)
    return caught.value


async def test_the_registry_sees_it_and_the_storage_does_not(
    client: UpstreamClient, certified: CertifiedRegistry
) -> None:
    assert await pull(client, remote_of(REGISTRY, client_cert=certified.folder / "client.pem")) == DATA
    assert certified.shown == [(REGISTRY, True), (STORAGE, False)]


async def test_rules_on_one_host_do_not_lend_it_to_each_other(
    client: UpstreamClient, certified: CertifiedRegistry
) -> None:
    await pull(client, remote_of(REGISTRY, prefix="rich", client_cert=certified.folder / "client.pem"))
    with pytest.raises(UpstreamError):
        await pull(client, remote_of(REGISTRY, prefix="poor"))
    assert certified.shown[-1] == (REGISTRY, False)


async def test_a_certificate_of_strangers_is_refused_in_the_handshake(
    client: UpstreamClient, certified: CertifiedRegistry
) -> None:
    error = await failure_of(client, remote_of(REGISTRY, client_cert=certified.folder / "stranger.pem"))
    assert error.failure is UpstreamFailure.UNREACHABLE
    assert "not trusted" not in error.message
    assert certified.shown == []


@pytest.mark.parametrize("content", [None, b"no certificate", b"without key"])
async def test_a_file_that_cannot_be_used_is_named(
    client: UpstreamClient, certified: CertifiedRegistry, content: bytes | None
) -> None:
    path = certified.folder / "mine.pem"
    if content is not None:
        path.write_bytes((certified.folder / "ca.pem").read_bytes() if content == b"without key" else content)
    error = await failure_of(client, remote_of(REGISTRY, client_cert=path))
    assert error.failure is UpstreamFailure.UNREACHABLE
    assert "`client_cert`" in error.message
    assert str(path) in error.message
