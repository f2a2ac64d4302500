from collections.abc import AsyncIterator

import pytest

from tests.emulators import Content, Ecr, EcrPublic, run
from tests.emulators.tokens import Account
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock

REALM = "https://public.ecr.aws/token/?service=public.ecr.aws"
LATEST = "/v2/docker/library/alpine/manifests/latest"


@pytest.fixture
async def public(samples: Content, clock: FakeClock) -> AsyncIterator[EcrPublic]:
    async with run(EcrPublic(samples, clock)) as running:
        yield running


@pytest.fixture
async def to_public(public: EcrPublic) -> AsyncIterator[PlainClient]:
    async with PlainClient(public) as client:
        yield client


@pytest.fixture
async def private(samples: Content, clock: FakeClock) -> AsyncIterator[Ecr]:
    async with run(Ecr(samples, clock)) as running:
        yield running


@pytest.fixture
async def to_private(private: Ecr) -> AsyncIterator[PlainClient]:
    async with PlainClient(private) as client:
        yield client


async def test_any_token_is_good_for_every_repository(to_public: PlainClient) -> None:
    for scope in ("", "&scope=aws", "&scope=repository:other/name:pull"):
        answered = await to_public.ask(REALM + scope)
        assert set(answered.json) == {"token"}
        assert (await to_public.ask(LATEST, token=answered.json["token"])).status == 200


async def test_one_pull_a_second_and_ten_with_an_account(
    to_public: PlainClient, public: EcrPublic, clock: FakeClock
) -> None:
    public.anonymous_pulls.enforced = public.account_pulls.enforced = True
    anonymous = await to_public.token("docker/library/alpine")
    assert (await to_public.ask(LATEST, token=anonymous)).status == 200
    assert (await to_public.ask(LATEST, method="HEAD", token=anonymous)).status == 200
    refused = await to_public.ask(LATEST, token=anonymous)
    assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
    assert refused.json["errors"][0]["message"] == "Rate exceeded"
    proven = await to_public.token("docker/library/alpine", public.account)
    assert [(await to_public.ask(LATEST, token=proven)).status for _ in range(11)] == [200] * 10 + [429]
    clock.advance(1)
    assert (await to_public.ask(LATEST, token=anonymous)).status == 200


async def test_the_data_of_anonymous_callers_is_limited(to_public: PlainClient, public: EcrPublic) -> None:
    layer = public.content.public.layer
    public.data_left = layer.size
    assert (await to_public.pull(f"blobs/{layer.digest}")).status == 307
    refused = await to_public.pull(f"blobs/{layer.digest}")
    assert (refused.status, refused.json["errors"][0]["message"]) == (429, "Data limit exceeded")


async def test_only_links_lead_to_further_pages(to_public: PlainClient, public: EcrPublic) -> None:
    public.page = 5
    first = await to_public.pull("tags/list?n=1000")
    assert first.json["tags"] != sorted(first.json["tags"])
    link = first.headers["Link"].partition(">")[0][1:]
    token = await to_public.token("docker/library/alpine")
    rest = await to_public.ask(link, token=token)
    assert sorted(first.json["tags"] + rest.json["tags"]) == sorted(public.content.public.tags)
    for made_up in ("latest", "MA=="):
        refused = await to_public.pull(f"tags/list?last={made_up}")
        assert (refused.status, refused.code) == (405, "UNSUPPORTED")


async def test_links_are_spelled_as_cloudfront_does(to_public: PlainClient, public: EcrPublic) -> None:
    link = (await to_public.pull(f"blobs/{public.content.public.layer.digest}")).location
    signature = link.partition("&Signature=")[2].partition("&")[0]
    assert {"~", "-", "_"} <= set(signature)
    assert link.endswith("&Key-Pair-Id=K1EXAMPLE")


async def test_unknown_features_are_unsupported(to_public: PlainClient, public: EcrPublic) -> None:
    path = f"referrers/{public.content.public.index.digest}"
    assert (await to_public.pull(path)).status == 404
    public.referrers_status = 405
    assert (await to_public.pull(path)).code == "UNSUPPORTED"
    assert (await to_public.ask("/v2/_catalog")).status == 405


async def test_private_wants_a_password_that_is_good_for_twelve_hours(
    to_private: PlainClient, private: Ecr, clock: FakeClock
) -> None:
    refused = await to_private.ask("/v2/")
    assert (refused.status, refused.body) == (401, b"Not Authorized\n")
    assert refused.headers["WWW-Authenticate"] == (f'Basic realm="https://{private.host}/",service="ecr.amazonaws.com"')
    first = private.account
    assert (await to_private.ask("/v2/", account=first)).status == 200
    assert (await to_private.ask("/v2/", account=Account("robot", first.password))).status == 401
    clock.advance(12 * 3600 - 1)
    second = private.log_in()
    assert (await to_private.ask("/v2/", account=first)).status == 200
    clock.advance(1)
    expired = await to_private.ask("/v2/", account=first)
    assert (expired.status, expired.code) == (403, "DENIED")
    assert (await to_private.ask("/v2/", account=second)).status == 200


async def test_private_lists_tags_as_text_in_opaque_pages(to_private: PlainClient, private: Ecr) -> None:
    tags = private.content.public.tags
    first = await to_private.pull("tags/list?n=4")
    assert first.headers["Content-Type"] == "text/plain; charset=utf-8"
    second = await to_private.ask(first.headers["Link"].partition(">")[0][1:], account=private.account)
    third = await to_private.ask(second.headers["Link"].partition(">")[0][1:], account=private.account)
    assert sorted(first.json["tags"] + second.json["tags"] + third.json["tags"]) == sorted(tags)
    assert "Link" not in third.headers
    for refused in ("n=1001", "last=latest"):
        answered = await to_private.pull(f"tags/list?{refused}")
        assert (answered.status, answered.code) == (405, "UNSUPPORTED")


async def test_private_tells_what_it_does_not_have(to_private: PlainClient, private: Ecr) -> None:
    answered = await to_private.pull("manifests/latest", "no/such")
    assert (answered.status, answered.code) == (404, "NAME_UNKNOWN")
    blob = await to_private.pull(f"blobs/{private.content.public.layer.digest}")
    assert (blob.status, blob.location.split("/")[2]) == (307, private.cdn_hosts[0])
