"""Who sees and who writes what was pushed: S11, S12, S15 and S16, named after the advisories that taught them.

S11: zot CVE-2024-39897, blobs that leak over repositories. S12: distribution CVE-2026-35172, what was deleted comes
back. S15: Harbor issue 23681, a push into a cache. S16: Quay CVE-2026-32589, somebody else's upload.
"""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trustme

from proxy.core.rules import RuleSet
from proxy.core.upload_ports import UploadRecord
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName
from tests.emulators import Content, DockerHub, run
from tests.integration.scenarios.bench import Bench, running
from tests.integration.scenarios.product import Answered, Registry
from tests.integration.security.pusher import CONFIG, LAYER, Pusher, image, numbered
from tests.support.clock import FakeClock

SECRET = b"what only one team may see " * 50
DIGEST = Digest.of(SECRET)
RAW = image()


@pytest.fixture
async def open_hub(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[Bench]:
    """Docker Hub behind a rule that lets clients push."""
    async with run(DockerHub(samples, clock), authority=authority) as emulator, running(emulator, push=True) as bench:
        yield bench


async def test_s11_no_question_makes_a_blob_visible_elsewhere(app: Pusher, other: Pusher, hub: Bench) -> None:
    await app.blob(SECRET)
    cache = Pusher(hub.registry, "docker-hub/library/alpine")
    for method in ("HEAD", "GET", "HEAD", "GET"):
        for elsewhere in (other, cache):
            assert (await elsewhere.ask(f"blobs/{DIGEST}", method=method)).status == 404
    assert (await app.get("blobs", DIGEST)).body == SECRET


async def test_s11_a_head_of_a_cached_blob_imports_nothing(app: Pusher, hub: Bench) -> None:
    digest = hub.public.layer.digest
    assert (await hub.registry.head(hub.path("blobs", digest))).status == 200
    assert not await hub.is_kept(digest)
    assert (await app.get("blobs", digest)).status == 404


async def test_s11_who_pulled_a_blob_through_a_rule_has_it_there_only(app: Pusher, hub: Bench) -> None:
    digest = hub.public.layer.digest
    assert (await hub.blob(digest)).status == 200
    await hub.product.settle()
    assert await hub.is_kept(digest)
    assert (await app.get("blobs", digest)).status == 404
    denied = await Pusher(hub.registry, "docker-hub/library/nginx").get("blobs", digest)
    assert (denied.status, denied.code) == (403, "DENIED")  # Docker Hub has no such repository, and tells it so


SOURCES = ["team/none", "docker-hub/library/alpine", "docker-hub", "docker-hub/secret/app", "registry-1.docker.io", "X"]


@pytest.mark.parametrize("source", SOURCES)
async def test_s11_a_mount_needs_a_source_that_holds_the_blob(
    app: Pusher, other: Pusher, hub: Bench, source: str
) -> None:
    await app.blob(SECRET)
    answered = await other.begin(f"?mount={DIGEST}&from={source}")
    assert answered.status == 202
    assert (await other.get("blobs", DIGEST)).status == 404
    assert hub.emulator.journal.lines == []


async def test_s11_a_mount_needs_a_source_that_may_be_read(hub: Bench, app: Pusher) -> None:
    digest = hub.public.layer.digest
    await hub.blob(digest)
    await hub.product.settle()
    allowed = hub.product.rules.current
    denied = RuleSet([replace(rule, deny=("library/**",)) for rule in allowed.rules])
    hub.product.rules.replace(denied)
    for query in (f"?mount={digest}&from=docker-hub/library/alpine", f"?mount={digest}"):
        assert (await app.begin(query)).status == 202
    assert (await app.get("blobs", digest)).status == 404
    hub.product.rules.replace(allowed)
    assert (await app.begin(f"?mount={digest}&from=docker-hub/library/alpine")).status == 201
    assert (await app.get("blobs", digest)).status == 200


async def test_s11_a_digest_alone_gets_nobody_the_bytes(app: Pusher, other: Pusher) -> None:
    await app.blob(SECRET)
    upload = (await other.begin()).headers["Location"]
    tried = [
        await other.ask(f"blobs/uploads/?digest={DIGEST}", method="POST", content=b""),
        await other.registry.ask(f"{upload}?digest={DIGEST}", method="PUT"),
    ]
    assert [(answered.status, answered.code) for answered in tried] == [(400, "DIGEST_INVALID")] * 2
    assert (await other.get("blobs", DIGEST)).status == 404


async def test_s11_a_manifest_does_not_tell_what_others_hold(app: Pusher, other: Pusher) -> None:
    nowhere = b"bytes that nobody has"
    await app.image(RAW, "latest")
    await other.blob(CONFIG)
    known = await other.manifest(image(layers=[LAYER]), "latest")
    unknown = await other.manifest(image(layers=[nowhere]), "latest")
    assert (known.status, known.code) == (unknown.status, unknown.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert known.message == unknown.message
    assert (await other.get("blobs", Digest.of(LAYER))).status == 404


async def test_s11_manifests_are_seen_in_their_repository_only(app: Pusher, other: Pusher) -> None:
    await app.image(RAW, "latest")
    index = json.dumps(
        {"schemaVersion": 2, "manifests": [{"mediaType": OCI_INDEX, "digest": str(Digest.of(RAW)), "size": len(RAW)}]}
    ).encode()
    for reference in ("latest", Digest.of(RAW)):
        for method in ("HEAD", "GET"):
            assert (await other.ask(f"manifests/{reference}", method=method)).status == 404
    refused = await other.manifest(index, "all", OCI_INDEX)
    assert (refused.status, refused.code) == (404, "MANIFEST_BLOB_UNKNOWN")


async def test_s12_a_deleted_blob_does_not_come_back_by_another_repository(app: Pusher, other: Pusher) -> None:
    for pusher in (app, other):
        await pusher.blob(SECRET)
        assert (await pusher.get("blobs", DIGEST)).status == 200
    assert (await app.delete("blobs", DIGEST)).status == 202
    for _ in range(2):
        assert (await app.get("blobs", DIGEST)).status == 404
        assert (await app.ask(f"blobs/{DIGEST}", method="HEAD")).status == 404
        assert (await other.get("blobs", DIGEST)).status == 200
    # Who may read it elsewhere may mount it: that is a push of its own.
    assert (await app.begin(f"?mount={DIGEST}&from=team/other")).status == 201


async def test_s12_a_deleted_blob_is_no_part_of_new_images(app: Pusher, other: Pusher) -> None:
    for pusher in (app, other):
        await pusher.image(RAW, "latest")
    assert (await app.delete("blobs", Digest.of(LAYER))).status == 202
    refused = await app.manifest(numbered(1), "next")
    assert (refused.status, refused.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert (await other.manifest(numbered(1), "next")).status == 201


async def test_s12_a_blob_that_nobody_holds_any_more_cannot_be_mounted(app: Pusher, other: Pusher) -> None:
    await app.blob(SECRET)
    await app.delete("blobs", DIGEST)
    for query in (f"?mount={DIGEST}&from=team/app", f"?mount={DIGEST}"):
        for pusher in (app, other):
            assert (await pusher.begin(query)).status == 202
            assert (await pusher.get("blobs", DIGEST)).status == 404


async def test_s12_a_deleted_manifest_does_not_come_back_from_memory_or_elsewhere(app: Pusher, other: Pusher) -> None:
    digest, subject = Digest.of(RAW), Digest.of(b"a subject")
    referrer = image(subject={"mediaType": OCI_INDEX, "digest": str(subject), "size": 9})
    for pusher in (app, other):
        await pusher.image(RAW, "latest")
        await pusher.manifest(referrer, "signature")
        assert (await pusher.get("manifests", "latest")).body == RAW
        assert (await pusher.get("manifests", digest)).body == RAW
    for deleted in (digest, Digest.of(referrer)):
        assert (await app.delete("manifests", deleted)).status == 202
    for reference in (digest, "latest", "signature", Digest.of(referrer)):
        for _ in range(2):
            assert (await app.get("manifests", reference)).status == 404
            assert (await app.ask(f"manifests/{reference}", method="HEAD")).status == 404
            assert (await other.get("manifests", reference)).status == 200
    assert (await app.ask("tags/list")).json["tags"] == []
    assert (await app.get("referrers", subject)).json["manifests"] == []
    assert len((await other.get("referrers", subject)).json["manifests"]) == 1


async def test_s12_a_deleted_tag_stays_deleted_though_its_manifest_is_pulled(app: Pusher) -> None:
    await app.image(RAW, "latest")
    assert (await app.delete("manifests", "latest")).status == 202
    assert (await app.get("manifests", Digest.of(RAW))).body == RAW
    assert (await app.get("manifests", "latest")).status == 404


def writes(digest: Digest) -> list[tuple[str, str]]:
    """Return (method, path) of everything that would change a repository."""
    upload = f"blobs/uploads/{uuid.uuid4()}"
    return [
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={digest}"),
        ("POST", f"blobs/uploads/?mount={digest}"),
        ("POST", f"blobs/uploads/?mount={digest}&from=team/app"),
        ("PATCH", upload),
        ("PUT", f"{upload}?digest={digest}"),
        ("DELETE", upload),
        ("PUT", "manifests/latest"),
        ("PUT", f"manifests/{digest}"),
        ("PUT", f"manifests/{digest}?tag=latest"),
        ("DELETE", "manifests/latest"),
        ("DELETE", f"manifests/{digest}"),
        ("DELETE", f"blobs/{digest}"),
    ]


CACHES = [
    "/v2/docker-hub/library/alpine/",
    "/v2/docker-hub/alpine/",
    "/v2/docker-hub/team/app/",
    "/docker-hub/v2/library/alpine/",
    "/docker-hub/v2/team/app/",
    "/none/v2/team/app/",
]


async def refused(registry: Registry, path: str, method: str) -> Answered:
    answered = await registry.ask(path, method=method, content=SECRET)
    assert (answered.status, answered.code) == (405, "UNSUPPORTED"), (method, path, answered)
    assert set(answered.headers["Allow"].split(", ")) <= {"GET", "HEAD", ""}
    return answered


@pytest.mark.parametrize("base", CACHES)
async def test_s15_a_cache_is_never_written_to(hub: Bench, app: Pusher, base: str, subtests: pytest.Subtests) -> None:
    await app.blob(SECRET)
    for method, path in writes(DIGEST):
        with subtests.test(method=method, path=path):
            await refused(hub.registry, base + path, method)
    assert hub.emulator.journal.lines == []
    assert (await hub.manifest("latest")).body == hub.public.index.raw


@pytest.mark.parametrize("ns", ["docker.io", "quay.io", "localhost", "", "x&ns=y"])
@pytest.mark.parametrize("base", ["/v2/library/alpine/", "/v2/team/app/", "/v2/docker-hub/library/alpine/"])
async def test_s15_nothing_is_written_in_a_namespace(hub: Bench, base: str, ns: str, subtests: pytest.Subtests) -> None:
    for method, path in writes(DIGEST):
        with subtests.test(method=method, path=path):
            await refused(hub.registry, f"{base}{path}{'&' if '?' in path else '?'}ns={ns}", method)
    assert hub.emulator.journal.lines == []


async def test_s15_a_mirror_listener_takes_no_writes_though_its_rule_permits_them(
    open_hub: Bench, subtests: pytest.Subtests
) -> None:
    mirror = open_hub.product.mirror("docker-hub")
    for method, path in writes(DIGEST):
        for base in ("/v2/library/alpine/", "/v2/team/app/"):
            with subtests.test(method=method, path=base + path):
                await refused(mirror, base + path, method)
    assert open_hub.emulator.journal.lines == []


async def test_s15_an_upload_does_not_cross_into_a_cache(hub: Bench, app: Pusher, subtests: pytest.Subtests) -> None:
    upload = (await app.begin()).headers["Docker-Upload-UUID"]
    await app.ask(f"blobs/uploads/{upload}", method="PATCH", content=SECRET)
    cache = "/v2/docker-hub/library/alpine/blobs/uploads/"
    for method in ("PATCH", "PUT", "GET", "DELETE"):
        with subtests.test(method=method):
            await refused(hub.registry, f"{cache}{upload}?digest={DIGEST}", method)
    finished = await app.ask(f"blobs/uploads/{upload}?digest={DIGEST}", method="PUT")
    assert finished.status == 201
    assert (await hub.blob(DIGEST)).status == 404


async def test_s15_a_rule_may_permit_pushes(open_hub: Bench) -> None:
    cache = Pusher(open_hub.registry, "docker-hub/library/alpine")
    assert (await cache.manifest(RAW, "latest")).status == 404  # its blobs are missing, upstream too
    asked = len(open_hub.emulator.journal.lines)
    await cache.image(RAW, "latest")
    assert (await cache.get("manifests", "latest")).body == RAW
    assert len(open_hub.emulator.journal.lines) == asked
    assert (await cache.get("manifests", "1.0")).body == open_hub.public.index.raw
    assert (await cache.delete("manifests", "latest")).status == 202
    assert (await cache.get("manifests", "latest")).body == open_hub.public.index.raw


async def test_s15_a_rule_that_permits_no_more_pushes_ends_their_uploads(open_hub: Bench) -> None:
    cache = Pusher(open_hub.registry, "docker-hub/library/alpine")
    upload = (await cache.begin()).headers["Location"]
    rules = open_hub.product.rules
    rules.replace(RuleSet([replace(rule, push=False) for rule in rules.current.rules]))
    for method in ("PATCH", "PUT", "DELETE", "GET"):
        await refused(open_hub.registry, f"{upload}?digest={DIGEST}", method)


async def test_s15_what_is_pushed_into_a_cache_does_not_reach_other_repositories(open_hub: Bench) -> None:
    cache = Pusher(open_hub.registry, "docker-hub/library/alpine")
    await cache.image(RAW, "poison")
    neighbour = Pusher(open_hub.registry, "docker-hub/library/nginx")
    for kind, reference in (("blobs", Digest.of(LAYER)), ("manifests", Digest.of(RAW)), ("manifests", "poison")):
        assert (await neighbour.get(kind, reference)).status == 404


async def begun_by(bench: Bench, principal: str, repository: str) -> str:
    """Return the id of an upload with bytes that somebody began."""
    record = UploadRecord(str(uuid.uuid4()), RepositoryName(repository), Principal(principal), "sha256")
    uploads = bench.product.stores.uploads
    await uploads.begin(record)
    async with uploads.open(record.id) as opened:
        await opened.append(SECRET)
    return record.id


@pytest.mark.parametrize(
    ("principal", "repository"),
    [("alice", "team/app"), ("alice", "team/other"), ("", "team/other"), ("", "team/app/nested"), ("", "team")],
)
async def test_s16_somebody_elses_upload_is_one_that_never_was(
    hub: Bench, app: Pusher, principal: str, repository: str
) -> None:
    upload = await begun_by(hub, principal, repository)
    for method in ("PATCH", "PUT", "GET", "DELETE", "PATCH"):
        theirs, never = [
            await app.ask(f"blobs/uploads/{each}?digest={DIGEST}", method=method, content=SECRET)
            for each in (upload, str(uuid.uuid4()))
        ]
        assert (theirs.status, theirs.code) == (404, "BLOB_UPLOAD_UNKNOWN")
        assert (never.status, never.code, never.message) == (theirs.status, theirs.code, theirs.message)
        assert {"Location", "Range", "Docker-Upload-UUID"}.isdisjoint(theirs.headers)
    assert (await app.ask(f"blobs/uploads/{upload}", method="HEAD")).status == 404
    found = await hub.product.stores.uploads.find(upload)
    assert found is not None
    assert found[1] == len(SECRET)
    assert (await app.get("blobs", DIGEST)).status == 404


async def test_s16_an_upload_is_its_owners(hub: Bench, app: Pusher) -> None:
    upload = await begun_by(hub, "", "team/app")
    assert (await app.get("blobs/uploads", upload)).status == 204
    assert (await app.ask(f"blobs/uploads/{upload}?digest={DIGEST}", method="PUT")).status == 201
