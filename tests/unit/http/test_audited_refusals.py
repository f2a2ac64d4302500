"""What is refused is told, also where no request comes of it, or where the answer is a success."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp.plugin import AiohttpClient

from proxy.config.settings import ServerSettings, TlsSettings
from proxy.core.access.attempts import Attempts
from proxy.core.access.identities import Identities
from proxy.core.access.passwords import PasswordService
from proxy.core.access.rates import Rates
from proxy.core.access.user_passwords import UserPasswords
from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.tasks import Tasks
from proxy.http.access.authentication import Authenticator
from proxy.http.access.challenge import Challenges
from proxy.http.application import build_application
from proxy.http.audit import Auditor, may_matter
from proxy.http.oci.paths import Kind
from proxy.http.server import Server
from proxy.http.trace import OtherKind, Trace, Withheld
from proxy.model.access import Action
from proxy.model.digest import Digest
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.telemetry.metrics import Metrics
from tests.support.access import Acquaintances, Keeper, grant, signed_in
from tests.support.certificates import Authority
from tests.unit.http.conftest import Client, Stack
from tests.unit.http.test_audit import Trail

CONTENT = b"content"
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def trail() -> Trail:
    return Trail()


async def guarded(stack: Stack, trail: Trail, aiohttp_client: AiohttpClient, *grants: tuple[str, ...]) -> Client:
    keeper = Keeper(tuple(grant(*each) for each in grants))
    known = keeper(stack.services.rules, MemoryMetadataStore(), stack.clock)
    return await aiohttp_client(build_application(replace(stack.services, audit=trail, **known), mirror=None))


async def test_a_mount_from_what_one_may_not_read_is_a_refusal_and_the_upload_begins(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient
) -> None:
    client = await guarded(stack, trail, aiohttp_client, ("ann", "pull push", "own/**"), ("bob", "pull push"))
    url = f"/v2/secret/app/blobs/uploads/?digest={DIGEST}"
    assert (await client.post(url, data=CONTENT, headers=dict(signed_in("bob")))).status == 201
    trail.events.clear()
    url = f"/v2/own/app/blobs/uploads/?mount={DIGEST}&from=secret/app"
    assert (await client.post(url, headers=dict(signed_in("ann")))).status == 202
    assert trail.told == [("refusal", "ecr:GetDownloadUrlForLayer", "secret/app", str(DIGEST), "DENIED", 202)]
    assert [event.principal for event in trail.events] == ["ann"]


async def test_a_mount_refused_beside_a_blob_that_is_taken_is_two_events(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient
) -> None:
    client = await guarded(stack, trail, aiohttp_client, ("ann", "pull push", "own/**"), ("bob", "pull push"))
    url = f"/v2/secret/app/blobs/uploads/?digest={DIGEST}"
    await client.post(url, data=CONTENT, headers=dict(signed_in("bob")))
    trail.events.clear()
    url = f"/v2/own/app/blobs/uploads/?mount={DIGEST}&from=secret/app&digest={DIGEST}"
    assert (await client.post(url, data=CONTENT, headers=dict(signed_in("ann")))).status == 201
    assert [told[:3] for told in trail.told] == [
        ("refusal", "ecr:GetDownloadUrlForLayer", "secret/app"),
        ("change", "ecr:InitiateLayerUpload", "own/app"),
    ]


async def test_a_mount_of_what_is_nowhere_or_from_anywhere_refuses_nothing(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient
) -> None:
    client = await guarded(stack, trail, aiohttp_client, ("ann", "pull push", "own/**"), ("bob", "pull push"))
    for query in (f"mount={DIGEST}&from=secret/app", f"mount={DIGEST}"):
        await client.post(f"/v2/own/app/blobs/uploads/?{query}", headers=dict(signed_in("ann")))
    assert trail.told == []


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("ann", [("refusal", "pullthrough:ReadMetrics", None, None, "DENIED", 403)]),
        ("", []),
    ],
)
async def test_metrics_are_refused_to_who_is_known_and_may_not(
    stack: Stack,
    trail: Trail,
    aiohttp_client: AiohttpClient,
    user: str,
    told: list[tuple[str, str, None, None, str, int]],
) -> None:
    client = await guarded(stack, trail, aiohttp_client, ("bob", "metrics"))
    await client.get("/metrics", headers=dict(signed_in(user)))
    assert trail.told == told


@pytest.mark.parametrize("value", ["Basic ???", "Bearer a.b", "Negotiate abc", "Basic " + "YTpi" * 400])
@pytest.mark.parametrize("path", ["/v2/", "/metrics", "/v2/token", "/v2/team/app/manifests/v1"])
async def test_credentials_that_are_none_are_a_refusal_that_quotes_nothing(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient, value: str, path: str
) -> None:
    client = await guarded(stack, trail, aiohttp_client, ("ann", "pull"))
    assert (await client.get(path, headers={"Authorization": value})).status == 401
    [event] = trail.events
    assert (event.result, event.principal) == ("UNAUTHORIZED", "")
    assert value.partition(" ")[2] not in repr(event)


async def test_who_is_heard_no_more_is_told_once(stack: Stack, trail: Trail, aiohttp_client: AiohttpClient) -> None:
    async with Tasks() as tasks:
        metrics, known = Metrics(), Acquaintances()
        checked = UserPasswords(known, Attempts(2, stack.clock), tasks, stack.clock, metrics, timedelta(minutes=5))
        identities = Identities(known)
        passwords = PasswordService(identities, RegistryPasswords(b"k" * 32, stack.clock), checked)
        keeper = Keeper((grant("ann", "pull"),))
        services = keeper(stack.services.rules, MemoryMetadataStore(), stack.clock)
        services["authentication"] = Authenticator(
            identities, passwords, keeper.tokens, Challenges(None, basic=False), lifetime=timedelta(minutes=5)
        )
        made = build_application(replace(stack.services, audit=trail, **services), mirror=None)
        client = await aiohttp_client(made)
        for wrong in ("YW5uOjE=", "YW5uOjI=", "YW5uOjM=", "YW5uOjQ=", "YW5uOjU="):
            await client.get("/v2/", headers={"Authorization": f"Basic {wrong}"})
    assert [event.result for event in trail.events] == ["UNAUTHORIZED", "UNAUTHORIZED", "TOOMANYREQUESTS"]


async def test_who_asks_too_often_is_refused_no_access(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient
) -> None:
    rates = Rates(0.001, 1, stack.clock, Metrics())
    client = await aiohttp_client(build_application(replace(stack.services, audit=trail, rates=rates), mirror=None))
    assert [(await client.get("/v2/")).status for _ in range(2)] == [200, 429]
    assert trail.told == []


async def test_a_change_that_ends_in_a_fault_is_told(trail: Trail) -> None:
    auditor, request = Auditor(trail), make_mocked_request("PUT", "/")
    trace = Trace("id", 0.0, kind=Kind.MANIFEST, operation="ecr:PutImage", action=Action.PUSH)
    await auditor.answered(request, trace, 500)
    trace.error = "UNAVAILABLE"
    await auditor.answered(request, trace, 503)
    await auditor.answered(request, trace, 404)
    assert [(event.kind.value, event.result, event.status) for event in trail.events] == [
        ("change", "UNKNOWN", 500),
        ("change", "UNAVAILABLE", 503),
    ]


async def test_what_was_withheld_is_told_though_the_client_left(trail: Trail) -> None:
    trace = Trace("id", 0.0, kind=OtherKind.ECR, operation="ecr:BatchGetImage", action=Action.PULL)
    assert not may_matter(trace)
    trace.withheld = Withheld("ecr:BatchImportUpstreamImage", "quay/app", "v1")
    assert may_matter(trace)
    await Auditor(trail).left(make_mocked_request("POST", "/"), trace)
    told = ("refusal", "ecr:BatchImportUpstreamImage", "quay/app", "v1", "DENIED", None)
    assert trail.told == [told]


async def _shown(stack: Stack, trail: Trail, folder: Path, shown: Path | None, own: Authority) -> None:
    authority = Authority(folder / "server")
    files = authority.issue()
    settings = ServerSettings(port=0, tls=TlsSettings(certificate=files.certificate, key=files.key))
    serving = replace(stack.serving(settings), client_ca=own.file, audit=trail)
    async with Server(serving) as running:
        with suppress(ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            trusting = authority.trusting(shown)
            reader, writer = await asyncio.open_connection(*running.address, ssl=trusting, server_hostname="localhost")
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await reader.read()
            writer.close()


async def test_a_client_certificate_that_is_not_good_is_a_refusal(stack: Stack, trail: Trail, tmp_path: Path) -> None:
    own, others = Authority(tmp_path / "own"), Authority(tmp_path / "others")
    await _shown(stack, trail, tmp_path, others.client("builder"), own)
    [event] = trail.events
    assert (event.operation, event.scheme, event.result) == ("tls:Handshake", "certificate", "CERTIFICATE_REFUSED")
    assert (event.address, event.principal) == ("127.0.0.1", "")
    assert "certificate" in str(event.detail["reason"])


async def test_a_client_certificate_that_is_good_and_none_at_all_are_no_refusal(
    stack: Stack, trail: Trail, tmp_path: Path
) -> None:
    own = Authority(tmp_path / "own")
    for shown in (own.client("builder"), None):
        await _shown(stack, trail, tmp_path, shown, own)
    assert trail.events == []
