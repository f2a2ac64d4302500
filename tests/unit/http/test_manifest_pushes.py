"""Manifests that clients push and delete: what the answers tell, and what is served then."""

import json
from datetime import timedelta

import pytest
from multidict import CIMultiDict

from proxy.core.rules import RuleSet
from proxy.core.tag_defaults import TagDefaults
from proxy.model.digest import Digest
from proxy.model.manifest import MANIFEST_LIMIT
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.unit.http.conftest import RULES, Client, Stack
from tests.unit.http.pusher import CONFIG, LAYER, code_of, image, push_blob, push_image, push_manifest

RAW = image()
DIGEST = Digest.of(RAW)
SUBJECT = Digest.of(b"a subject that is not here")
MANIFESTS = "/v2/team/app/manifests"


@pytest.fixture(autouse=True)
async def blobs(client: Client) -> None:
    await push_blob(client, CONFIG)
    await push_blob(client, LAYER)


@pytest.mark.parametrize("reference", ["latest", str(DIGEST), f"sha256%3A{DIGEST.encoded}", "v1.0_x-Y"])
async def test_a_pushed_manifest_is_served_byte_for_byte(client: Client, reference: str) -> None:
    pushed = await push_manifest(client, RAW, reference)
    assert pushed.status == 201
    assert pushed.headers["Location"] == f"{MANIFESTS}/{DIGEST}"
    assert pushed.headers["Docker-Content-Digest"] == str(DIGEST)
    assert {"OCI-Subject", "OCI-Tag"}.isdisjoint(pushed.headers)
    assert await pushed.read() == b""
    for path in (f"{MANIFESTS}/{reference}", pushed.headers["Location"]):
        got = await client.get(path)
        assert await got.read() == RAW
        assert got.headers.getall("Content-Type") == [OCI_MANIFEST]
        assert got.headers["Docker-Content-Digest"] == str(DIGEST)


async def test_a_digest_of_another_algorithm_names_it_too(client: Client) -> None:
    digest = Digest.of(RAW, "sha512")
    pushed = await push_manifest(client, RAW, digest)
    assert pushed.headers["Docker-Content-Digest"] == str(digest)
    got = await client.get(pushed.headers["Location"])
    assert await got.read() == RAW
    assert got.headers["Docker-Content-Digest"] == str(digest)


