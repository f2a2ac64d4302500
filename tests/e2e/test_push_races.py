"""Many clients push different images to one immutable tag at the same time: one is served, all others are told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import cycle
from pathlib import Path

import aiohttp
import pytest

from tests.support import images
from tests.support.images import Image
from tests.support.pullthrough import Pullthrough
from tests.support.pushes import Answer, BlobPush, Pusher, Way

pytestmark = pytest.mark.e2e

CLIENTS = 200
REPOSITORY = "team/app"
SETTINGS = {"registry": {"tags": [{"prefix": "ROOT", "mutability": "IMMUTABLE"}]}}
REFUSAL = (
    "The image tag '1.0' already exists in the 'team/app' repository "
    "and cannot be overwritten because the tag is immutable."
)


@pytest.fixture(params=[1, 2], ids=["one server", "two servers on one store"])
async def servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Pullthrough]]:
    running = [
        Pullthrough(tmp_path / f"server-{number}", SETTINGS, store=tmp_path / "store")
        for number in range(request.param)
    ]
    for server in running:
        await asyncio.to_thread(server.start)
    yield running
    for server in running:
        await asyncio.to_thread(server.stop)


async def race(servers: Sequence[Pullthrough], pushed: Sequence[Image]) -> list[Answer]:
    """Put each manifest to the tag, all at the same time, the servers taking turns."""
    connections = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connections) as session:

        async def put(server: Pullthrough, image: Image) -> Answer:
            url, headers = f"{server.url}/v2/{REPOSITORY}/manifests/1.0", {"Content-Type": image.media_type}
            async with session.put(url, data=image.manifest, headers=headers) as answer:
                return Answer(answer.status, answer.headers, await answer.read())

        return await asyncio.gather(*map(put, cycle(servers), pushed))


async def test_one_of_200_pushes_gets_the_immutable_tag(servers: list[Pullthrough]) -> None:
    image = images.of_blobs(b"{}", [images.noise(1, 10_000)])
    pushed = images.variants(image, CLIENTS)
    pusher = Pusher(servers[0].port, REPOSITORY)
    for content in image.blobs.values():
        await asyncio.to_thread(pusher.push_blob, BlobPush(content, Way.WHOLE))

    answers = await race(servers, pushed)

    assert Counter(answer.status for answer in answers) == {201: 1, 400: CLIENTS - 1}
    refused = [answer.errors for answer in answers if answer.status == 400]
    assert refused == [[("TAG_INVALID", REFUSAL)]] * (CLIENTS - 1)
    winner = next(image for image, answer in zip(pushed, answers, strict=True) if answer.status == 201)
    for server in servers:
        await asyncio.to_thread(check, Pusher(server.port, REPOSITORY), pushed, winner)


def check(pusher: Pusher, pushed: Sequence[Image], winner: Image) -> None:
    """See one tag with one manifest, and none of the others."""
    stored = pusher.manifest("1.0")
    assert (stored.body, stored.headers["Docker-Content-Digest"]) == (winner.manifest, winner.digest)
    assert pusher.tags() == ["1.0"]
    assert {image.digest for image in pushed if pusher.manifest(image.digest).status == 200} == {winner.digest}
