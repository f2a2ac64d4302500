"""Two rules, two credentials, one private layer: what one may see does not open it to the other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import images
from tests.support.faulty_registry import FaultyRegistry
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

MIB = 1 << 20
LAYER = images.noise(6, 4 * MIB)
IMAGE = images.of_blobs(b"{}", [LAYER])
DIGEST = IMAGE.layers[0]
OWN = f"/v2/alice/secret/blobs/{DIGEST}"
OTHERS = [
    f"/v2/bob/secret/blobs/{DIGEST}",  # the same repository with the other credentials
    f"/v2/bob/public/blobs/{DIGEST}",  # a repository that the other may see, without the layer
    f"/v2/alice/public/blobs/{DIGEST}",  # another repository under the same rule
    f"/v2/anonymous/secret/blobs/{DIGEST}",
    f"/v2/nobody/secret/blobs/{DIGEST}",  # no rule at all
]


@pytest.fixture
async def upstream() -> AsyncIterator[FaultyRegistry]:
    users = {"secret": {"alice": "for alice"}, "public": {"alice": "for alice", "bob": "for bob"}}
    async with FaultyRegistry(users=users) as registry:
        registry.add("secret", "1", IMAGE)
        registry.add("public", "1", images.of_blobs(b"{}", [b"nothing secret"]))
        yield registry


@pytest.fixture
def proxy(upstream: FaultyRegistry, tmp_path: Path) -> Pullthrough:
    def rule(user: str) -> dict[str, object]:
        secret = tmp_path / user
        secret.write_text(f"for {user}")
        credentials = {"username": user, "password": {"file": str(secret)}}
        return {"prefix": user, "upstream": upstream.url, "credentials": credentials, "ns": user == "alice"}

    rules = [rule("alice"), rule("bob"), {"prefix": "anonymous", "upstream": upstream.url}]
    return Pullthrough(tmp_path / "proxy", {"rules": rules})


@pytest.fixture
async def client(proxy: Pullthrough) -> AsyncIterator[aiohttp.ClientSession]:
    await asyncio.to_thread(proxy.start)
    async with aiohttp.ClientSession(proxy.url) as session:
        yield session
    await asyncio.to_thread(proxy.stop)


async def test_a_stored_layer_is_refused_elsewhere(client: aiohttp.ClientSession) -> None:
    async with client.get(OWN) as own:
        assert (own.status, await own.read() == LAYER) == (200, True)

    for path in OTHERS:
        for method in ("GET", "HEAD"):
            await refused(client, method, path)

    async with client.head(OWN) as own:
        assert (own.status, own.headers["Content-Length"]) == (200, str(len(LAYER)))


async def test_a_running_fill_is_not_joined_from_elsewhere(
    client: aiohttp.ClientSession, upstream: FaultyRegistry
) -> None:
    upstream.hold_at[DIGEST] = MIB
    async with client.get(OWN) as own:
        assert own.status == 200
        received = await own.content.readexactly(64 << 10)

        for path in OTHERS:
            for method in ("GET", "HEAD"):
                await refused(client, method, path)

        upstream.release()
        assert received + await own.read() == LAYER
    assert len([asked for asked in upstream.blob_gets(DIGEST) if asked.sent]) == 1


async def refused(client: aiohttp.ClientSession, method: str, path: str) -> None:
    """Assert that the layer is not to be had under this path, and that no upstream's challenge comes through."""
    async with client.request(method, path) as answer:
        assert answer.status in {403, 404}, f"{method} {path}"
        assert "WWW-Authenticate" not in answer.headers
        assert len(await answer.read()) < 1000


async def test_credentials_reach_nobody_but_their_upstream_and_their_rule(
    client: aiohttp.ClientSession, upstream: FaultyRegistry, proxy: Pullthrough
) -> None:
    for path in (OWN, *OTHERS):
        async with client.get(path, headers={"Authorization": "Basic bWFsbG9yeTpndWVzcw=="}) as answer:
            await answer.read()

    assert {asked.user for asked in upstream.journal} <= {"alice", "bob", None}
    log = proxy.process.output()
    assert "for alice" not in log
    assert "for bob" not in log