@pytest.mark.parametrize("query", ["tag=a&tag=b", "tag=b&tag=a&tag=b&tag=a", "tag=a&other=1&tag=b"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_tags_may_come_with_a_push_by_digest(client: Client, query: str, algorithm: str) -> None:
    digest = Digest.of(RAW, algorithm)
    pushed = await push_manifest(client, RAW, f"{digest}?{query}")
    assert pushed.status == 201
    assert sorted(pushed.headers.getall("OCI-Tag")) == ["a", "b"]
    for tag in ("a", "b"):
        assert await (await client.get(f"{MANIFESTS}/{tag}")).read() == RAW
    assert (await (await client.get("/v2/team/app/tags/list")).json())["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    "target",
    [
        "latest?tag=a",
        f"{DIGEST}?tag=.hidden",
        f"{DIGEST}?tag=",
        f"{DIGEST}?tag=a&tag=..%2Fx",
        f"{DIGEST}?tag={'a' * 129}",
        f"{DIGEST}?tag=a&tag=la%00test",
        f"{DIGEST}?tag={Digest.of(b'')}",
        f"{DIGEST}?" + "&".join(f"tag=t{number}" for number in range(65)),
    ],
)
async def test_tags_that_cannot_be_are_refused_with_the_whole_push(client: Client, target: str) -> None:
    refused = await push_manifest(client, RAW, target)
    assert refused.status == 400
    assert await code_of(refused) == "TAG_INVALID"
    assert (await client.get(f"{MANIFESTS}/{DIGEST}")).status == 404
    assert (await client.get(f"{MANIFESTS}/a")).status == 404


async def test_many_tags_may_come_at_once_and_are_answered_in_as_many_fields_as_clients_read(client: Client) -> None:
    tags = [f"t{number:03}" for number in range(64)]
    pushed = await push_manifest(client, RAW, f"{DIGEST}?" + "&".join(f"tag={tag}" for tag in tags))
    assert sorted(pushed.headers.getall("OCI-Tag")) == tags
    assert len(pushed.raw_headers) < 100


@pytest.mark.parametrize("tag", [".hidden", "-x", "a" * 129, ""])
async def test_what_cannot_be_a_tag_is_wrong_to_push_and_unknown_to_read(client: Client, tag: str) -> None:
    refused = await push_manifest(client, RAW, tag)
    assert refused.status == 400
    assert await code_of(refused) == "TAG_INVALID"
    for method in ("GET", "DELETE"):
        assert (await client.request(method, f"{MANIFESTS}/{tag}")).status == 404


async def test_the_subject_is_confirmed_though_it_is_not_here(client: Client) -> None:
    raw = image(subject={"mediaType": OCI_MANIFEST, "digest": str(SUBJECT), "size": 26})
    pushed = await push_manifest(client, raw, Digest.of(raw))
    assert pushed.status == 201
    assert pushed.headers["OCI-Subject"] == str(SUBJECT)


async def test_other_bytes_than_the_digest_names_are_refused(client: Client) -> None:
    refused = await push_manifest(client, RAW, Digest.of(RAW + b" "))
    assert refused.status == 400
    assert await code_of(refused) == "DIGEST_INVALID"


@pytest.mark.parametrize("digest", ["sha256:abc", f"md5:{'0' * 32}", f"sha256:{DIGEST.encoded.upper()}", "sha256:"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_malformed_digest_is_refused(client: Client, method: str, digest: str) -> None:
    answer = await client.request(method, f"{MANIFESTS}/{digest}", data=RAW)
    assert answer.status == 400
    assert await code_of(answer) == "DIGEST_INVALID"


@pytest.mark.parametrize("media_type", [f"{OCI_MANIFEST}; charset=utf-8", f" {OCI_MANIFEST} ", None])
async def test_the_type_is_kept_without_parameters(client: Client, media_type: str | None) -> None:
    fields = CIMultiDict({"Content-Type": media_type} if media_type is not None else {})
    skipped = ["Content-Type"]
    pushed = await client.put(f"{MANIFESTS}/latest", data=RAW, headers=fields, skip_auto_headers=skipped)
    assert pushed.status == 201
    assert (await client.get(f"{MANIFESTS}/latest")).headers.getall("Content-Type") == [OCI_MANIFEST]


async def test_no_type_at_all_is_refused(client: Client) -> None:
    raw = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
    refused = await client.put(f"{MANIFESTS}/latest", data=raw, skip_auto_headers=["Content-Type"])
    assert refused.status == 400
    assert await code_of(refused) == "MANIFEST_INVALID"


async def test_all_that_is_missing_is_told_at_once(client: Client) -> None:
    raw = image(b"another config", [LAYER, b"another layer"])
    refused = await push_manifest(client, raw, "latest")
    assert refused.status == 404
    [error] = (await refused.json())["errors"]
    assert error["code"] == "MANIFEST_BLOB_UNKNOWN"
    assert set(error["detail"]["digests"]) == {str(Digest.of(b"another config")), str(Digest.of(b"another layer"))}
    assert (await client.get(f"{MANIFESTS}/latest")).status == 404


@pytest.mark.parametrize("size", [MANIFEST_LIMIT, MANIFEST_LIMIT + 1])
async def test_manifests_have_a_largest_size(client: Client, size: int) -> None:
    raw = RAW + b" " * (size - len(RAW))
    pushed = await push_manifest(client, raw, "large")
    assert pushed.status == (201 if size == MANIFEST_LIMIT else 413)
    if size == MANIFEST_LIMIT:
        assert await (await client.get(f"{MANIFESTS}/large")).read() == raw
    else:
        assert await code_of(pushed) == "SIZE_INVALID"


async def test_a_tag_that_is_kept_from_moving_is_refused_in_the_words_that_clients_know(
    client: Client, stack: Stack
) -> None:
    defaults = TagDefaults({"team": TagPolicy(TagMutability.IMMUTABLE)})
    stack.services.rules.replace(RuleSet(RULES, tag_defaults=defaults))
    assert (await push_manifest(client, RAW, "1.0")).status == 201
    assert (await push_manifest(client, RAW, "1.0")).status == 201
    refused = await push_manifest(client, image(annotations={"a": "b"}), "1.0")
    assert refused.status == 400
    [error] = (await refused.json())["errors"]
    assert error["code"] == "TAG_INVALID"
    assert error["message"] == (
        "The image tag '1.0' already exists in the 'team/app' repository and cannot be overwritten because the tag "
        "is immutable."
    )
    assert await (await client.get(f"{MANIFESTS}/1.0")).read() == RAW


async def test_deleting_a_tag_leaves_the_manifest(client: Client) -> None:
    await push_manifest(client, RAW, "a")
    await push_manifest(client, RAW, "b")
    deleted = await client.delete(f"{MANIFESTS}/a")
    assert deleted.status == 202
    assert await deleted.read() == b""
    assert (await client.get(f"{MANIFESTS}/a")).status == 404
    assert (await client.get(f"{MANIFESTS}/b")).status == 200
    assert (await client.get(f"{MANIFESTS}/{DIGEST}")).status == 200


async def test_deleting_a_manifest_takes_its_tags_along(client: Client) -> None:
    other = image(annotations={"a": "b"})
    await push_manifest(client, RAW, "a")
    await push_manifest(client, other, "b")
    assert (await client.delete(f"{MANIFESTS}/{DIGEST}")).status == 202
    for reference in ("a", str(DIGEST)):
        assert (await client.get(f"{MANIFESTS}/{reference}")).status == 404
    assert (await client.get(f"{MANIFESTS}/b")).status == 200


@pytest.mark.parametrize("reference", ["none", str(SUBJECT)])
async def test_what_is_not_there_is_not_deleted(client: Client, reference: str) -> None:
    answer = await client.delete(f"{MANIFESTS}/{reference}")
    assert answer.status == 404
    assert await code_of(answer) == "MANIFEST_UNKNOWN"
    elsewhere = await client.delete(f"/v2/team/none/manifests/{reference}")
    assert elsewhere.status == 404
    assert await code_of(elsewhere) == "NAME_UNKNOWN"


async def test_an_index_needs_its_images(client: Client) -> None:
    child = {"mediaType": OCI_MANIFEST, "digest": str(DIGEST), "size": len(RAW)}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    refused = await push_manifest(client, index, "all", media_type=OCI_INDEX)
    assert (refused.status, await code_of(refused)) == (404, "MANIFEST_BLOB_UNKNOWN")
    await push_manifest(client, RAW, DIGEST)
    assert (await push_manifest(client, index, "all", media_type=OCI_INDEX)).status == 201


async def test_a_tag_pushed_below_a_rule_is_served_as_it_is(client: Client, stack: Stack) -> None:
    stack.upstream.hold("app", image(annotations={"from": "upstream"}), OCI_MANIFEST, "latest")
    await push_image(client, RAW, "latest", "open/app")
    stack.clock.advance(timedelta(days=1).total_seconds())
    got = await client.get("/v2/open/app/manifests/latest")
    assert await got.read() == RAW
    assert stack.upstream.requests == []


async def test_a_manifest_that_finds_no_room_is_507(client: Client, stack: Stack) -> None:
    stack.store.capacity = len(RAW)  # its blobs are there already
    refused = await push_manifest(client, RAW, "latest")
    assert refused.status == 507
    assert await code_of(refused) == "STORAGE_FULL"
    assert (await client.get(f"{MANIFESTS}/latest")).status == 404


async def test_a_push_leaves_a_trace(client: Client, stack: Stack) -> None:
    await push_manifest(client, RAW, "latest")
    sample = stack.services.metrics.registry.get_sample_value
    labels = {"route": "manifest", "method": "PUT", "status": "201", "cache": "none"}
    assert sample("pullthrough_requests_total", labels) == 1
