import asyncio
import base64
import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from proxy.model.credentials import DockerConfig, SecretSource, UserPassword
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import Remote
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from tests.support.clock import FakeClock
from tests.support.upstream_registry import FakeRegistry, TokenServer, manifest_bytes
from tests.support.upstream_rules import ALICE, LATEST, counted, failure_of, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing, redirecting
from tests.support.virtual_hosts import Handler

REGISTRY, AUTH = "registry.example.com", "auth.example.com"
OPEN, SECRET = remote_of(REGISTRY, "team/open"), remote_of(REGISTRY, "team/secret")


@pytest.fixture
def registry(server: UpstreamServer, tokens: TokenServer) -> FakeRegistry:
    registry = FakeRegistry(server, REGISTRY, tokens)
    for name in ("team/open", "team/secret"):
        registry.put_manifest(name, "latest", manifest_bytes(name))
    return registry


def with_alice(remote: Remote, prefix: str = "up") -> Remote:
    return remote_of(REGISTRY, remote.repository, prefix=prefix, credentials=ALICE)


async def test_an_anonymous_token_is_got_once_and_used_again(
    client: UpstreamClient, registry: FakeRegistry, metrics: Metrics
) -> None:
    for _ in range(3):
        await client.get_manifest(OPEN, LATEST, retry=False)
    assert [visit.authorization is None for visit in registry.server.visits(REGISTRY)] == [True, False, False, False]
    (visit,) = registry.server.visits(AUTH)
    assert visit.target == "/token?service=registry&scope=repository%3Ateam%2Fopen%3Apull"
    assert visit.authorization is None
    assert counted(metrics, "pullthrough_upstream_requests_total", rule="up", kind="token", status="200") == 1


async def test_credentials_go_to_the_token_server_and_never_to_the_registry(
    client: UpstreamClient, registry: FakeRegistry
) -> None:
    await client.get_manifest(with_alice(SECRET), LATEST, retry=False)
    (visit,) = registry.server.visits(AUTH)
    assert visit.authorization == "Basic " + base64.b64encode(b"alice:wonder:land").decode()
    assert "account=alice" in visit.target
    assert all("Basic" not in (visit.authorization or "") for visit in registry.server.visits(REGISTRY))


async def test_many_who_want_one_token_make_one_request(client: UpstreamClient, registry: FakeRegistry) -> None:
    await asyncio.gather(*(client.get_manifest(OPEN, LATEST, retry=False) for _ in range(8)))
    assert len(registry.server.visits(AUTH)) == 1


async def test_rules_on_one_host_never_share_a_token(client: UpstreamClient, registry: FakeRegistry) -> None:
    rich, poor = with_alice(SECRET, prefix="rich"), remote_of(REGISTRY, "team/secret", prefix="poor")
    twin = with_alice(SECRET, prefix="twin")

    async def pull(remote: Remote) -> str:
        try:
            await client.get_manifest(remote, LATEST, retry=False)
        except UpstreamError as error:
            return error.failure
        return "pulled"

    for _ in range(2):
        outcomes = await asyncio.gather(*(pull(remote) for remote in (rich, poor, twin) * 3))
        assert outcomes == ["pulled", UpstreamFailure.DENIED, "pulled"] * 3
    logins = [visit for visit in registry.server.visits(AUTH) if visit.authorization]
    assert len(logins) == 2


async def test_an_expired_token_is_renewed_before_the_registry_sees_it(
    client: UpstreamClient, registry: FakeRegistry, clock: FakeClock
) -> None:
    await client.get_manifest(OPEN, LATEST, retry=False)
    clock.advance(271)
    await client.get_manifest(OPEN, LATEST, retry=False)
    assert len(registry.server.visits(AUTH)) == 2
    assert len(registry.server.visits(REGISTRY)) == 3


@pytest.mark.parametrize(
    ("document", "lifetime"),
    [
        ({}, 30),  # 60 s by default, renewed 30 s early
        ({"expires_in": 0}, 30),
        ({"expires_in": -5}, 30),
        ({"expires_in": "soon"}, 30),
        ({"expires_in": None}, 30),
        ({"expires_in": "300"}, 270),
        ({"expires_in": 300}, 270),
        ({"expires_in": 300.5}, 270),
        ({"expires_in": 5}, 10),
        ({"token": "", "access_token": "other", "expires_in": 100}, 70),
        ({"token": None, "access_token": "other"}, 30),
    ],
)
async def test_the_lifetime_of_a_token_is_what_makes_sense(
    client: UpstreamClient,
    registry: FakeRegistry,
    tokens: TokenServer,
    clock: FakeClock,
    *,
    document: dict[str, object],
    lifetime: float,
) -> None:
    tokens.document = document
    tokens.issued["other"] = (frozenset({"team/open"}), clock.now() + 1000)
    await client.get_manifest(OPEN, LATEST, retry=False)
    clock.advance(lifetime - 1)
    await client.get_manifest(OPEN, LATEST, retry=False)
    assert len(registry.server.visits(AUTH)) == 1
    clock.advance(2)
    await client.get_manifest(OPEN, LATEST, retry=False)
    assert len(registry.server.visits(AUTH)) == 2


