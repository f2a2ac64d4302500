"""Trying an upstream: what it shows about answering, credentials and limits, each told apart."""

import socket
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from proxy.core.probe_ports import Access, Allowance, Probe, Sample
from proxy.model.credentials import UserPassword
from proxy.model.errors import UpstreamFailure
from proxy.model.reference import RepositoryName, Tag
from proxy.upstream.budgets import allowance_of
from proxy.upstream.client import UpstreamClient
from tests.support.clock import FakeClock
from tests.support.upstream_dns import Lookup
from tests.support.upstream_registry import FakeRegistry, TokenServer, basic_user, manifest_bytes
from tests.support.upstream_rules import ALICE, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing, redirecting
from tests.support.virtual_hosts import Handler
from tests.unit.upstream.conftest import Opener

REGISTRY, AUTH = "registry.example.com", "auth.example.com"
OPEN, SECRET = Sample(RepositoryName("team/open"), Tag("latest")), Sample(RepositoryName("team/secret"), Tag("latest"))
LIMITS = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "97;w=21600"}


@pytest.fixture
def registry(server: UpstreamServer, tokens: TokenServer) -> FakeRegistry:
    registry = FakeRegistry(server, REGISTRY, tokens)
    for name in ("team/open", "team/secret"):
        registry.put_manifest(name, "latest", manifest_bytes(name))

    async def ping(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path != "/v2/":
            return await registry.answer(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in tokens.issued:
            return await answering(200, b"{}", content_type="application/json")(request)
        # The scope is one that nobody has, as ghcr.io's.
        challenge = f'Bearer realm="{tokens.realm}",service="registry",scope="repository:user/image:pull"'
        return await failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})(request)

    server.handlers[REGISTRY] = ping
    return registry


async def probe(client: UpstreamClient, sample: Sample | None = None, **changes: Any) -> Probe:  # noqa: ANN401 - any field of a rule
    return await client.probe(remote_of(REGISTRY, **changes).rule, sample)


def asked(server: UpstreamServer) -> list[str]:
    return [f"{visit.method} {visit.host}{visit.target}" for visit in server.journal]


def message(found: Probe) -> str:
    assert found.error is not None
    return found.error.message


async def test_an_open_registry_needs_no_credentials(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, answering(200))
    assert await probe(client) == Probe(0.0, Access.NOT_NEEDED)
    assert await probe(client, credentials=ALICE) == Probe(0.0, Access.NOT_NEEDED)
    assert asked(server) == [f"GET {REGISTRY}/v2/"] * 2


async def test_time_to_the_first_answer_is_measured(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock
) -> None:
    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        clock.advance(0.25)
        return await answering(200)(request)

    server.script(REGISTRY, slow)
    assert (await probe(client)).latency == 0.25


async def test_without_credentials_and_image_no_token_is_asked_for(
    client: UpstreamClient, registry: FakeRegistry
) -> None:
    assert await probe(client) == Probe(0.0, Access.NONE)
    assert asked(registry.server) == [f"GET {REGISTRY}/v2/"]


async def test_credentials_are_proved_as_docker_login_does(client: UpstreamClient, registry: FakeRegistry) -> None:
    assert await probe(client, credentials=ALICE) == Probe(0.0, Access.WORKS)
    assert asked(registry.server) == [
        f"GET {REGISTRY}/v2/",
        f"GET {AUTH}/token?service=registry&account=alice",
        f"GET {REGISTRY}/v2/",
    ]


async def test_credentials_are_proved_anew_each_time(client: UpstreamClient, registry: FakeRegistry) -> None:
    await probe(client, credentials=ALICE)
    await probe(client, credentials=ALICE)
    assert len(registry.server.visits(AUTH)) == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told(client: UpstreamClient, registry: FakeRegistry, status: int) -> None:
    registry.server.script(AUTH, failing(status, "DENIED"))
    found = await probe(client, credentials=ALICE)
    assert (found.latency, found.access, found.sampled) == (0.0, Access.REFUSED, False)
    assert found.error is not None
    assert found.error.failure is UpstreamFailure.CREDENTIALS_REFUSED
    assert "`credentials` of rule up" in found.error.message


