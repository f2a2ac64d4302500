"""What is particular about a kind of registry, seen from its host."""

import json

import pytest
from aiohttp import web

from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import Remote
from proxy.upstream.client import UpstreamClient
from tests.support.clock import FakeClock
from tests.support.upstream_dns import Lookup
from tests.support.upstream_registry import FakeRegistry, TokenServer, manifest_bytes
from tests.support.upstream_rules import ALICE, LATEST, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing, redirecting
from tests.support.virtual_hosts import Handler
from tests.unit.upstream.conftest import Opener

SUBJECT = Digest.of(b"subject")
GITLAB, K8S, BEHIND, NVIDIA = "registry.gitlab.com", "registry.k8s.io", "us-west1-docker.pkg.dev", "nvcr.io"
BANNED = answering(403, b"Forbidden\n", content_type="text/plain")


async def failure_of(client: UpstreamClient, remote: Remote, *, head: bool = False) -> UpstreamError:
    ask = client.head_manifest if head else client.get_manifest
    with pytest.raises(UpstreamError) as caught:
        await ask(remote, LATEST, retry=True)
    return caught.value


class TestGitLab:
    @pytest.fixture
    def registry(self, server: UpstreamServer, clock: FakeClock) -> FakeRegistry:
        tokens = TokenServer(server, "gitlab.com", clock, "container_registry", {"a/open"}, {"alice": "wonder:land"})
        registry = FakeRegistry(server, GITLAB, tokens)
        for name in ("a/open", "a/secret"):
            registry.put_manifest(name, "latest", manifest_bytes(name))
        return registry

    async def test_a_403_to_a_login_rests_the_credentials(self, client: UpstreamClient, registry: FakeRegistry) -> None:
        registry.server.script("gitlab.com", failing(403, "DENIED", "access forbidden"))
        for _ in range(40):
            error = await failure_of(client, remote_of(GITLAB, "a/secret", credentials=ALICE))
            assert error.failure is UpstreamFailure.CREDENTIALS_REFUSED
        assert len(registry.server.visits("gitlab.com")) == 1

    async def test_a_wrong_password_is_tried_once(
        self, client: UpstreamClient, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALICE_PASSWORD", "wrong")
        for name in ("a/secret", "a/open", "b/other") * 10:
            await failure_of(client, remote_of(GITLAB, name, credentials=ALICE))
        assert len(registry.server.visits("gitlab.com")) == 1

    async def test_credentials_at_rest_do_not_rest_the_anonymous(
        self, client: UpstreamClient, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ALICE_PASSWORD", "wrong")
        assert registry.tokens is not None
        await failure_of(client, remote_of(GITLAB, "a/open", credentials=ALICE))
        await client.get_manifest(remote_of(GITLAB, "a/open"), LATEST, retry=False)

    async def test_a_repository_that_is_not_to_be_seen_rests_nothing(
        self, client: UpstreamClient, registry: FakeRegistry
    ) -> None:
        registry.server.script(GITLAB, failing(403, "DENIED"), containing="/a/unknown/")
        for head in (False, True):
            error = await failure_of(client, remote_of(GITLAB, "a/unknown", credentials=ALICE), head=head)
            assert error.failure is UpstreamFailure.DENIED
        await client.get_manifest(remote_of(GITLAB, "a/secret", credentials=ALICE), LATEST, retry=False)

    @pytest.mark.parametrize("host", [GITLAB, "gitlab.com"])
    @pytest.mark.parametrize("head", [False, True])
    async def test_an_address_that_is_shut_out_waits_an_hour(
        self, client: UpstreamClient, registry: FakeRegistry, *, host: str, head: bool
    ) -> None:
        registry.server.script(host, BANNED)
        error = await failure_of(client, remote_of(GITLAB, "a/open", credentials=ALICE), head=head)
        assert (error.failure, error.retry_after) == (UpstreamFailure.RATE_LIMITED, 3600)
        assert "shut out" in error.message
        assert len(registry.server.visits(host)) == 1


async def test_a_403_in_plain_text_is_a_denial_elsewhere(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script("quay.io", BANNED)
    assert (await failure_of(client, remote_of("quay.io"))).failure is UpstreamFailure.DENIED


class TestReferrers:
    async def test_kubernetes_leads_to_the_registry_that_has_them(
        self, client: UpstreamClient, server: UpstreamServer
    ) -> None:
        found = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": str(SUBJECT), "size": 7}
        index = json.dumps({"schemaVersion": 2, "manifests": [found]}).encode()
        server.script(K8S, redirecting(f"https://{BEHIND}/v2/k8s-artifacts-prod/images/pause/referrers/{SUBJECT}"))
        server.script(BEHIND, answering(200, index, content_type="application/vnd.oci.image.index.v1+json"))
        (descriptor,) = await client.list_referrers(remote_of(K8S, "pause"), SUBJECT)
        assert descriptor.digest == SUBJECT
        assert server.visits(BEHIND)[0].authorization is None

    @pytest.mark.parametrize("host", ["ghcr.io", "quay.io"])
    async def test_nobody_else_leads_to_another_host(
        self, client: UpstreamClient, server: UpstreamServer, host: str
    ) -> None:
        server.script(host, redirecting("https://github.com/-/v2/packages/container/package/a%2Freferrers", 303))
        with pytest.raises(UpstreamError) as caught:
            await client.list_referrers(remote_of(host), SUBJECT)
        assert caught.value.failure is UpstreamFailure.UNSUPPORTED
        assert not server.visits("github.com")

    @pytest.mark.parametrize(
        ("host", "handler", "failure"),
        [
            ("registry-1.docker.io", failing(403, "DENIED"), UpstreamFailure.UNSUPPORTED),
            ("ghcr.io", failing(400, "UNSUPPORTED"), UpstreamFailure.UNSUPPORTED),
            (GITLAB, answering(404, b"404 page not found", content_type="text/plain"), UpstreamFailure.UNSUPPORTED),
            (GITLAB, answering(502), UpstreamFailure.SERVER_ERROR),
            ("quay.io", failing(403, "DENIED"), UpstreamFailure.DENIED),
            ("quay.io", failing(400, "MANIFEST_INVALID"), UpstreamFailure.UNSUPPORTED),
            ("quay.io", failing(400, "NAME_INVALID"), UpstreamFailure.GARBAGE),
        ],
    )
    async def test_a_refusal_means_no_api_where_there_is_none(
        self,
        client: UpstreamClient,
        server: UpstreamServer,
        *,
        host: str,
        handler: Handler,
        failure: UpstreamFailure,
    ) -> None:
        server.script(host, handler)
        with pytest.raises(UpstreamError) as caught:
            await client.list_referrers(remote_of(host), SUBJECT)
        assert caught.value.failure is failure


@pytest.mark.parametrize(("host", "size"), [("quay.io", 100), ("registry.example.com", 1000)])
async def test_pages_of_tags_are_as_long_as_the_registry_permits(
    client: UpstreamClient, server: UpstreamServer, host: str, size: int
) -> None:
    server.script(host, answering(200, b'{"tags":[]}', content_type="application/json"))
    await client.list_tags(remote_of(host))
    assert server.journal[0].target.endswith(f"/tags/list?n={size}")


async def test_nvidias_challenge_to_an_expired_token_is_not_answered(
    client: UpstreamClient, server: UpstreamServer
) -> None:
    # Once a token has expired the challenge names a server that takes no anonymous; asked without Authorization, the
    # registry names its own again.
    registry = FakeRegistry(server, NVIDIA)
    registry.put_manifest("team/app", "latest", manifest_bytes())
    valid: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        header = request.headers.get("Authorization")
        if request.path == "/proxy_auth":
            valid.append(f"Bearer token-{len(server.journal)}")
            token = valid[-1].removeprefix("Bearer ")
            return await answering(200, f'{{"token":"{token}"}}'.encode(), content_type="application/json")(request)
        if header in valid:
            return await registry.answer(request)
        challenge = f'Bearer realm="https://{NVIDIA}/proxy_auth?scope=repository:team/app:pull"'
        if header is not None:
            challenge = 'Bearer realm="https://authn.nvidia.com/token",service="registry",error="invalid_token"'
        return await failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})(request)

    server.handlers[NVIDIA] = answer
    for _ in range(2):
        await client.get_manifest(remote_of(NVIDIA), LATEST, retry=False)
        valid.clear()
    assert len(server.visits(NVIDIA, containing="/proxy_auth")) == 2
    assert not server.visits("authn.nvidia.com")


async def test_a_token_server_that_has_moved_is_asked_for_at_the_registry(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock
) -> None:
    old = TokenServer(server, "auth.example.com", clock, "registry", {"team/app"})
    registry = FakeRegistry(server, "registry.example.com", old)
    registry.put_manifest("team/app", "latest", manifest_bytes())
    await client.get_manifest(remote_of("registry.example.com"), LATEST, retry=False)
    registry.tokens = TokenServer(server, "other.example.org", clock, "registry", {"team/app"})
    server.script("auth.example.com", answering(404, b"gone", content_type="text/html"))
    clock.advance(3600)
    remote = remote_of("registry.example.com", token_realms=("other.example.org",))
    await client.get_manifest(remote, LATEST, retry=False)
    assert len(server.visits("auth.example.com")) == 2
    assert len(server.visits("other.example.org")) == 1


class TestPrivateLinks:
    """A kind's own storage may have a private address; nothing else that an upstream names may."""

    STORAGE = "weu0.blob.core.windows.net"

    async def ask(self, connect: Opener, server: UpstreamServer, location: str, address: str) -> str:
        client = await connect(Lookup([address]), connect_to={"mine.azurecr.io": f"127.0.0.1:{server.port}"})
        server.handlers["mine.azurecr.io"] = redirecting(location)
        with pytest.raises(UpstreamError) as caught:
            await client.head_blob(remote_of("mine.azurecr.io"), SUBJECT)
        return caught.value.failure

    @pytest.mark.parametrize(
        "address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "127.0.0.1", "::1", "0.0.0.0"]
    )
    async def test_never_of_this_machine_or_the_metadata(
        self, connect: Opener, server: UpstreamServer, address: str
    ) -> None:
        failure = await self.ask(connect, server, f"https://{self.STORAGE}/x?sig=y", address)
        assert failure == UpstreamFailure.REFUSED_TARGET

    @pytest.mark.parametrize(
        "host",
        [
            "blob.core.windows.net",
            "a.b.blob.core.windows.net",
            "weu0.blob.core.windows.net.evil.test",
            "evilblob.core.windows.net",
            "production.cloudflare.docker.com",
        ],
    )
    async def test_never_of_other_names(self, connect: Opener, server: UpstreamServer, host: str) -> None:
        failure = await self.ask(connect, server, f"https://{host}/x?sig=y", "10.0.0.5")
        assert failure == UpstreamFailure.REFUSED_TARGET
