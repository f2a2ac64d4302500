"""Clients that are known by a certificate, or by a token of an identity provider, at the product as it is run."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from proxy.core.clock import SystemClock
from tests.emulators.identity_provider import AUDIENCE, IdentityProvider, Route
from tests.support.certificates import Authority, put
from tests.support.images import of_blobs
from tests.support.pullthrough import WORKERS
from tests.support.tls_pullthrough import TlsPullthrough

pytestmark = pytest.mark.e2e

IMAGE = of_blobs(b"{}", [b"a layer"])
TYPE = "application/vnd.oci.image.manifest.v1+json"
METRIC = 'pullthrough_identity_keys_fetched_total{outcome="fetched",provider="ci"'


class Place:
    """A registry that asks who its clients are, and all that can tell it."""

    def __init__(self, folder: Path, provider: IdentityProvider) -> None:
        self.provider = provider
        self.authority, self.clients = Authority(folder / "server"), Authority(folder / "clients")
        self.file = folder / "client-ca.pem"
        put(self.file, self.clients.file.read_bytes())
        issuer = {"issuer": provider.issuer, "audience": AUDIENCE, "name": "ci", "principal": "{repository}"}
        grants = [
            {"principals": ["cert:builder"], "actions": ["push", "pull", "metrics"], "repositories": ["**"]},
            {"principals": ["ci:team/app"], "actions": ["pull"], "repositories": ["team/app"]},
        ]
        auth = {"client_ca": str(self.file), "oidc": [issuer], "policies": grants}
        self.proxy = TlsPullthrough(folder / "proxy", {"auth": auth, "log": {"level": "debug"}}, self.authority)

    def client(self, shown: Path | None = None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.authority.trusting(shown))
        return aiohttp.ClientSession(self.proxy.url, connector=connector)

    async def push(self, client: aiohttp.ClientSession) -> list[int]:
        statuses = []
        for digest, content in IMAGE.blobs.items():
            upload = {"digest": digest}
            async with client.post("/v2/team/app/blobs/uploads/", params=upload, data=content) as answer:
                statuses.append(answer.status)
        headers = {"Content-Type": TYPE}
        async with client.put("/v2/team/app/manifests/1", data=IMAGE.manifest, headers=headers) as answer:
            statuses.append(answer.status)
        return statuses


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with IdentityProvider(SystemClock()) as provider:
        place = Place(tmp_path, provider)
        await asyncio.to_thread(place.proxy.start)
        try:
            yield place
        finally:
            await asyncio.to_thread(place.proxy.stop)


async def status(client: aiohttp.ClientSession, path: str, authorization: str | None = None) -> int:
    headers = {"Authorization": authorization} if authorization is not None else None
    async with client.get(path, headers=headers) as answer:
        return answer.status


def both(token: str) -> tuple[str, str]:
    """Return the ways in which a token is sent: as it is, and as the password of its provider's name."""
    return f"Bearer {token}", aiohttp.encode_basic_auth("ci", token)


async def test_a_builder_pushes_by_certificate_and_a_job_pulls_by_token(place: Place, tmp_path: Path) -> None:
    manifest, log = "/v2/team/app/manifests/1", tmp_path / "proxy" / "log"
    async with place.client(place.clients.client("builder")) as builder, place.client() as job:
        assert set(await place.push(builder)) == {201}
        assert place.provider.asked == []

        assert await status(job, manifest) == 401
        good = place.provider.mint(repository="team/app")
        other = place.provider.mint(repository="team/other")
        assert [await status(job, manifest, way) for way in both(good)] == [200, 200]
        assert [await status(job, manifest, way) for way in both(other)] == [403, 403]
        wrong = [
            place.provider.mint(repository="team/app", aud="elsewhere"),
            place.provider.mint({"kid": "unknown"}, repository="team/app"),
            good[:-8] + "AAAAAAAA",
        ]
        for token in wrong:
            assert [await status(job, manifest, way) for way in both(token)] == [401, 401]
        assert place.provider.count(Route.KEYS) == 1
        async with builder.get("/metrics") as answer:
            counted = [line for line in (await answer.text()).splitlines() if line.startswith(METRIC)]
            # Each process that was shown a token has asked, once.
            assert {line.split()[-1] for line in counted} == {"1.0"}

    told = {event["principal"] for event in place.proxy.answered(kind="manifest")}
    assert {"cert:builder", "ci:team/app", "ci:team/other", None} == told
    # S24
    said = log.read_text()
    assert [token for token in (good, other, *wrong) if token in said or token.rpartition(".")[2] in said] == []


async def test_a_connection_ends_with_the_authority_of_its_certificate(place: Place, tmp_path: Path) -> None:
    shown = place.clients.client("builder")
    others = Authority(tmp_path / "others")
    trusting = place.authority.trusting(shown)
    reader, writer = await asyncio.open_connection("127.0.0.1", place.proxy.port, ssl=trusting)
    writer.write(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    put(place.file, others.file.read_bytes())
    # Noticed without a signal.
    assert b"HTTP/" not in await reader.read()
    writer.close()

    def all_noticed() -> bool:
        return len(place.proxy.events("tls.authorities")) == WORKERS

    await asyncio.to_thread(place.proxy.process.wait_until, all_noticed, "every process has noticed")
    async with place.client(others.client("builder")) as builder, place.client(shown) as former:
        assert await status(builder, "/v2/") == 200
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await status(former, "/v2/")