async def test_a_readable_jwt_says_when_it_expires(
    client: UpstreamClient, registry: FakeRegistry, tokens: TokenServer, clock: FakeClock
) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": clock.now() + 130}).encode()).rstrip(b"=").decode()
    tokens.document = {"token": f"e30.{claims}.c2ln"}
    tokens.issued[f"e30.{claims}.c2ln"] = (frozenset({"team/open"}), clock.now() + 1000)
    await client.get_manifest(OPEN, LATEST, retry=False)
    clock.advance(99)
    await client.get_manifest(OPEN, LATEST, retry=False)
    assert len(registry.server.visits(AUTH)) == 1
    clock.advance(2)
    await client.get_manifest(OPEN, LATEST, retry=False)
    assert len(registry.server.visits(AUTH)) == 2


@pytest.mark.parametrize(
    "handler",
    [
        answering(200, b"<html>login</html>", content_type="text/html"),
        answering(200, b"{}"),
        answering(200, b'{"token":""}'),
        answering(200, b'{"token":"a b"}'),
        answering(200, b'{"token":"a\\r\\nX: y"}'),
        answering(200, b'{"token":7}'),
        answering(200, b"[]"),
        answering(200, b'{"token":"' + b"a" * (300 << 10) + b'"}'),
        answering(400),
    ],
)
async def test_nonsense_of_a_token_server_is_garbage(
    client: UpstreamClient, registry: FakeRegistry, handler: Handler
) -> None:
    registry.server.script(AUTH, handler)
    assert (await failure_of(client, OPEN)).failure is UpstreamFailure.GARBAGE


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (answering(500), UpstreamFailure.SERVER_ERROR),
        (failing(429, "TOOMANYREQUESTS"), UpstreamFailure.RATE_LIMITED),
        (failing(401, "UNAUTHORIZED"), UpstreamFailure.DENIED),
        (failing(403, "DENIED"), UpstreamFailure.DENIED),
    ],
)
async def test_failures_of_a_token_server_mean_what_they_say(
    client: UpstreamClient, registry: FakeRegistry, handler: Handler, failure: UpstreamFailure
) -> None:
    registry.server.script(AUTH, handler)
    assert (await failure_of(client, OPEN)).failure is failure


async def test_a_denied_repository_names_the_remedy(client: UpstreamClient, registry: FakeRegistry) -> None:
    assert registry.tokens is not None
    error = await failure_of(client, SECRET)
    assert error.failure is UpstreamFailure.DENIED
    assert "rule up has no `credentials`" in error.message


async def test_a_403_of_the_token_server_with_credentials_is_a_denial(
    client: UpstreamClient, registry: FakeRegistry
) -> None:
    registry.server.script(AUTH, failing(403, "DENIED"))
    assert (await failure_of(client, with_alice(SECRET))).failure is UpstreamFailure.DENIED


