"""Bytes of hostile or broken registries: S7, S8, S20 to S22 and S28, named after the advisories that taught them.

S7: Quay CVE-2026-32591. S8: distribution CVE-2026-85747. S20: aiohttp CVE-2025-69223 and CVE-2026-111750. S21, S22 and
S28: bodies that are decoded, too large, too deep, or somebody else's.
"""

import asyncio
import gzip
import hashlib
import json

import pytest
from structlog.testing import capture_logs

from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from tests.emulators import Route
from tests.emulators import faults as fault
from tests.emulators.content import SCHEMA1
from tests.emulators.faults import Fault
from tests.emulators.messages import reply
from tests.integration.scenarios.bench import Bench
from tests.integration.scenarios.product import sha256

SECRETS = "the-internal-secret-of-a-service"


async def holds_nothing(bench: Bench) -> bool:
    listed = await bench.registry.ask("/v2/_catalog")
    repositories: list[str] = listed.json["repositories"]
    return repositories == []


@pytest.mark.parametrize("code", [200, 400, 403, 404, 500, 503])
async def test_s7_no_body_of_an_upstream_is_reflected(hub: Bench, code: int) -> None:
    body = reply(code, f"<b>{SECRETS}</b>".encode(), "text/html", {"X-Internal": SECRETS})
    hub.emulator.faults.add(fault.answered(body), times=None)
    for path in ("manifests/latest", f"blobs/{hub.public.layer.digest}", "tags/list"):
        answered = await hub.registry.ask(hub.path(path))
        assert answered.status in {403, 404, 502}, answered
        assert SECRETS not in f"{answered.headers}{answered.body!r}"
    listed = await hub.registry.ask(hub.path("referrers", hub.public.index.digest))
    assert SECRETS not in f"{listed.headers}{listed.body!r}"


async def test_s7_no_signed_query_nor_password_is_told_or_logged(hub: Bench) -> None:
    public, password = hub.public, hub.emulator.account.password
    hub.emulator.faults.add(fault.status(403), route=Route.STORAGE, times=None)
    with capture_logs() as logged:
        failed = await hub.blob(public.layer.digest)
        assert failed.status == 502
    targets = [each.request.query for each in hub.emulator.journal.of(Route.STORAGE)]
    tokens = [each.authorization or "none" for each in hub.emulator.journal.exchanges if each.authorization]
    assert targets
    assert tokens
    told = f"{failed.headers}{failed.body!r}{logged}"
    for secret in (*targets, *(token.partition(" ")[2] for token in tokens), password):
        assert secret not in told
    assert logged


def other_body(raw: bytes, media_type: str, digest: str) -> Fault:
    return fault.answered(reply(200, raw, media_type, {"Docker-Content-Digest": digest}))


async def test_s8_a_manifest_by_digest_is_hashed_whatever_its_header_says(hub: Bench) -> None:
    image = hub.public.children[0]
    evil = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "evil": 1}).encode()
    sha512 = f"sha512:{hashlib.sha512(image.raw).hexdigest()}"
    for asked in (str(image.digest), str(hub.public.sha512.digest), sha512):
        armed = hub.emulator.faults.add(other_body(evil, OCI_MANIFEST, asked), route=Route.MANIFEST, times=None)
        answered = await hub.manifest(asked)
        assert (answered.status, answered.code) == (502, "UPSTREAM_INVALID")
        armed.disarm()
    assert await holds_nothing(hub)
    assert (await hub.manifest(image.digest)).body == image.raw


async def test_s8_schema_version_1_is_refused_under_any_type(hub: Bench) -> None:
    old = hub.public.schema1
    for media_type in (SCHEMA1, OCI_MANIFEST, "application/json"):
        armed = hub.emulator.faults.add(
            other_body(old.raw, media_type, str(old.digest)), route=Route.MANIFEST, times=None
        )
        assert (await hub.manifest("latest")).status == 502
        assert (await hub.manifest(old.digest)).status == 502
        armed.disarm()
    assert await holds_nothing(hub)


async def test_s8_a_tags_digest_is_that_of_its_bytes_not_of_its_head(hub: Bench) -> None:
    public = hub.public
    hub.emulator.faults.add(fault.other_digest(), route=Route.MANIFEST, times=None)
    head = await hub.registry.head(hub.path("manifests", "latest"))
    assert head.status == 200
    lied = str(head.digest)
    assert (await hub.manifest(lied)).status in {404, 502}
    got = await hub.manifest("latest")
    assert (got.status, got.digest, got.body) == (200, public.index.digest, public.index.raw)
    again = await hub.registry.head(hub.path("manifests", "latest"))
    assert again.digest == public.index.digest


SMUGGLED = (
    b"POST /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
    b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX: a\nGET /evil HTTP/1.1\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost : localhost\r\n\r\n",
)


@pytest.mark.parametrize("request_bytes", SMUGGLED, ids=range(len(SMUGGLED)))
async def test_s20_ambiguous_requests_are_refused_and_end_the_connection(hub: Bench, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection(*hub.product.server.address)
    writer.write(request_bytes)
    answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), answer
    assert b"200 OK" not in answer
    assert hub.emulator.journal.lines == []


async def test_s20_a_compressed_request_is_never_unpacked(hub: Bench) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    url = f"{hub.registry.base}{hub.path('manifests', 'latest')}"
    async with hub.registry.session.put(url, data=bomb, headers={"Content-Encoding": "gzip"}) as answer:
        assert answer.status == 405


