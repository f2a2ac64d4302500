from collections.abc import AsyncIterator

import pytest

from tests.emulators import Content, DockerHub, run
from tests.emulators.content import SCHEMA1
from tests.integration.emulators.plain_client import FULL_ACCEPT, PlainClient
from tests.support.clock import FakeClock

LATEST = "/v2/library/alpine/manifests/latest"


@pytest.fixture
async def hub(samples: Content, clock: FakeClock) -> AsyncIterator[DockerHub]:
    async with run(DockerHub(samples, clock)) as running:
        yield running


@pytest.fixture
async def plain(hub: DockerHub) -> AsyncIterator[PlainClient]:
    async with PlainClient(hub) as client:
        yield client


async def test_the_challenge_and_the_token(plain: PlainClient) -> None:
    challenge = (await plain.ask(LATEST)).challenge
    assert (challenge.realm, challenge.service) == ("https://auth.docker.io/token", "registry.docker.io")
    assert challenge.scope == "repository:library/alpine:pull"
    answered = await plain.ask(f"{challenge.realm}?service={challenge.service}&scope={challenge.scope}")
    assert set(answered.json) == {"token", "access_token", "expires_in", "issued_at"}
    assert answered.json["expires_in"] == 300


async def test_private_and_absent_are_the_same_to_anonymous(plain: PlainClient) -> None:
    for name in ("acme/app", "no/such", "alpine"):
        token = await plain.token(name)
        answered = await plain.ask(f"/v2/{name}/manifests/latest", token=token, Accept=FULL_ACCEPT)
        assert (answered.status, answered.code, answered.challenge.error) == (
            401,
            "UNAUTHORIZED",
            "insufficient_scope",
        )


async def test_a_get_of_a_manifest_counts_and_a_head_does_not(plain: PlainClient, hub: DockerHub) -> None:
    hub.pulls.most = 2
    token = await plain.token("library/alpine")

    async def left(method: str, known: str = "") -> tuple[int, str]:
        answered = await plain.ask(LATEST, method=method, token=token, Accept=FULL_ACCEPT, If_None_Match=known)
        return answered.status, answered.headers["ratelimit-remaining"]

    assert await left("HEAD") == (200, "2;w=21600")
    assert await left("GET") == (200, "1;w=21600")
    assert await left("GET", f'"{hub.content.public.index.digest}"') == (304, "0;w=21600")
    assert await left("HEAD") == (200, "0;w=21600")
    refused = await plain.ask(LATEST, token=token, Accept=FULL_ACCEPT)
    assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
    assert "Retry-After" not in refused.headers


async def test_the_window_passes_and_paying_accounts_have_none(
    plain: PlainClient, hub: DockerHub, clock: FakeClock
) -> None:
    hub.pulls.most = 0
    hub.unlimited.add("robot")
    token = await plain.token("library/alpine", hub.account)
    paid = await plain.ask(LATEST, token=token, Accept=FULL_ACCEPT)
    assert paid.status == 200
    assert "ratelimit-remaining" not in paid.headers
    hub.pulls.most = 1
    assert (await plain.pull("manifests/latest")).status == 200
    assert (await plain.pull("manifests/latest")).status == 429
    clock.advance(21600)
    assert (await plain.pull("manifests/latest")).status == 200


async def test_abuse_is_answered_in_text_everywhere(plain: PlainClient, hub: DockerHub, clock: FakeClock) -> None:
    hub.abuse.most, hub.abuse.enforced = 1, True
    await plain.ask("/v2/")
    for target in ("/v2/", LATEST, "https://auth.docker.io/token?service=registry.docker.io"):
        answered = await plain.ask(target)
        assert (answered.status, answered.body) == (429, b"Too Many Requests")
    clock.advance(1)
    assert (await plain.ask("/v2/")).status == 401


async def test_without_a_suitable_accept_a_manifest_is_converted(plain: PlainClient, hub: DockerHub) -> None:
    converted = await plain.pull("manifests/latest", Accept="application/json")
    assert converted.headers["Content-Type"] == SCHEMA1
    assert converted.headers["Docker-Content-Digest"] != str(hub.content.public.index.digest)
    assert converted.json["schemaVersion"] == 1


async def test_blobs_lie_at_three_hosts_for_get_and_head(plain: PlainClient, hub: DockerHub) -> None:
    hosts = set()
    for digest in hub.content.public.blobs:
        got, head = await plain.pull(f"blobs/{digest}"), await plain.pull(f"blobs/{digest}", method="HEAD")
        assert (got.status, head.status) == (307, 307)
        assert (await plain.ask(head.location, method="HEAD")).status == 200
        hosts.add(got.location.split("/")[2])
    assert hosts <= set(hub.cdn_hosts)
    assert len(hosts) > 1


async def test_a_link_is_good_for_twenty_minutes(plain: PlainClient, hub: DockerHub, clock: FakeClock) -> None:
    link = (await plain.pull(f"blobs/{hub.content.public.layer.digest}")).location
    clock.advance(20 * 60 - 1)
    assert (await plain.ask(link)).status == 200
    clock.advance(1)
    assert (await plain.ask(link)).status == 403


async def test_there_are_no_referrers_and_tags_are_sorted(plain: PlainClient, hub: DockerHub) -> None:
    referrers = await plain.pull(f"referrers/{hub.content.public.index.digest}")
    assert (referrers.status, referrers.headers["Content-Type"]) == (404, "text/plain; charset=utf-8")
    first = await plain.pull("tags/list?n=2")
    assert first.json["tags"] == sorted(hub.content.public.tags)[:2]
    assert first.headers["Link"] == '</v2/library/alpine/tags/list?last=big&n=2>; rel="next"'


async def test_docker_io_is_a_web_site(plain: PlainClient) -> None:
    answered = await plain.ask("https://docker.io/v2/")
    assert (answered.status, answered.location) == (301, "https://www.docker.com/")


async def test_oauth_takes_passwords(plain: PlainClient, hub: DockerHub) -> None:
    form = {
        "grant_type": "password",
        "service": "registry.docker.io",
        "scope": "repository:acme/app:pull",
        "username": hub.account.username,
        "password": hub.account.password,
    }
    answered = await plain.ask(hub.realm, method="POST", form=form)
    pulled = await plain.ask("/v2/acme/app/tags/list", token=answered.json["access_token"])
    assert pulled.status == 200
    assert (await plain.ask(hub.realm, method="POST", form=form | {"password": "wrong"})).status == 401
