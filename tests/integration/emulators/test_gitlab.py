from collections.abc import AsyncIterator

import pytest

from tests.emulators import Content, GitLab, run
from tests.emulators.tokens import Account
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock

REALM = "https://gitlab.com/jwt/auth?service=container_registry"


@pytest.fixture
async def gitlab(samples: Content, clock: FakeClock) -> AsyncIterator[GitLab]:
    async with run(GitLab(samples, clock)) as running:
        yield running


@pytest.fixture
async def plain(gitlab: GitLab) -> AsyncIterator[PlainClient]:
    async with PlainClient(gitlab) as client:
        yield client


async def test_scopes_that_one_may_not_have_are_dropped_in_silence(plain: PlainClient, gitlab: GitLab) -> None:
    name = gitlab.private_repository
    answered = await plain.ask(f"{REALM}&scope=repository:{name}:pull")
    assert set(answered.json) == {"token"}
    path = f"/v2/{name}/manifests/latest"
    refused = await plain.ask(path, token=answered.json["token"])
    assert (refused.status, refused.code) == (403, "DENIED")
    gitlab.denies_with_401 = True
    refused = await plain.ask(path, token=answered.json["token"])
    assert (refused.status, refused.challenge.error) == (401, "insufficient_scope")


async def test_get_and_head_of_blobs_are_redirected(plain: PlainClient, gitlab: GitLab) -> None:
    digest = gitlab.content.public.layer.digest
    head = await plain.pull(f"blobs/{digest}", method="HEAD")
    assert head.status == 307
    assert (await plain.ask(head.location, method="HEAD")).status == 200
    gitlab.signs_head = False
    head = await plain.pull(f"blobs/{digest}", method="HEAD")
    assert (await plain.ask(head.location, method="HEAD")).status == 403
    assert (await plain.ask(head.location)).status == 200


async def test_thirty_wrong_passwords_are_a_ban_of_an_hour_everywhere(
    plain: PlainClient, gitlab: GitLab, clock: FakeClock
) -> None:
    link = (await plain.pull(f"blobs/{gitlab.content.public.layer.digest}")).location
    for _ in range(30):
        assert (await plain.ask(REALM, account=Account("robot", "wrong"))).status == 401
    for target in (REALM, "/v2/", link):
        answered = await plain.ask(target)
        assert (answered.status, answered.headers["Content-Type"]) == (403, "text/plain; charset=utf-8")
    clock.advance(3599)
    assert (await plain.ask("/v2/")).status == 403
    clock.advance(1)
    assert (await plain.ask("/v2/")).status == 401


async def test_wrong_passwords_are_forgotten_after_three_minutes(plain: PlainClient, clock: FakeClock) -> None:
    for _ in range(4):
        for _ in range(15):
            assert (await plain.ask(REALM, account=Account("robot", "wrong"))).status == 401
        clock.advance(180)


async def test_there_is_no_catalog_and_no_referrers(plain: PlainClient, gitlab: GitLab) -> None:
    assert (await plain.ask("/v2/_catalog")).status == 401
    assert (await plain.pull(f"referrers/{gitlab.content.public.index.digest}")).status == 404