async def test_a_refused_password_is_not_sent_again_at_once(client: UpstreamClient, registry: FakeRegistry) -> None:
    registry.server.script(AUTH, failing(401, "UNAUTHORIZED"))
    for _ in range(3):
        assert (await probe(client, credentials=ALICE)).access is Access.REFUSED
    assert len(registry.server.visits(AUTH)) == 1


async def test_a_password_that_is_not_there_is_told(
    client: UpstreamClient, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALICE_PASSWORD")
    found = await probe(client, credentials=ALICE)
    assert found.access is Access.REFUSED
    assert "environment variable ALICE_PASSWORD is empty or not set" in message(found)
    assert registry.server.visits(AUTH) == []
    registry.server.script(REGISTRY, answering(200))
    assert (await probe(client, credentials=ALICE)).access is Access.REFUSED


async def test_a_token_that_its_registry_refuses_is_told(client: UpstreamClient, registry: FakeRegistry) -> None:
    challenge = f'Bearer realm="https://{AUTH}/token",service="registry"'
    registry.server.script(REGISTRY, failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge}))
    found = await probe(client, credentials=ALICE)
    assert found.access is Access.REFUSED
    assert "refuses what its own token server gave" in message(found)


def basic(accounts: dict[str, str]) -> Handler:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if basic_user(request.headers.get("Authorization", ""), accounts) is not None:
            return await answering(200)(request)
        return await failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="r"'})(request)

    return handler


@pytest.mark.parametrize(
    ("password", "credentials", "access", "failure"),
    [
        ("wonder:land", ALICE, Access.WORKS, None),
        ("other", ALICE, Access.REFUSED, UpstreamFailure.CREDENTIALS_REFUSED),
        ("other", None, Access.NONE, UpstreamFailure.DENIED),
    ],
)
async def test_basic_authentication(
    client: UpstreamClient,
    server: UpstreamServer,
    password: str,
    credentials: UserPassword | None,
    access: Access,
    failure: UpstreamFailure | None,
) -> None:
    server.script(REGISTRY, basic({"alice": password}))
    found = await probe(client, credentials=credentials)
    assert found.access is access
    assert (found.error.failure if found.error is not None else None) is failure
    if credentials is None:
        assert message(found).endswith("give rule up `credentials`")


