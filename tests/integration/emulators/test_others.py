from collections.abc import AsyncIterator

import pytest

from tests.emulators import Chainguard, Content, Nvidia, run
from tests.integration.emulators.plain_client import PlainClient, token_url
from tests.support.clock import FakeClock


@pytest.fixture
async def chainguard(samples: Content, clock: FakeClock) -> AsyncIterator[Chainguard]:
    async with run(Chainguard(samples, clock)) as running:
        yield running


@pytest.fixture
async def nvidia(samples: Content, clock: FakeClock) -> AsyncIterator[Nvidia]:
    async with run(Nvidia(samples, clock)) as running:
        yield running


async def test_chainguard_refuses_at_the_token_server_or_at_the_registry(chainguard: Chainguard) -> None:
    url = "https://cgr.dev/token?service=cgr.dev&scope=repository:acme.com/app:pull"
    async with PlainClient(chainguard) as plain:
        refused = await plain.ask(url)
        assert (refused.status, refused.code) == (403, "DENIED")
        chainguard.tokens_refuse = False
        token = (await plain.ask(url)).json["token"]
        assert (await plain.ask("/v2/acme.com/app/tags/list", token=token)).status == 403
        assert (await plain.pull("tags/list", "acme.com/app")).status == 200


async def test_nvidia_names_another_token_server_for_a_token_that_expired(nvidia: Nvidia, clock: FakeClock) -> None:
    path = "/v2/nvidia/cuda/manifests/latest"
    async with PlainClient(nvidia) as plain:
        first = (await plain.ask(path)).challenge
        assert first.realm == "https://nvcr.io/proxy_auth?scope=repository:nvidia/cuda:pull"
        assert (first.service, first.scope) == ("", "")
        token = (await plain.ask(token_url(first))).json["token"]
        assert (await plain.ask(path, token=token)).status == 200
        clock.advance(300)
        second = (await plain.ask(path, token=token)).challenge
        assert (second.realm, second.service) == ("https://authn.nvidia.com/token", "registry")
        assert second.error == "invalid_token"
        assert (await plain.ask(token_url(second))).status == 401
        assert (await plain.ask(token_url(second), account=nvidia.account)).status == 200
        assert (await plain.ask(path)).challenge.realm == first.realm
