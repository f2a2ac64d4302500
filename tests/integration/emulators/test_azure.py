from collections.abc import AsyncIterator

import pytest

from tests.emulators import Azure, Content, run
from tests.emulators.azure import NO_USER
from tests.emulators.content import artifact
from tests.emulators.tokens import Account
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock

TOKEN = "https://myreg.azurecr.io/oauth2/token"
SCOPED = f"{TOKEN}?service=myreg.azurecr.io&scope=repository:samples/app:pull"


@pytest.fixture
async def azure(clock: FakeClock) -> AsyncIterator[Azure]:
    async with run(Azure(Content(), clock)) as running:
        yield running


@pytest.fixture
async def plain(azure: Azure) -> AsyncIterator[PlainClient]:
    async with PlainClient(azure) as client:
        yield client


async def test_a_token_is_an_access_token_and_nothing_else(plain: PlainClient, azure: Azure) -> None:
    answered = await plain.ask(SCOPED, account=azure.account)
    assert set(answered.json) == {"access_token"}
    assert answered.json["access_token"].count(".") == 2


async def test_anonymous_gets_none_unless_the_registry_is_open(plain: PlainClient, azure: Azure) -> None:
    refused = await plain.ask(SCOPED)
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert refused.json["errors"][0]["detail"]
    azure.anonymous = True
    token = (await plain.ask(SCOPED)).json["access_token"]
    assert (await plain.ask("/v2/samples/app/tags/list", token=token)).status == 200
    assert (await plain.ask("/v2/team/app/tags/list", token=token)).status == 401


async def test_a_directory_token_is_exchanged_twice(plain: PlainClient, azure: Azure) -> None:
    form = {"grant_type": "access_token", "service": azure.service, "access_token": azure.aad_token.password}
    exchange = "https://myreg.azurecr.io/oauth2/exchange"
    refresh = (await plain.ask(exchange, method="POST", form=form)).json["refresh_token"]
    assert (await plain.ask(exchange, method="POST", form=form | {"access_token": "x"})).status == 401
    again = {"grant_type": "refresh_token", "service": azure.service, "refresh_token": refresh}
    scope = {"scope": "repository:team/app:pull"}
    token = (await plain.ask(TOKEN, method="POST", form=again | scope)).json["access_token"]
    assert (await plain.ask("/v2/team/app/tags/list", token=token)).status == 200
    assert (await plain.ask(SCOPED, account=Account(NO_USER, refresh))).status == 200
    assert (await plain.ask(SCOPED, account=Account(NO_USER, "x"))).status == 401


async def test_storage_refuses_a_second_authorization_in_xml(plain: PlainClient, azure: Azure) -> None:
    digest = azure.content.public.layer.digest
    for dedicated, host in ((False, "weu0.blob.core.windows.net"), (True, "myreg.westeurope.data.azurecr.io")):
        azure.dedicated_endpoint = dedicated
        link = (await plain.pull(f"blobs/{digest}")).location
        assert link.split("/")[2] == host
        refused = await plain.ask(link, token="leaked")
        assert (refused.status, refused.headers["x-ms-error-code"]) == (400, "InvalidAuthenticationInfo")
        assert b"<Code>InvalidAuthenticationInfo</Code>" in refused.body
        assert (await plain.ask(link, Range="bytes=0-9")).status == 206
        head = await plain.pull(f"blobs/{digest}", method="HEAD")
        assert (await plain.ask(head.location, method="HEAD")).status == 200


async def test_referrers_come_in_pages_of_three(plain: PlainClient, azure: Azure) -> None:
    public = azure.content.public
    for number in range(6):
        public.put(artifact(public, f"note {number}".encode(), "application/vnd.acme.note", public.index))
    path, found = f"/v2/samples/app/referrers/{public.index.digest}", []
    token = await plain.token("samples/app", azure.account)
    while path:
        page = await plain.ask(path, token=token)
        found.append(len(page.json["manifests"]))
        path = page.headers.get("Link", "").partition(">")[0][1:]
    assert found == [3, 3, 1]


async def test_limits_name_their_time(plain: PlainClient, azure: Azure) -> None:
    azure.requests.most, azure.requests.enforced = 0, True
    refused = await plain.ask("/v2/")
    assert (refused.status, refused.headers["Retry-After"], refused.code) == (429, "2", "TOOMANYREQUESTS")


async def test_a_manifest_of_more_than_four_mebibytes_is_refused(plain: PlainClient, azure: Azure) -> None:
    public = azure.content.public
    public.put(public.index.document | {"annotations": {"padding": "x" * (4 << 20)}}, "huge")
    assert (await plain.pull("manifests/huge")).status == 413


async def test_an_absent_repository_is_no_secret_to_the_account(plain: PlainClient, azure: Azure) -> None:
    answered = await plain.pull("manifests/latest", "no/such")
    assert (answered.status, answered.code) == (404, "NAME_UNKNOWN")
    assert azure.needs_account