async def test_s21_encoded_answers_are_refused_and_identity_is_asked_for(hub: Bench) -> None:
    lines = ("Accept-Encoding", "zstd;q=1.0, gzip;q=0.8")
    hub.emulator.faults.add(fault.compressed(), route=Route.MANIFEST, nth=2, times=None)  # after the challenge
    refused = await hub.manifest("latest", lines)
    assert (refused.status, refused.code) == (502, "UPSTREAM_INVALID")
    armed = hub.emulator.faults.add(fault.compressed(), route=Route.STORAGE, times=None)
    spoilt = await hub.blob(hub.public.layer.digest, lines)
    assert (spoilt.status, spoilt.code) == (502, "UPSTREAM_INVALID")
    assert await holds_nothing(hub)
    armed.disarm()
    right = await hub.blob(hub.public.layer.digest, lines)
    assert sha256(right.body) == str(hub.public.layer.digest)
    assert "Content-Encoding" not in right.headers
    asked = {each.request.headers.get("Accept-Encoding") for each in hub.emulator.journal.exchanges}
    assert asked == {"identity"}


def nested(depth: int) -> bytes:
    return b'{"schemaVersion":2,"mediaType":"' + OCI_INDEX.encode() + b'","x":' + b"[" * depth + b"]" * depth + b"}"


def crowded(count: int) -> bytes:
    one = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'a' * 64}", "size": 1}
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [one] * count}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"{" + b" " * (50 << 20) + b"}",
        nested(10_000),
        crowded(100_000),
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"size":NaN}]}',
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":{"a":1}}',
        b"[" * 100_000,
        b"",
        b"null",
        b"\xff\xfe",
    ],
    ids=["50 MB", "deep", "many", "NaN", "object", "brackets", "empty", "null", "no text"],
)
async def test_s22_monstrous_manifests_are_refused_and_not_kept(hub: Bench, raw: bytes) -> None:
    monster = other_body(raw, OCI_INDEX, sha256(raw))
    armed = hub.emulator.faults.add(monster, route=Route.MANIFEST, times=None)
    for reference in ("latest", sha256(raw)):
        answered = await hub.manifest(reference)
        assert (answered.status, answered.code) == (502, "UPSTREAM_INVALID")
    assert await holds_nothing(hub)
    armed.disarm()
    assert (await hub.manifest("latest")).body == hub.public.index.raw
    largest = max(each.sent for each in hub.emulator.journal.of(Route.MANIFEST))
    assert largest < 50 << 20  # nobody reads it to the end


async def test_s22_lists_that_never_end_are_an_error(hub: Bench) -> None:
    huge = reply(200, b'{"name":"x","tags":[' + b" " * (40 << 20) + b"]}", "application/json")
    hub.emulator.faults.add(fault.answered(huge), route=Route.TAGS, times=None)
    refused = await hub.registry.ask(hub.path("tags/list"))
    assert (refused.status, refused.code) == (502, "UPSTREAM_INVALID")


POISONS: dict[str, Fault] = {
    "a captive portal": fault.html(200),
    "an error page of the network": fault.html(503),
    "a part that nobody asked for": fault.answered(
        reply(206, b"x" * 10, "application/octet-stream", {"Content-Range": "bytes 0-9/81920"})
    ),
    "too few bytes, honestly": fault.raw_body(b"too few"),
    "other bytes of the same length": fault.wrong_bytes(),
    "wrong last bytes": fault.wrong_bytes(81919),
    "nothing": fault.raw_body(b""),
}


@pytest.mark.parametrize("name", sorted(POISONS))
async def test_s28_wrong_answers_for_blobs_are_never_kept_nor_served_as_whole(hub: Bench, name: str) -> None:
    layer = hub.public.layer
    armed = hub.emulator.faults.add(POISONS[name], route=Route.STORAGE, times=None)
    spoilt = await hub.blob(layer.digest)
    assert spoilt.status == 502 or not spoilt.whole, spoilt
    await hub.product.settle()
    assert not await hub.is_kept(layer.digest)
    armed.disarm()
    hub.product.clock.advance(120)
    assert sha256((await hub.blob(layer.digest)).body) == str(layer.digest)


@pytest.mark.parametrize(
    "flaw",
    [
        fault.truncated(1000),
        fault.truncated(1000, reset=True),
        fault.dropped(),
        fault.wrong_length(100),
        fault.chunked(),
    ],
    ids=["FIN", "RST", "dropped", "longer length", "no length"],
)
async def test_s28_a_broken_connection_costs_a_client_nothing(hub: Bench, flaw: Fault) -> None:
    hub.emulator.faults.add(flaw, route=Route.STORAGE)
    answered = await hub.blob(hub.public.layer.digest)
    assert (answered.status, sha256(answered.body)) == (200, str(hub.public.layer.digest))


async def test_s28_web_pages_for_manifests_and_lists_are_never_kept(hub: Bench) -> None:
    assert (await hub.manifest("1.0")).status == 200
    armed = hub.emulator.faults.add(fault.html(200), times=None)
    hub.expire()
    for path in ("manifests/nested", "tags/list", f"referrers/{hub.public.index.digest}"):
        answered = await hub.registry.ask(hub.path(path))
        assert (answered.status, answered.code) == (502, "UPSTREAM_INVALID")
    stale = await hub.manifest("1.0")
    assert (stale.status, stale.body) == (200, hub.public.index.raw)
    assert "Warning" in stale.headers
    armed.disarm()
    hub.product.clock.advance(120)
    assert (await hub.manifest("nested")).body == hub.public.nested.raw
    assert await hub.is_kept(Digest.of(hub.public.nested.raw))
