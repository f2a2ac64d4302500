"""Which requests the audit trail is told of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from aiohttp.test_utils import make_mocked_request
from pytest_aiohttp.plugin import AiohttpClient

from proxy.core.access.authorizer import Wanted
from proxy.core.access.caller import Caller
from proxy.http.application import build_application
from proxy.http.audit import Auditor
from proxy.http.oci.paths import Kind
from proxy.http.trace import OtherKind, Trace
from proxy.model.access import Action
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.name_spans import NameSpan
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.telemetry.audit import AuditEvent, AuditKind
from tests.support.access import Keeper, grant, signed_in
from tests.support.images import Image, build, noise
from tests.unit.http.conftest import Client, Stack


@dataclass
class Trail:
    """The `AuditTrail` that remembers."""

    events: list[AuditEvent] = field(default_factory=list)

    async def record(self, event: AuditEvent) -> None:
        self.events.append(event)

    @property
    def told(self) -> list[tuple[str, str, str | None, str | None, str, int | None]]:
        return [(e.kind.value, e.operation, e.subject, e.reference, e.result, e.status) for e in self.events]


class Nobody:
    """The `Authorizer` that refuses everything, as `code` says."""

    def __init__(self, code: ErrorCode) -> None:
        self.code = code

    async def permits(self, caller: Caller, wanted: Wanted) -> bool:
        del caller, wanted
        return False

    async def require(self, caller: Caller, wanted: Wanted) -> None:
        del caller, wanted
        raise ProxyError(self.code)

    async def visible(
        self, caller: Caller, names: Sequence[RepositoryName], operation: str = ""
    ) -> list[RepositoryName]:
        del caller, names, operation
        return []

    async def spans(self, caller: Caller, operation: str = "") -> tuple[NameSpan, ...]:
        del caller, operation
        return ()


@pytest.fixture
def trail() -> Trail:
    return Trail()


@pytest.fixture
async def audited(stack: Stack, trail: Trail, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_application(replace(stack.services, audit=trail), mirror=None))


async def push(client: Client, image: Image, tag: str) -> None:
    for digest, data in image.blobs.items():
        await client.post(f"/v2/team/app/blobs/uploads/?digest={digest}", data=data)
    headers = {"Content-Type": image.media_type}
    assert (await client.put(f"/v2/team/app/manifests/{tag}", data=image.manifest, headers=headers)).status == 201


async def test_a_push_is_told_blob_by_blob_and_with_its_tag(audited: Client, trail: Trail, image: Image) -> None:
    await push(audited, image, "v1")
    blobs = [("change", "ecr:InitiateLayerUpload", "team/app", None, "done", 201)] * len(image.blobs)
    assert trail.told == [*blobs, ("change", "ecr:PutImage", "team/app", "v1", "done", 201)]
    assert {event.address for event in trail.events} == {"127.0.0.1"}
    assert all(event.request_id for event in trail.events)


async def test_a_chunk_is_no_change_and_its_blob_is(audited: Client, trail: Trail) -> None:
    location = (await audited.post("/v2/team/app/blobs/uploads/")).headers["Location"]
    await audited.patch(location, data=b"content")
    assert trail.told == []
    digest = Digest.of(b"content")
    assert (await audited.put(f"{location}?digest={digest}")).status == 201
    assert [told[1:4] for told in trail.told] == [("ecr:CompleteLayerUpload", "team/app", location.rpartition("/")[2])]


async def test_deletes_are_told(audited: Client, trail: Trail, image: Image) -> None:
    await push(audited, image, "v1")
    trail.events.clear()
    await audited.delete("/v2/team/app/manifests/v1")
    assert trail.told == [("change", "ecr:BatchDeleteImage", "team/app", "v1", "done", 202)]


async def test_reads_and_what_failed_are_not_told(audited: Client, trail: Trail, image: Image) -> None:
    await push(audited, image, "v1")
    trail.events.clear()
    await audited.get("/v2/team/app/manifests/v1")
    await audited.get("/v2/team/app/manifests/absent")
    await audited.put("/v2/team/app/manifests/v2", data=b"no manifest")
    await audited.get("/livez")
    assert trail.told == []


async def test_a_refused_host_is_told(audited: Client, trail: Trail) -> None:
    await audited.get("/v2/", headers={"Host": "evil.example"})
    assert trail.told == [("refusal", "GET unknown", None, None, "MISDIRECTED", 421)]


@pytest.mark.parametrize(
    ("code", "headers", "told"),
    [
        (ErrorCode.DENIED, {}, [("refusal", "ecr:BatchGetImage", "team/app", "v1", "DENIED", 403)]),
        (
            ErrorCode.UNAUTHORIZED,
            {"Authorization": "Basic eDp5"},
            [("refusal", "ecr:BatchGetImage", "team/app", "v1", "UNAUTHORIZED", 401)],
        ),
        (ErrorCode.UNAUTHORIZED, {}, []),
    ],
)
async def test_a_refusal_is_told_and_a_first_challenge_is_not(
    stack: Stack,
    trail: Trail,
    aiohttp_client: AiohttpClient,
    code: ErrorCode,
    headers: dict[str, str],
    told: list[tuple[str, str, str, str, str, int]],
) -> None:
    services = replace(stack.services, audit=trail, authorizer=Nobody(code))
    client = await aiohttp_client(build_application(services, mirror=None))
    await client.get("/v2/team/app/manifests/v1", headers=headers)
    assert trail.told == told
    assert all(event.kind is AuditKind.REFUSAL for event in trail.events)


@pytest.mark.parametrize(
    ("kind", "operation", "told"),
    [
        (Kind.UPLOAD, "ecr:UploadLayerPart", []),
        (Kind.UPLOAD, "ecr:CompleteLayerUpload", ["unknown: the client left"]),
        (Kind.UPLOADS, "ecr:InitiateLayerUpload", ["unknown: the client left"]),
        (Kind.MANIFEST, "ecr:PutImage", ["unknown: the client left"]),
        (OtherKind.ECR, "ecr:UploadLayerPart", []),
    ],
)
async def test_what_may_have_changed_though_the_client_left_is_told(
    trail: Trail, kind: Kind | OtherKind, operation: str, told: list[str]
) -> None:
    trace = Trace("id", 0.0, kind=kind, operation=operation, action=Action.PUSH)
    await Auditor(trail).left(make_mocked_request("PATCH", "/"), trace)
    assert [event.result for event in trail.events] == told


@pytest.fixture
def image() -> Image:
    return build([noise(1, 2000)])


async def test_wrong_credentials_in_a_form_are_a_refusal(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient
) -> None:
    known = Keeper()(stack.services.rules, MemoryMetadataStore(), stack.clock)
    services = replace(stack.services, audit=trail, **known)
    client = await aiohttp_client(build_application(services, mirror=None))
    form = {"grant_type": "password", "username": "ann", "password": "wrong"}
    await client.post("/v2/token", data=form)
    assert [event.result for event in trail.events] == ["UNAUTHORIZED"]


async def test_a_link_that_is_not_good_is_a_refusal(stack: Stack, trail: Trail, aiohttp_client: AiohttpClient) -> None:
    known = Keeper()(stack.services.rules, MemoryMetadataStore(), stack.clock)
    client = await aiohttp_client(build_application(replace(stack.services, audit=trail, **known), mirror=None))
    digest = Digest.of(b"content")
    assert (await client.get(f"/v2/quay/app/blobs/{digest}?ticket=made-up")).status == 403
    assert trail.told == [("refusal", "GET blob", "quay/app", str(digest), "DENIED", 403)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_may_not_be_fetched_is_a_refusal_of_that(
    stack: Stack, trail: Trail, aiohttp_client: AiohttpClient, method: str
) -> None:
    keeper = Keeper((grant("ann", "pull"),))
    known = keeper(stack.services.rules, MemoryMetadataStore(), stack.clock)
    client = await aiohttp_client(build_application(replace(stack.services, audit=trail, **known), mirror=None))
    answer = await client.request(method, "/v2/quay/app/manifests/v1", headers=dict(signed_in("ann")))
    assert answer.status == 403
    assert trail.told == [("refusal", "ecr:BatchImportUpstreamImage", "quay/app", "v1", "DENIED", 403)]
    assert [event.principal for event in trail.events] == ["ann"]