async def test_a_refused_password_rests_until_it_is_mended(
    client: UpstreamClient, registry: FakeRegistry, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALICE_PASSWORD", "wrong")
    for _ in range(3):
        error = await failure_of(client, with_alice(SECRET))
        assert error.failure is UpstreamFailure.CREDENTIALS_REFUSED
        assert "wrong" not in error.message
    assert len(registry.server.visits(AUTH)) == 1
    clock.advance(61)
    await failure_of(client, with_alice(SECRET))
    assert len(registry.server.visits(AUTH)) == 2
    monkeypatch.setenv("ALICE_PASSWORD", "wonder:land")
    await client.get_manifest(with_alice(SECRET), LATEST, retry=False)


async def test_a_token_that_is_refused_is_replaced_by_a_challenge_without_authorization(
    client: UpstreamClient, registry: FakeRegistry, tokens: TokenServer
) -> None:
    await client.get_manifest(OPEN, LATEST, retry=False)
    tokens.issued.clear()  # the registry restarted, or its keys were changed
    tokens.issued["spent"] = (frozenset(), 0.0)
    await client.get_manifest(OPEN, LATEST, retry=False)
    authorizations = [visit.authorization for visit in registry.server.visits(REGISTRY)]
    assert [text is None for text in authorizations] == [True, False, False, True, False]
    assert authorizations[-1] != authorizations[-3]


async def test_a_repository_that_was_opened_is_seen_with_a_new_token(
    client: UpstreamClient, registry: FakeRegistry, tokens: TokenServer
) -> None:
    assert (await failure_of(client, SECRET)).failure is UpstreamFailure.DENIED
    assert len(registry.server.visits(REGISTRY)) == 2
    tokens.public.add("team/secret")
    await client.get_manifest(SECRET, LATEST, retry=False)


async def test_a_registry_that_refuses_every_token_is_asked_three_times_at_most(
    client: UpstreamClient, registry: FakeRegistry, tokens: TokenServer
) -> None:
    await client.get_manifest(OPEN, LATEST, retry=False)
    refusal = failing(
        401, "UNAUTHORIZED", headers={"WWW-Authenticate": f'Bearer realm="{tokens.realm}",service="registry"'}
    )
    registry.server.script(REGISTRY, refusal)
    before = len(registry.server.visits(REGISTRY))
    assert (await failure_of(client, OPEN)).failure is UpstreamFailure.DENIED
    assert len(registry.server.visits(REGISTRY)) - before == 3


async def test_a_401_that_cannot_be_answered_is_a_denial(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, failing(401, "UNAUTHORIZED"))
    assert (await failure_of(client, OPEN)).failure is UpstreamFailure.DENIED


async def test_scopes_and_queries_of_a_realm_are_kept(client: UpstreamClient, registry: FakeRegistry) -> None:
    realm = f"https://{AUTH}/token?a=%2F%2b&scope=mine"
    challenge = f'Bearer realm="{realm}",service="registry",scope="repository:x:pull repository:y:pull"'
    registry.server.script(REGISTRY, failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge}), times=1)
    plain = f'bearer realm="https://{AUTH}/token",service=registry,scope="repository:team/open:pull repository:y:pull"'
    registry.server.script(REGISTRY, failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": plain}), times=1)
    registry.server.script(AUTH, failing(403, "DENIED"), times=1)
    await failure_of(client, OPEN)
    await client.get_manifest(OPEN, LATEST, retry=False)
    first, second = (visit.target for visit in registry.server.visits(AUTH))
    assert first == "/token?a=%2F%2b&scope=mine&service=registry"
    assert second.endswith("&scope=repository%3Ateam%2Fopen%3Apull&scope=repository%3Ay%3Apull")


class TestBasic:
    @pytest.fixture
    def basic(self, server: UpstreamServer) -> FakeRegistry:
        registry = FakeRegistry(server, REGISTRY, accounts={"alice": "wonder:land"})
        registry.put_manifest("team/secret", "latest", manifest_bytes())
        return registry

    async def test_the_registry_gets_user_and_password(self, client: UpstreamClient, basic: FakeRegistry) -> None:
        for _ in range(2):
            await client.get_manifest(with_alice(SECRET), LATEST, retry=False)
        visits = basic.server.visits(REGISTRY)
        assert [visit.authorization is None for visit in visits] == [True, False, False]

    async def test_a_rule_without_credentials_is_denied(self, client: UpstreamClient, basic: FakeRegistry) -> None:
        assert basic.accounts
        error = await failure_of(client, SECRET)
        assert error.failure is UpstreamFailure.DENIED
        assert "`credentials`" in error.message

    async def test_a_refused_password_is_not_tried_again(
        self, client: UpstreamClient, basic: FakeRegistry, clock: FakeClock
    ) -> None:
        basic.accounts = {"alice": "changed"}
        for _ in range(3):
            assert (await failure_of(client, with_alice(SECRET))).failure is UpstreamFailure.CREDENTIALS_REFUSED
        assert len([visit for visit in basic.server.journal if visit.authorization]) == 1
        clock.advance(61)
        await failure_of(client, with_alice(SECRET))
        assert len([visit for visit in basic.server.journal if visit.authorization]) == 2

    async def test_a_changed_password_file_is_read_again(
        self, client: UpstreamClient, basic: FakeRegistry, tmp_path: Path
    ) -> None:
        path = tmp_path / "password"
        path.write_text("wonder:land\n")
        remote = remote_of(REGISTRY, "team/secret", credentials=UserPassword("alice", SecretSource(file=path)))
        await client.get_manifest(remote, LATEST, retry=False)
        basic.accounts = {"alice": "changed"}
        path.write_text("changed\n")
        await client.get_manifest(remote, LATEST, retry=False)

    async def test_bearer_is_preferred(
        self, client: UpstreamClient, registry: FakeRegistry, tokens: TokenServer
    ) -> None:
        async def both(_: web.BaseRequest) -> web.StreamResponse:
            response = web.Response(status=401)
            response.headers.add("WWW-Authenticate", 'Basic realm="x"')
            response.headers.add("WWW-Authenticate", f'BEARER realm="{tokens.realm}",service="registry"')
            return response

        registry.server.script(REGISTRY, both, times=1)
        await client.get_manifest(with_alice(SECRET), LATEST, retry=False)
        assert len(registry.server.visits(AUTH)) == 1


HOSTILE = [
    "https://evil.test/token",
    "HTTPS://EVIL.TEST/token",
    "//evil.test/token",
    "https://registry.example.com.evil.test/token",
    "https://evilexample.com/token",
    "https://user:secret@auth.example.com/token",
    "https://registry.example.com@evil.test/token",
    "http://auth.example.com/token",
    "http://registry.example.com/token",
    "http://169.254.169.254/latest/meta-data",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/token",
    "https://[::ffff:127.0.0.1]/token",
    "https://127.0.0.1/token",
    "https://127.1/token",
    "https://2130706433/token",
    "https://0x7f000001/token",
    "https://10.0.0.1/token",
    "https://localhost/token",
    "https://evil.test.:443/token",
    "https://b\u00fccher.example.com/token",
]


@pytest.mark.parametrize("realm", HOSTILE)
async def test_a_hostile_realm_gets_no_request_and_no_credentials(
    client: UpstreamClient, server: UpstreamServer, realm: str
) -> None:
    challenge = f'Bearer realm="{realm}",service="registry",scope="repository:team/secret:pull"'
    server.script(REGISTRY, failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge}))
    error = await failure_of(client, with_alice(SECRET))
    assert error.failure is UpstreamFailure.REFUSED_TARGET
    assert "wonder" not in error.message
    assert [(visit.host, visit.authorization) for visit in server.journal] == [(REGISTRY, None)]