async def test_an_image_is_tried_by_one_head_and_the_limit_is_read_from_it(
    client: UpstreamClient, server: UpstreamServer, registry: FakeRegistry
) -> None:
    async def limited(request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return await registry.answer(request)
        return await answering(200, manifest_bytes(), LIMITS, content_type="application/json")(request)

    server.script(REGISTRY, limited, containing="manifests")
    found = await probe(client, OPEN)
    assert found == Probe(0.0, Access.NONE, sampled=True, allowance=Allowance(100, 97, 21600))
    assert server.visits(REGISTRY, "GET") == server.visits(REGISTRY, containing="/v2/")[:1]
    assert len(server.visits(REGISTRY, "HEAD")) == 2


@pytest.mark.usefixtures("registry")
async def test_an_image_that_the_account_may_not_pull_is_told_apart_from_refused_credentials(
    client: UpstreamClient,
) -> None:
    found = await probe(client, SECRET)
    assert (found.access, found.sampled) == (Access.NONE, True)
    assert "has no `credentials`" in message(found)
    assert (await probe(client, SECRET, credentials=ALICE)).error is None
    missing = await probe(client, Sample(RepositoryName("team/none"), Tag("latest")), credentials=ALICE)
    assert (missing.access, missing.sampled) == (Access.WORKS, True)
    assert missing.error is not None
    assert missing.error.failure is UpstreamFailure.NOT_FOUND


@pytest.mark.parametrize(
    ("handler", "failure", "words"),
    [
        (answering(200, b"<html>", content_type="text/html"), UpstreamFailure.GARBAGE, "a web page"),
        (answering(404, b"not here", content_type="text/plain"), UpstreamFailure.GARBAGE, "answered 404"),
        (failing(404, "NOT_FOUND"), UpstreamFailure.GARBAGE, "answered 404"),
        (answering(405), UpstreamFailure.GARBAGE, "answered 405"),
        (answering(403), UpstreamFailure.DENIED, "a firewall"),
        (answering(503), UpstreamFailure.SERVER_ERROR, "answered 503"),
        (answering(429, headers={"Retry-After": "7"}), UpstreamFailure.RATE_LIMITED, "limits our rate"),
        (redirecting("https://other.example.org/login"), UpstreamFailure.GARBAGE, "to other.example.org"),
        (redirecting("http://10.0.0.1/"), UpstreamFailure.REFUSED_TARGET, "nothing permits that"),
    ],
)
async def test_what_is_no_registry_is_told(
    client: UpstreamClient, server: UpstreamServer, handler: Handler, failure: UpstreamFailure, words: str
) -> None:
    server.script(REGISTRY, handler)
    found = await probe(client, OPEN)
    assert found.error is not None
    assert (found.error.failure, found.access, found.sampled) == (failure, Access.UNTESTED, False)
    assert words in found.error.message
    assert len(server.visits(REGISTRY)) == 1


async def test_a_name_that_does_not_resolve_is_told(connect: Opener) -> None:
    found = await probe(await connect(Lookup([]), connect_to={}))
    assert found.latency is None
    assert message(found) == (
        "the name registry.example.com cannot be resolved; check `upstream` of rule up and the DNS of this machine"
    )


async def test_an_address_where_nothing_listens_is_told(connect: Opener) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        found = await probe(await connect(connect_to={REGISTRY: f"127.0.0.1:{port}"}))
    assert found.latency is None
    assert message(found) == (
        "registry.example.com cannot be reached; check `upstream` of rule up, the network, and the need for a `proxy`"
    )


async def test_an_authority_that_is_not_trusted_is_told(connect: Opener) -> None:
    found = await probe(await connect(ca_file=None))
    assert found.latency is None
    assert "the certificate of registry.example.com is not trusted" in message(found)
    assert "`ca_file`" in message(found)


@pytest.mark.usefixtures("silent_registry")
async def test_a_registry_that_says_nothing_is_told(connect: Opener) -> None:
    found = await probe(await connect(header_timeout=timedelta(milliseconds=50)))
    assert found.error is not None
    assert (found.latency, found.error.failure) == (None, UpstreamFailure.TIMEOUT)


async def test_a_client_that_is_closed_asks_nothing(connect: Opener, server: UpstreamServer) -> None:
    client = await connect()
    await client.__aexit__(None, None, None)
    found = await probe(client)
    assert found.error is not None
    assert found.error.failure is UpstreamFailure.OFFLINE
    assert server.journal == []


@pytest.mark.parametrize(
    ("limit", "remaining", "allowance"),
    [
        ("100;w=21600", "97;w=21600", Allowance(100, 97, 21600)),
        ("100", "0", Allowance(100, 0, None)),
        (" 100 ; w=60", None, Allowance(100, None, 60)),
        ("100;w=21600", "many", Allowance(100, None, 21600)),
        (None, "97", None),
        ("", "", None),
        ("-1", "1", None),
        ("1" * 40, "1", None),
        ("\u0661\u0660", "1", None),
    ],
)
def test_limits_are_read_where_they_make_sense(
    limit: str | None, remaining: str | None, allowance: Allowance | None
) -> None:
    headers = {"ratelimit-limit": limit, "ratelimit-remaining": remaining}
    assert allowance_of({name: value for name, value in headers.items() if value is not None}) == allowance
