"""Rules whose credentials are secrets: what goes to registries, and what becomes of it when a secret changes."""

import pytest

from proxy.core.registry.secrets.ports import SecretFailure
from proxy.model.credentials import SecretCredentials
from proxy.model.errors import UpstreamFailure
from proxy.model.rule import Remote
from proxy.upstream.client import UpstreamClient
from proxy.upstream.credential import Credential
from tests.support.clock import FakeClock
from tests.support.secret_places import ScriptedLogins
from tests.support.upstream_registry import FakeRegistry, TokenServer, manifest_bytes
from tests.support.upstream_rules import LATEST, failure_of, remote_of
from tests.support.upstream_server import UpstreamServer, failing
from tests.unit.upstream.conftest import Opener

REGISTRY, AUTH = "registry.example.com", "auth.example.com"
REMOTE = remote_of(REGISTRY, credentials=SecretCredentials("hub"))
OTHER = remote_of(REGISTRY, prefix="other", credentials=SecretCredentials("other"))


@pytest.fixture
def logins() -> ScriptedLogins:
    return ScriptedLogins({"hub": ("alice", "one"), "other": ("bob", "bobs")})


@pytest.fixture
async def client(connect: Opener, logins: ScriptedLogins) -> UpstreamClient:
    return await connect(secrets=logins)


async def pull(client: UpstreamClient, remote: Remote = REMOTE) -> None:
    await client.get_manifest(remote, LATEST, retry=False)


def basic(username: str, password: str) -> str:
    return Credential(username, password).basic


class TestBasic:
    """A registry that takes user name and password itself."""

    @pytest.fixture
    def registry(self, server: UpstreamServer) -> FakeRegistry:
        registry = FakeRegistry(server, REGISTRY, accounts={"alice": "one", "bob": "bobs"})
        registry.put_manifest("team/app", "latest", manifest_bytes())
        return registry

    async def test_the_account_in_the_secret_goes_to_the_registry(
        self, client: UpstreamClient, registry: FakeRegistry
    ) -> None:
        for _ in range(2):
            await pull(client)
        shown = [visit.authorization for visit in registry.server.visits(REGISTRY)]
        assert shown == [None, basic("alice", "one"), basic("alice", "one")]

    async def test_a_changed_secret_is_shown_with_the_next_request(
        self, client: UpstreamClient, registry: FakeRegistry, logins: ScriptedLogins
    ) -> None:
        await pull(client)
        registry.accounts["alice"] = "two"
        logins.accounts["hub"] = ("alice", "two")
        await pull(client)
        shown = [visit.authorization for visit in registry.server.visits(REGISTRY)]
        assert shown == [None, basic("alice", "one"), None, basic("alice", "two")]

    async def test_two_rules_never_show_each_others_account(
        self, client: UpstreamClient, registry: FakeRegistry
    ) -> None:
        for remote in (REMOTE, OTHER, REMOTE, OTHER):
            await pull(client, remote)
        shown = [visit.authorization for visit in registry.server.visits(REGISTRY) if visit.authorization]
        assert shown == [basic("alice", "one"), basic("bob", "bobs")] * 2

    async def test_a_refused_account_rests_until_the_secret_changes(
        self, client: UpstreamClient, registry: FakeRegistry, logins: ScriptedLogins
    ) -> None:
        logins.accounts["hub"] = ("alice", "wrong")
        for _ in range(3):
            assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.CREDENTIALS_REFUSED
        assert len([visit for visit in registry.server.visits(REGISTRY) if visit.authorization]) == 1
        logins.accounts["hub"] = ("alice", "one")
        await pull(client)


class TestBearer:
    """A registry with a token server."""

    @pytest.fixture
    def registry(self, server: UpstreamServer, clock: FakeClock) -> FakeRegistry:
        tokens = TokenServer(server, AUTH, clock, "registry", accounts={"alice": "one", "bob": "bobs"})
        registry = FakeRegistry(server, REGISTRY, tokens)
        registry.put_manifest("team/app", "latest", manifest_bytes())
        return registry

    def shown(self, registry: FakeRegistry) -> list[str | None]:
        return [visit.authorization for visit in registry.server.visits(AUTH)]

    async def test_a_token_is_used_while_the_secret_is_the_same(
        self, client: UpstreamClient, registry: FakeRegistry
    ) -> None:
        for _ in range(3):
            await pull(client)
        assert self.shown(registry) == [basic("alice", "one")]

    async def test_a_changed_secret_gets_a_token_of_its_own(
        self, client: UpstreamClient, registry: FakeRegistry, logins: ScriptedLogins
    ) -> None:
        await pull(client)
        logins.accounts["hub"] = ("bob", "bobs")
        for _ in range(2):
            await pull(client)
        assert self.shown(registry) == [basic("alice", "one"), basic("bob", "bobs")]

    @pytest.mark.parametrize(
        ("failure", "meaning"),
        [
            *(
                (each, UpstreamFailure.CREDENTIALS_REFUSED)
                for each in SecretFailure
                if each != SecretFailure.UNAVAILABLE
            ),
            (SecretFailure.UNAVAILABLE, UpstreamFailure.UNREACHABLE),
        ],
    )
    @pytest.mark.parametrize("pulled_before", [True, False])
    async def test_a_secret_that_cannot_be_read_is_told_with_its_remedy(
        self,
        client: UpstreamClient,
        registry: FakeRegistry,
        logins: ScriptedLogins,
        *,
        failure: SecretFailure,
        meaning: UpstreamFailure,
        pulled_before: bool,
    ) -> None:
        if pulled_before:
            await pull(client)
        asked = len(self.shown(registry))
        logins.failure = failure
        error = await failure_of(client, REMOTE)
        assert error.failure is meaning
        assert error.message == f"the `credentials` of rule up cannot be used: the secret hub is {failure}"
        assert len(self.shown(registry)) == asked

    async def test_a_program_without_secrets_says_so(self, connect: Opener, registry: FakeRegistry) -> None:
        error = await failure_of(await connect(), REMOTE)
        assert error.failure is UpstreamFailure.CREDENTIALS_REFUSED
        assert "has no access to secrets" in error.message
        assert self.shown(registry) == []

    async def test_trying_a_rule_logs_in_with_the_secret(
        self, client: UpstreamClient, registry: FakeRegistry, logins: ScriptedLogins
    ) -> None:
        challenge = f'Bearer realm="https://{AUTH}/token",service="registry"'
        registry.server.script(REGISTRY, failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge}))
        for password in ("wrong", "one"):
            logins.accounts["hub"] = ("alice", password)
            error = (await client.probe(REMOTE.rule, None)).error
            assert error is not None
            assert error.failure is UpstreamFailure.CREDENTIALS_REFUSED
            assert ("the token server" in error.message or AUTH in error.message) == (password == "wrong")
        assert self.shown(registry) == [basic("alice", "wrong"), basic("alice", "one")]