@pytest.mark.parametrize("realm", ["", "https://", "ftp://auth.example.com/token", "http://auth.example.com:99999/"])
async def test_a_realm_that_is_no_url_gets_no_request(
    client: UpstreamClient, server: UpstreamServer, realm: str
) -> None:
    server.script(REGISTRY, failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": f'Bearer realm="{realm}"'}))
    assert (await failure_of(client, OPEN)).failure in {UpstreamFailure.GARBAGE, UpstreamFailure.DENIED}
    assert len(server.journal) == 1


async def test_the_refusal_of_a_realm_names_the_key_that_permits_it(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock
) -> None:
    tokens = TokenServer(server, "other.example.org", clock, "registry", {"team/open"})
    registry = FakeRegistry(server, REGISTRY, tokens)
    registry.put_manifest("team/open", "latest", manifest_bytes())
    error = await failure_of(client, OPEN)
    assert "`token_realms`" in error.message
    assert "other.example.org" in error.message
    listed = remote_of(REGISTRY, "team/open", token_realms=("other.example.org",))
    await client.get_manifest(listed, LATEST, retry=False)


async def test_docker_hubs_token_server_is_known(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock
) -> None:
    tokens = TokenServer(server, "auth.docker.io", clock, "registry.docker.io", {"library/nginx"})
    FakeRegistry(server, "registry-1.docker.io", tokens).put_manifest("library/nginx", "latest", manifest_bytes())
    await client.get_manifest(remote_of("registry-1.docker.io", "library/nginx"), LATEST, retry=False)


@pytest.mark.parametrize(
    ("location", "failure"),
    [
        ("https://evil.test/token", UpstreamFailure.REFUSED_TARGET),
        ("http://auth.example.com/token", UpstreamFailure.REFUSED_TARGET),
    ],
)
async def test_a_token_server_cannot_send_credentials_on(
    client: UpstreamClient, registry: FakeRegistry, location: str, failure: UpstreamFailure
) -> None:
    registry.server.script(AUTH, redirecting(location))
    assert (await failure_of(client, with_alice(SECRET))).failure is failure
    assert not registry.server.visits("evil.test")


async def test_an_identity_token_is_exchanged_by_post(
    client: UpstreamClient, registry: FakeRegistry, tokens: TokenServer, clock: FakeClock, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {REGISTRY: {"auth": "", "identitytoken": "refresh-me"}}}))
    tokens.issued["exchanged"] = (frozenset({"team/secret"}), clock.now() + 100)
    registry.server.script(AUTH, answering(200, b'{"access_token":"exchanged"}'), method="POST", times=1)
    remote = remote_of(REGISTRY, "team/secret", credentials=DockerConfig(path))
    await client.get_manifest(remote, LATEST, retry=False)
    (visit,) = registry.server.visits(AUTH)
    assert parse_qs(visit.body.decode()) == {
        "grant_type": ["refresh_token"],
        "service": ["registry"],
        "scope": ["repository:team/secret:pull"],
        "client_id": ["pullthrough"],
        "refresh_token": ["refresh-me"],
    }
    assert "refresh-me" not in visit.target
    clock.advance(1000)
    registry.server.script(AUTH, redirecting("https://registry.example.com/token"), method="POST")
    assert (await failure_of(client, remote)).failure is UpstreamFailure.REFUSED_TARGET
