import gzip
import json

import pytest

from proxy.core.ports import ManifestHead
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import ACCEPT, DOCKER_MANIFEST, OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient
from tests.support.upstream_registry import FakeRegistry, manifest_bytes
from tests.support.upstream_rules import LATEST, counted, failure_of, remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing, redirecting
from tests.support.virtual_hosts import Handler

REGISTRY = "registry.example.com"
REMOTE = remote_of(REGISTRY)
RAW = manifest_bytes()


@pytest.fixture
def registry(server: UpstreamServer) -> FakeRegistry:
    registry = FakeRegistry(server, REGISTRY)
    registry.put_manifest("team/app", "latest", RAW)
    return registry


async def test_a_manifest_comes_verbatim_with_its_digest(client: UpstreamClient, registry: FakeRegistry) -> None:
    manifest = await client.get_manifest(REMOTE, LATEST, retry=False)
    assert (manifest.raw, manifest.media_type, manifest.digest) == (RAW, OCI_MANIFEST, Digest.of(RAW))
    assert registry.server.visits(REGISTRY)[0].target == "/v2/team/app/manifests/latest"


async def test_the_full_accept_list_and_identity_are_asked_for(client: UpstreamClient, registry: FakeRegistry) -> None:
    await client.get_manifest(REMOTE, LATEST, retry=False)
    await client.head_manifest(REMOTE, LATEST, retry=False)
    for visit in registry.server.journal:
        assert visit.headers["Accept"] == ", ".join(ACCEPT)
        assert visit.headers["Accept-Encoding"] == "identity"
        assert visit.headers["User-Agent"].startswith("pullthrough/")


async def test_exchanges_and_bytes_are_counted(
    client: UpstreamClient, registry: FakeRegistry, metrics: Metrics
) -> None:
    await client.get_manifest(REMOTE, LATEST, retry=False)
    registry.server.script(REGISTRY, answering(503), times=1)
    await failure_of(client, REMOTE)
    labels = {"rule": "up", "kind": "manifest"}
    assert counted(metrics, "pullthrough_upstream_requests_total", status="200", **labels) == 1
    assert counted(metrics, "pullthrough_upstream_requests_total", status="503", **labels) == 1
    assert counted(metrics, "pullthrough_bytes_total", flow="upstream") == len(RAW)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_by_digest_the_bytes_must_match(
    client: UpstreamClient, registry: FakeRegistry, metrics: Metrics, algorithm: str
) -> None:
    digest = Digest.of(RAW, algorithm)
    assert (await client.get_manifest(REMOTE, digest, retry=False)).digest == digest
    lie = answering(200, manifest_bytes("other"), {"Docker-Content-Digest": str(digest)}, content_type=OCI_MANIFEST)
    registry.server.script(REGISTRY, lie)
    assert (await failure_of(client, REMOTE, digest)).failure is UpstreamFailure.GARBAGE
    assert counted(metrics, "pullthrough_verify_failures_total", rule="up") == 1


async def test_parameters_of_the_media_type_are_dropped(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, answering(200, RAW, content_type=f"{OCI_MANIFEST}; charset=utf-8"))
    assert (await client.get_manifest(REMOTE, LATEST, retry=False)).media_type == OCI_MANIFEST


async def test_an_untyped_manifest_says_itself_what_it_is(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, answering(200, RAW, content_type="application/json"))
    assert (await client.get_manifest(REMOTE, LATEST, retry=False)).media_type == OCI_MANIFEST


SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@pytest.mark.parametrize(
    "handler",
    [
        answering(200, b"<html>Sign in to the Wi-Fi</html>", content_type="text/html; charset=utf-8"),
        answering(200, RAW, content_type="text/plain"),
        answering(200, b"", content_type=OCI_MANIFEST),
        answering(200, b"[]", content_type=OCI_MANIFEST),
        answering(200, b"{" * 100_000, content_type=OCI_MANIFEST),
        answering(200, b'{"a":' * 100_000, content_type=OCI_MANIFEST),
        answering(200, b"<html></html>", content_type=OCI_MANIFEST),
        answering(200, b'{"schemaVersion":1}', content_type=SCHEMA1),
        answering(200, b'{"schemaVersion":1}', content_type=DOCKER_MANIFEST),
        answering(200, b'{"schemaVersion":1}', content_type="application/json"),
        answering(200, json.dumps({"schemaVersion": 2, "mediaType": SCHEMA1}).encode()),
        answering(200, b'{"schemaVersion":2}'),
        answering(200, gzip.compress(RAW), {"Content-Encoding": "gzip"}, content_type=OCI_MANIFEST),
        answering(200, b" " * ((8 << 20) + 1), content_type=OCI_MANIFEST),
        answering(206, RAW, content_type=OCI_MANIFEST),
        answering(204),
        answering(304),
        answering(302),
        answering(418),
        redirecting("http://"),
        redirecting("javascript:alert(1)"),
    ],
)
async def test_anything_else_than_a_manifest_is_garbage(
    client: UpstreamClient, server: UpstreamServer, handler: Handler
) -> None:
    server.script(REGISTRY, handler)
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.GARBAGE


async def test_a_manifest_without_length_is_bounded_too(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(
        REGISTRY, answering(200, b" " * ((8 << 20) + 1), {"Transfer-Encoding": "chunked"}, content_type=OCI_MANIFEST)
    )
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.GARBAGE


async def test_a_head_tells_digest_type_and_size(client: UpstreamClient, registry: FakeRegistry) -> None:
    assert registry.repositories
    head = await client.head_manifest(REMOTE, LATEST, retry=False)
    assert head == ManifestHead(Digest.of(RAW), OCI_MANIFEST, len(RAW))


@pytest.mark.parametrize("digest", [{}, {"Docker-Content-Digest": "sha256:../x"}, {"Docker-Content-Digest": "md5:aa"}])
async def test_a_head_without_a_proper_digest_says_none(
    client: UpstreamClient, server: UpstreamServer, digest: dict[str, str]
) -> None:
    server.script(REGISTRY, answering(200, RAW, digest, content_type=OCI_MANIFEST))
    assert await client.head_manifest(REMOTE, LATEST, retry=False) == ManifestHead(None, OCI_MANIFEST, len(RAW))


@pytest.mark.parametrize("status", [405, 501])
async def test_a_registry_without_head_says_nothing(
    client: UpstreamClient, server: UpstreamServer, status: int
) -> None:
    server.script(REGISTRY, answering(status), method="HEAD")
    assert await client.head_manifest(REMOTE, LATEST, retry=False) == ManifestHead(None, "", None)
    assert len(server.journal) == 1


@pytest.mark.parametrize("media_type", ["text/html", SCHEMA1])
async def test_a_head_of_something_else_is_garbage(
    client: UpstreamClient, server: UpstreamServer, media_type: str
) -> None:
    server.script(REGISTRY, answering(200, content_type=media_type))
    with pytest.raises(UpstreamError) as caught:
        await client.head_manifest(REMOTE, LATEST, retry=False)
    assert caught.value.failure is UpstreamFailure.GARBAGE


async def test_a_head_by_digest_must_not_name_another(client: UpstreamClient, server: UpstreamServer) -> None:
    other = {"Docker-Content-Digest": str(Digest.of(b"other"))}
    server.script(REGISTRY, answering(200, RAW, other, content_type=OCI_MANIFEST))
    with pytest.raises(UpstreamError) as caught:
        await client.head_manifest(REMOTE, Digest.of(RAW), retry=False)
    assert caught.value.failure is UpstreamFailure.GARBAGE
    assert (await client.head_manifest(REMOTE, Digest.of(RAW, "sha512"), retry=False)).digest == Digest.of(b"other")


@pytest.mark.parametrize("code", ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "TAG_EXPIRED", "NOT_FOUND"])
async def test_a_registry_that_says_unknown_is_believed(
    client: UpstreamClient, server: UpstreamServer, code: str
) -> None:
    server.script(REGISTRY, failing(404, code))
    error = await failure_of(client, REMOTE)
    assert error.failure is UpstreamFailure.NOT_FOUND
    assert REGISTRY in error.message


