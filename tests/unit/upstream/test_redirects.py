from pathlib import Path

import pytest

from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.upstream.client import UpstreamClient
from tests.support.upstream_dns import Lookup
from tests.support.upstream_registry import FakeRegistry, manifest_bytes
from tests.support.upstream_rules import LATEST, failure_of, remote_of
from tests.support.upstream_server import UpstreamServer, answering, redirecting
from tests.unit.upstream.conftest import Opener

REGISTRY, OTHER = "registry.example.com", "other.example.org"
REMOTE = remote_of(REGISTRY)
CONTENT = answering(200, manifest_bytes(), content_type=OCI_MANIFEST)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_without_authorization(
    client: UpstreamClient, server: UpstreamServer, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "secret")
    registry = FakeRegistry(server, REGISTRY, accounts={"alice": "secret"})
    registry.put_manifest("team/app", "v1", manifest_bytes())
    remote = remote_of(REGISTRY, credentials=UserPassword("alice", SecretSource(env="PASSWORD")))
    await client.get_manifest(remote, Tag("v1"), retry=False)
    server.script(REGISTRY, redirecting(f"https://{OTHER}/back", status), containing="latest")
    server.script(OTHER, redirecting(f"https://{REGISTRY}/home"))
    server.script(REGISTRY, CONTENT, containing="home")
    await client.get_manifest(remote, LATEST, retry=False)
    chain = [(visit.host, visit.authorization is not None) for visit in server.journal[-3:]]
    assert chain == [(REGISTRY, True), (OTHER, False), (REGISTRY, False)]


async def test_another_port_of_the_same_host_is_another_origin(
    server: UpstreamServer, connect: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "secret")
    client = await connect()
    accounts = {"alice": "secret"}
    FakeRegistry(server, REGISTRY, accounts=accounts).put_manifest("team/app", "v1", manifest_bytes())
    remote = remote_of(REGISTRY, credentials=UserPassword("alice", SecretSource(env="PASSWORD")))
    await client.get_manifest(remote, Tag("v1"), retry=False)
    server.script(REGISTRY, redirecting(f"https://{REGISTRY}:8443/elsewhere"), containing="latest", times=1)
    server.script(REGISTRY, CONTENT, containing="elsewhere")
    await client.get_manifest(remote, LATEST, retry=False)
    assert server.visits(REGISTRY, containing="latest")[0].authorization is not None
    (elsewhere,) = server.visits(REGISTRY, containing="elsewhere")
    assert elsewhere.authorization is None
    assert elsewhere.headers["Host"] == f"{REGISTRY}:8443"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/relative?sig=a%2Fb%2B%3d~&x=%7e", "/relative?sig=a%2Fb%2B%3d~&x=%7e"),
        (f"https://{REGISTRY}/a%2fb/../c?q=a+b%20c", "/a%2fb/../c?q=a+b%20c"),
        ("?only=query", "/v2/team/app/manifests/latest?only=query"),
        ("/with a space?q=a b#fragment", "/with%20a%20space?q=a%20b"),
    ],
)
async def test_location_is_sent_on_to_the_letter(
    client: UpstreamClient, server: UpstreamServer, location: str, target: str
) -> None:
    server.script(REGISTRY, redirecting(location), times=1)
    server.script(REGISTRY, CONTENT)
    await client.get_manifest(REMOTE, LATEST, retry=False)
    assert server.journal[1].target == target


async def test_five_redirects_are_followed_and_no_more(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, redirecting("/again"), times=5)
    server.script(REGISTRY, CONTENT, times=1)
    await client.get_manifest(REMOTE, LATEST, retry=False)
    server.script(REGISTRY, redirecting("/again"))
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.GARBAGE
    assert len(server.journal) == 6 + 6


PRIVATE = [
    "https://127.0.0.1/x",
    "https://127.0.0.1./x",
    "https://10.1.2.3/x",
    "https://192.168.0.1/x",
    "https://172.16.0.1/x",
    "https://100.64.0.1/x",
    "https://169.254.169.254/latest/meta-data/iam",
    "https://168.63.129.16/x",
    "https://0.0.0.0/x",
    "https://[::1]/x",
    "https://[::]/x",
    "https://[fe80::1]/x",
    "https://[fd00:ec2::254]/x",
    "https://[::ffff:10.0.0.1]/x",
    "https://[64:ff9b::a00:1]/x",
    "https://[2002:a00:1::]/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f.1/x",
    "https://017700000001/x",
]


@pytest.mark.parametrize("location", PRIVATE)
async def test_private_addresses_are_refused(client: UpstreamClient, server: UpstreamServer, location: str) -> None:
    server.script(REGISTRY, redirecting(location))
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.REFUSED_TARGET
    assert len(server.journal) == 1


async def test_a_refusal_names_the_key_and_no_query(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, redirecting("https://10.1.2.3/x?token=secret"))
    message = (await failure_of(client, REMOTE)).message
    assert "`allow_private`" in message
    assert "10.1.2.3" in message
    assert "secret" not in message


