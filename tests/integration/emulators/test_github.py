from collections.abc import AsyncIterator

import pytest

from proxy.model.media_types import OCI_MANIFEST
from tests.emulators import Content, GitHub, Route, run
from tests.emulators.github import ReferrersAnswer
from tests.emulators.tokens import Account
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock

SCOPED = "https://ghcr.io/token?service=ghcr.io&scope=repository:{}:pull"


@pytest.fixture
async def github(samples: Content, clock: FakeClock) -> AsyncIterator[GitHub]:
    async with run(GitHub(samples, clock)) as running:
        yield running


@pytest.fixture
async def plain(github: GitHub) -> AsyncIterator[PlainClient]:
    async with PlainClient(github) as client:
        yield client


async def test_the_token_server_refuses_private_and_absent(plain: PlainClient, github: GitHub) -> None:
    for name in (github.private_repository, "no/such"):
        answered = await plain.ask(SCOPED.format(name))
        assert (answered.status, answered.code) == (403, "DENIED")
    assert (await plain.ask(SCOPED.format(github.public_repository))).status == 200


async def test_any_user_name_goes_with_an_access_token(plain: PlainClient, github: GitHub) -> None:
    url = SCOPED.format(github.private_repository)
    assert (await plain.ask(url, account=Account("whoever", github.account.password))).status == 200
    assert (await plain.ask(url, account=Account(github.account.username, "wrong"))).status == 401


async def test_a_token_without_scope_is_good_for_nothing(plain: PlainClient, github: GitHub) -> None:
    token = (await plain.ask("https://ghcr.io/token?service=ghcr.io")).json["token"]
    answered = await plain.ask(f"/v2/{github.public_repository}/tags/list", token=token)
    assert answered.status == 401


async def test_a_type_that_is_not_accepted_is_said_to_be_unknown(plain: PlainClient) -> None:
    answered = await plain.pull("manifests/latest", Accept=f"{OCI_MANIFEST}, */*")
    assert (answered.status, answered.code) == (404, "MANIFEST_UNKNOWN")
    message = "OCI index found, but Accept header does not support OCI indexes"
    assert answered.json["errors"][0]["message"] == message


async def test_links_are_shared_access_signatures_for_five_minutes(
    plain: PlainClient, github: GitHub, clock: FakeClock
) -> None:
    digest = github.content.public.layer.digest
    link = (await plain.pull(f"blobs/{digest}")).location
    assert link.startswith(f"https://pkg-containers.githubusercontent.com/ghcr1/blobs/{digest}?se=")
    assert all(spelled in link for spelled in ("%2F", "%2B", "%3D", "%3A"))
    assert (await plain.ask(link, token="leaked")).status == 400
    clock.advance(300)
    assert (await plain.ask(link)).status == 403
    assert (await plain.pull(f"blobs/{digest}", method="HEAD")).status == 200


async def test_referrers_are_missing_or_a_web_page_elsewhere(plain: PlainClient, github: GitHub) -> None:
    path = f"referrers/{github.content.public.index.digest}"
    assert (await plain.pull(path)).status == 404
    github.referrers_answer = ReferrersAnswer.WEB_PAGE
    answered = await plain.pull(path)
    assert answered.status == 303
    assert answered.location == "https://github.com/-/v2/packages/container/package/tool%2Freferrers%2Fsha256"
    assert (await plain.ask(answered.location)).status == 429
    assert github.journal.count(host="github.com") == 1


async def test_the_rate_limit_is_told_in_microseconds(plain: PlainClient, github: GitHub) -> None:
    github.rate.most, github.rate.enforced = 0, True
    answered = await plain.ask("/v2/")
    assert answered.status == 429
    assert answered.json["errors"][0]["message"] == "retry-after: 880.092µs, allowed: 44000/minute"
    assert "Retry-After" not in answered.headers
    assert github.journal.count(Route.PING) == 1