@pytest.mark.parametrize(
    "handler",
    [
        answering(404, b"<html>not here</html>", content_type="text/html"),
        answering(404, b"404 page not found", content_type="text/plain"),
        answering(404, b"{}", content_type="application/json"),
        answering(404, b'{"errors":[{"code":"SOMETHING"}]}', content_type="application/json"),
        answering(404, b'{"errors":7}', content_type="application/json"),
        answering(404, b""),
        answering(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}' + b" " * (64 << 10)),
    ],
)
async def test_any_other_404_is_no_proof(client: UpstreamClient, server: UpstreamServer, handler: Handler) -> None:
    server.script(REGISTRY, handler)
    assert (await failure_of(client, REMOTE)).failure is UpstreamFailure.GARBAGE


@pytest.mark.parametrize(
    "handler",
    [
        answering(404, content_type="application/json; charset=utf-8"),  # distribution
        answering(404, headers={"Docker-Distribution-API-Version": "registry/2.0"}, content_type="text/plain"),
        answering(404),
    ],
)
async def test_the_head_of_an_absent_manifest_is_one_request(
    client: UpstreamClient, server: UpstreamServer, handler: Handler
) -> None:
    server.script(REGISTRY, handler, method="HEAD")
    with pytest.raises(UpstreamError) as caught:
        await client.head_manifest(REMOTE, LATEST, retry=True)
    assert caught.value.failure is UpstreamFailure.NOT_FOUND
    assert len(server.journal) == 1


async def test_a_doubtful_404_to_head_is_settled_by_get(client: UpstreamClient, registry: FakeRegistry) -> None:
    registry.server.script(REGISTRY, answering(404, content_type="text/html"), method="HEAD")
    head = await client.head_manifest(REMOTE, LATEST, retry=False)
    assert head == ManifestHead(Digest.of(RAW), OCI_MANIFEST, len(RAW))
    with pytest.raises(UpstreamError) as caught:
        await client.head_manifest(REMOTE, Tag("absent"), retry=False)
    assert caught.value.failure is UpstreamFailure.NOT_FOUND


async def test_a_registry_that_redirects_manifests_is_followed(client: UpstreamClient, server: UpstreamServer) -> None:
    behind = FakeRegistry(server, "other.example.org")
    behind.put_manifest("k8s/team/app", "latest", RAW)
    for name in ("latest", "absent"):
        server.script(
            REGISTRY, redirecting(f"https://other.example.org/v2/k8s/team/app/manifests/{name}"), containing=name
        )
    assert (await client.get_manifest(REMOTE, LATEST, retry=False)).raw == RAW
    assert (await failure_of(client, REMOTE, Tag("absent"))).failure is UpstreamFailure.NOT_FOUND
    with pytest.raises(UpstreamError) as caught:
        await client.head_manifest(REMOTE, Tag("absent"), retry=False)
    assert caught.value.failure is UpstreamFailure.NOT_FOUND


async def test_docker_hubs_limits_are_shown(client: UpstreamClient, server: UpstreamServer, metrics: Metrics) -> None:
    limits = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "97;w=21600"}
    server.script(REGISTRY, answering(200, RAW, limits, content_type=OCI_MANIFEST))
    await client.head_manifest(REMOTE, LATEST, retry=False)
    assert counted(metrics, "pullthrough_ratelimit_limit", rule="up") == 100
    assert counted(metrics, "pullthrough_ratelimit_remaining", rule="up") == 97