@pytest.mark.parametrize("location", [f"http://{REGISTRY}/x", f"http://{OTHER}/x"])
async def test_https_never_becomes_http(client: UpstreamClient, server: UpstreamServer, location: str) -> None:
    server.script(REGISTRY, redirecting(location))
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.REFUSED_TARGET


async def test_a_user_name_in_a_location_is_refused(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, redirecting(f"https://user:secret@{OTHER}/x"))
    error = await failure_of(client, REMOTE)
    assert error.failure is UpstreamFailure.REFUSED_TARGET
    assert "secret" not in error.message


class TestResolvedNames:
    """Names whose addresses are private: what a redirect to them may do."""

    HOST = "storage.corp.example"

    @pytest.fixture
    def lookup(self) -> Lookup:
        return Lookup(["127.0.0.1"])

    @pytest.fixture
    def redirected(self, server: UpstreamServer) -> UpstreamServer:
        server.script(REGISTRY, redirecting(f"https://{self.HOST}:{server.port}/x"))
        return server

    async def test_a_name_with_private_addresses_is_refused(
        self, redirected: UpstreamServer, connect: Opener, lookup: Lookup
    ) -> None:
        error = await failure_of(await connect(lookup), REMOTE)
        assert error.failure is UpstreamFailure.REFUSED_TARGET
        assert f"add '{self.HOST}' to `allow_private`" in error.message
        assert lookup.asked == [self.HOST]
        assert len(redirected.journal) == 1

    @pytest.mark.parametrize("entry", ["storage.corp.example", "*.corp.example", "127.0.0.0/8", "127.0.0.1"])
    async def test_the_operator_can_permit_it(
        self, redirected: UpstreamServer, connect: Opener, lookup: Lookup, entry: str
    ) -> None:
        redirected.hosts += (self.HOST,)
        error = await failure_of(await connect(lookup, allow_private=(entry,)), REMOTE)
        assert error.failure is UpstreamFailure.UNREACHABLE  # connected: its certificate is for other names
        client = await connect(lookup, connect_to={REGISTRY: f"127.0.0.1:{redirected.port}"})
        with pytest.raises(UpstreamError) as caught:
            await client.get_manifest(remote_of(REGISTRY, allow_private=(entry,)), LATEST, retry=False)
        assert caught.value.failure is UpstreamFailure.UNREACHABLE
        assert "certificate" in caught.value.message

    @pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1", "0.0.0.0"])
    async def test_a_permitted_name_still_must_not_mean_metadata(
        self, redirected: UpstreamServer, connect: Opener, lookup: Lookup, address: str
    ) -> None:
        lookup.addresses = [address]
        assert redirected.port
        error = await failure_of(await connect(lookup, allow_private=(self.HOST,)), REMOTE)
        assert error.failure is UpstreamFailure.REFUSED_TARGET

    async def test_a_connection_of_the_operators_own_is_not_lent_to_a_redirect(
        self, server: UpstreamServer, connect: Opener
    ) -> None:
        # One rule's upstream is private and connected; another rule's upstream redirects there.
        lookup = Lookup(["127.0.0.1"])
        server.script("evil.test", redirecting(f"https://{REGISTRY}:{server.port}/x"))
        FakeRegistry(server, REGISTRY).put_manifest("team/app", "latest", manifest_bytes())
        client = await connect(lookup, connect_to={"evil.test": f"127.0.0.1:{server.port}"})
        inner = remote_of(f"{REGISTRY}:{server.port}")
        await client.get_manifest(inner, LATEST, retry=False)
        with pytest.raises(UpstreamError) as caught:
            await client.get_manifest(remote_of("evil.test"), LATEST, retry=False)
        assert caught.value.failure is UpstreamFailure.REFUSED_TARGET
        assert len(server.visits(REGISTRY)) == 1


class TestPlainUpstream:
    """A registry that the operator named by a private address, over http."""

    async def test_it_may_be_private_and_redirect_to_itself(self, tmp_path: Path, connect: Opener) -> None:
        async with UpstreamServer(("127.0.0.1",), tmp_path, tls=False) as plain:
            FakeRegistry(plain, "127.0.0.1").put_manifest("team/app", "latest", manifest_bytes())
            plain.script(
                "127.0.0.1", redirecting(f"http://127.0.0.1:{plain.port}/v2/team/app/manifests/latest"), times=1
            )
            client = await connect()
            remote = remote_of(f"http://127.0.0.1:{plain.port}")
            await client.get_manifest(remote, LATEST, retry=False)
            plain.script("127.0.0.1", redirecting(f"http://127.0.0.1:{plain.port - 1}/x"))
            with pytest.raises(UpstreamError) as caught:
                await client.get_manifest(remote, LATEST, retry=False)
            assert caught.value.failure is UpstreamFailure.REFUSED_TARGET
