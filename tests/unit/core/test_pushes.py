"""Manifests that clients push: what is checked, what is kept, and what is never undone."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest

from proxy.core.ports import ManifestPush, StorageFullError
from proxy.core.pushes import PushAnswer, PushedManifest
from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError, UpstreamFailure
from proxy.model.manifest import MANIFEST_LIMIT
from proxy.model.media_types import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.support.bodies import body
from tests.support.documents import descriptor, image, index
from tests.support.filling_metadata import FillingMetadata
from tests.unit.core.conftest import Bench

CONFIG, LAYER = b"{}", b"the bytes of a layer"
IMAGE = image(CONFIG, LAYER)
OTHER = image(CONFIG, LAYER, annotations={"other": "yes"})
NAME = RepositoryName("team/app")
V1 = Tag("v1")
IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)


@pytest.fixture
def hosted(bench: Bench) -> Resolution:
    return bench.resolve(NAME)


@pytest.fixture
async def filled(bench: Bench, hosted: Resolution) -> Resolution:
    """The repository, with the blobs of `IMAGE`."""
    await push_blobs(bench, hosted)
    return hosted


async def push_blobs(bench: Bench, resolution: Resolution, *blobs: bytes) -> None:
    for blob in blobs or (CONFIG, LAYER):
        await bench.uploads.whole(resolution, Digest.of(blob), Chunk(body(blob)))


async def put(
    bench: Bench,
    resolution: Resolution,
    raw: bytes = IMAGE,
    reference: Tag | Digest = V1,
    media_type: str | None = OCI_MANIFEST,
    *tags: Tag,
) -> PushAnswer:
    return await bench.pushes.put(resolution, PushedManifest(raw, media_type, reference, tags))


async def refusal(
    bench: Bench,
    resolution: Resolution,
    raw: bytes = IMAGE,
    reference: Tag | Digest = V1,
    media_type: str | None = OCI_MANIFEST,
    *tags: Tag,
) -> ProxyError:
    before = bench.counted("manifest", "stored")
    with pytest.raises(ProxyError) as raised:
        await put(bench, resolution, raw, reference, media_type, *tags)
    assert bench.counted("manifest", "stored") == before
    return raised.value


# --- what is kept -----------------------------------------------------------------------------------------------------


async def test_a_pushed_manifest_is_served_byte_for_byte(bench: Bench, filled: Resolution) -> None:
    raw = json.dumps(json.loads(IMAGE), indent=7).encode()
    answer = await put(bench, filled, raw)
    assert answer == PushAnswer(Digest.of(raw), None, ())
    for reference in (V1, answer.digest):
        found = await bench.manifests.get(filled, reference)
        assert (found.raw, found.media_type, found.digest) == (raw, OCI_MANIFEST, Digest.of(raw))
    assert (bench.counted("manifest", "stored"), bench.counted("manifest", "refused")) == (1, 0)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_manifest_is_kept_under_the_digest_it_is_put_by(
    bench: Bench, filled: Resolution, algorithm: str
) -> None:
    digest = Digest.of(IMAGE, algorithm)
    tags = [Tag("a"), Tag("b"), Tag("a")]
    answer = await put(bench, filled, IMAGE, digest, OCI_MANIFEST, *tags)
    assert answer == PushAnswer(digest, None, (Tag("a"), Tag("b")))
    for reference in (digest, Tag("a"), Tag("b")):
        assert (await bench.manifests.get(filled, reference)).digest == digest


async def test_all_tags_are_written_or_none(bench: Bench, filled: Resolution) -> None:
    await bench.repositories.set_tag_policy(NAME, IMMUTABLE)
    await put(bench, filled, IMAGE, Tag("b"))
    error = await refusal(bench, filled, OTHER, Digest.of(OTHER), OCI_MANIFEST, Tag("a"), Tag("b"))
    assert error.code is ErrorCode.TAG_INVALID
    assert await bench.metadata.tag(NAME, Tag("a")) is None
    assert await bench.metadata.manifest(NAME, Digest.of(OTHER), None) is None


async def test_tags_are_named_beside_a_digest_only(bench: Bench, filled: Resolution) -> None:
    assert (await refusal(bench, filled, IMAGE, V1, OCI_MANIFEST, Tag("a"))).code is ErrorCode.TAG_INVALID


async def test_the_subject_is_told_and_need_not_be_there(bench: Bench, filled: Resolution) -> None:
    subject = descriptor(b"what was never pushed", OCI_MANIFEST)
    answer = await put(bench, filled, image(CONFIG, LAYER, subject=subject))
    assert answer.subject == Digest.of(b"what was never pushed")
    found = await bench.metadata.referrers(NAME, answer.subject, None, "", 10)
    assert [record.digest for record in found] == [answer.digest]


# --- media types ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [f"{OCI_MANIFEST}; charset=utf-8", f" {OCI_MANIFEST} ;x", OCI_MANIFEST.replace("oci", "OCI"), None]
)
async def test_the_media_type_is_kept_bare_or_taken_from_the_document(
    bench: Bench, filled: Resolution, sent: str | None
) -> None:
    await put(bench, filled, IMAGE, V1, sent)
    assert (await bench.manifests.get(filled, V1)).media_type == OCI_MANIFEST


@pytest.mark.parametrize("sent", ["", ";charset=utf-8", "json", "a/b/c", "text/\u00e4", "a b/c", "x/" + "y" * 200])
async def test_what_is_no_media_type_is_refused(bench: Bench, filled: Resolution, sent: str) -> None:
    assert (await refusal(bench, filled, IMAGE, V1, sent)).code is ErrorCode.MANIFEST_INVALID


@pytest.mark.parametrize(
    "raw", [b"{}", b'{"mediaType": 5}', b"[]", b"no json", b"", b"[" * 100_000, b'{"x":' * 100_000]
)
async def test_a_document_that_says_nothing_of_its_type_needs_a_content_type(
    bench: Bench, filled: Resolution, raw: bytes
) -> None:
    assert (await refusal(bench, filled, raw, V1, None)).code is ErrorCode.MANIFEST_INVALID


async def test_other_types_are_kept_as_they_are_written(bench: Bench, filled: Resolution) -> None:
    media_type = "application/vnd.example.Thing+json"
    await put(bench, filled, json.dumps({"mediaType": media_type}).encode(), V1, f"{media_type};v=1")
    assert (await bench.manifests.get(filled, V1)).media_type == media_type


async def test_no_case_makes_schema_1_another_type(bench: Bench, filled: Resolution) -> None:
    error = await refusal(bench, filled, b"{}", V1, "application/vnd.docker.Distribution.manifest.V1+json")
    assert (error.code, "schema 1" in error.message) == (ErrorCode.MANIFEST_INVALID, True)


async def test_a_type_that_contradicts_the_document_is_refused(bench: Bench, filled: Resolution) -> None:
    error = await refusal(bench, filled, IMAGE, V1, DOCKER_MANIFEST)
    assert (error.code, bench.counted("manifest", "refused")) == (ErrorCode.MANIFEST_INVALID, 1)


# --- bytes and digests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_digest", [True, False])
async def test_the_type_of_what_is_kept_does_not_change(bench: Bench, filled: Resolution, *, by_digest: bool) -> None:
    # Without a mediaType of its own a document may be sent as anything; clients by digest would no longer know it.
    document = json.loads(image(CONFIG, LAYER, subject=descriptor(b"subject", OCI_MANIFEST)))
    del document["mediaType"]
    raw = json.dumps(document).encode()
    digest = (await put(bench, filled, raw)).digest
    error = await refusal(bench, filled, raw, digest if by_digest else V1, "application/json")
    assert (error.code, OCI_MANIFEST in error.message) == (ErrorCode.MANIFEST_INVALID, True)
    for reference in (V1, digest):
        assert (await bench.manifests.get(filled, reference)).media_type == OCI_MANIFEST
    assert len(await bench.metadata.referrers(NAME, Digest.of(b"subject"), None, "", 10)) == 1
    await bench.deletions.manifest(filled, digest)
    await put(bench, filled, raw, V1, "application/json")
    assert (await bench.manifests.get(filled, V1)).media_type == "application/json"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_another_digest_is_refused_and_nothing_is_kept(bench: Bench, filled: Resolution, algorithm: str) -> None:
    wrong = Digest.of(OTHER, algorithm)
    assert (await refusal(bench, filled, IMAGE, wrong)).code is ErrorCode.DIGEST_INVALID
    for digest in (wrong, Digest.of(IMAGE)):
        assert await bench.store.stat(digest) is None


async def test_a_manifest_that_is_too_large_is_refused(bench: Bench, filled: Resolution) -> None:
    error = await refusal(bench, filled, b" " * (MANIFEST_LIMIT + 1))
    assert error.code is ErrorCode.SIZE_INVALID


@pytest.mark.parametrize("large", [False, True])
async def test_a_large_document_does_not_hold_up_the_loop(bench: Bench, filled: Resolution, *, large: bool) -> None:
    raw = image(CONFIG, LAYER, annotations={"text": "x" * (4 << 20 if large else 4 << 10)})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(put(bench, filled, raw))
        await asyncio.sleep(0)
        # Stores in memory never wait: only a thread makes the rest of the loop go on before it is done.
        assert task.done() != large
    assert (await bench.manifests.get(filled, V1)).raw == raw


# --- what it names ----------------------------------------------------------------------------------------------------


async def test_all_that_is_missing_is_told(bench: Bench, hosted: Resolution) -> None:
    error = await refusal(bench, hosted, image(CONFIG, LAYER, b"more", LAYER))
    assert error.code is ErrorCode.MANIFEST_BLOB_UNKNOWN
    missing = sorted(str(Digest.of(blob)) for blob in (CONFIG, LAYER, b"more"))
    assert error.detail == {"name": NAME, "digests": missing}
    assert await bench.metadata.tag(NAME, V1) is None


async def test_a_blob_of_another_repository_is_missing_here(bench: Bench, hosted: Resolution) -> None:
    await push_blobs(bench, bench.resolve("team/other"))
    assert (await refusal(bench, hosted)).code is ErrorCode.MANIFEST_BLOB_UNKNOWN


@pytest.mark.parametrize(
    "fields",
    [
        {"media_type": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
        {"media_type": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        {"urls": ["https://example.test/layer"]},
    ],
)
async def test_layers_that_are_elsewhere_are_not_asked_for(
    bench: Bench, filled: Resolution, fields: dict[str, str]
) -> None:
    await put(bench, filled, image(CONFIG, layers=[descriptor(b"elsewhere", **fields)]))


async def test_an_index_needs_its_manifests(bench: Bench, filled: Resolution) -> None:
    error = await refusal(bench, filled, index(IMAGE, OTHER), V1, OCI_INDEX)
    assert error.detail["digests"] == sorted(str(Digest.of(raw)) for raw in (IMAGE, OTHER))
    for raw in (IMAGE, OTHER):
        await put(bench, filled, raw, Digest.of(raw))
    await put(bench, filled, index(IMAGE, OTHER), V1, OCI_INDEX)


async def test_an_index_may_name_blobs(bench: Bench, filled: Resolution) -> None:
    await put(bench, filled, index(manifests=[descriptor(LAYER)]), V1, OCI_INDEX)


async def test_sparse_indexes_are_taken_where_the_registry_says_so(bench: Bench, hosted: Resolution) -> None:
    bench.sparse = True
    bench.start()
    await put(bench, hosted, index(IMAGE), V1, OCI_INDEX)
    assert (await refusal(bench, hosted)).code is ErrorCode.MANIFEST_BLOB_UNKNOWN


async def test_documents_of_other_types_name_nothing(bench: Bench, hosted: Resolution) -> None:
    raw = json.dumps({"layers": [descriptor(b"absent")]}).encode()
    await put(bench, hosted, raw, V1, "application/vnd.example+json")


# --- tags that are kept -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["own policy", "configured"])
async def test_an_immutable_tag_is_kept_with_the_sentence_of_ecr(
    bench: Bench, filled: Resolution, *, own: bool
) -> None:
    if own:
        await bench.repositories.set_tag_policy(NAME, IMMUTABLE)
    else:
        filled = replace(filled, tag_policy=IMMUTABLE)
    await put(bench, filled)
    error = await refusal(bench, filled, OTHER)
    assert (error.code, error.code.status) == (ErrorCode.TAG_INVALID, 400)
    assert error.message == (
        "The image tag 'v1' already exists in the 'team/app' repository and cannot be overwritten because the tag is "
        "immutable."
    )
    assert error.detail == {"name": NAME, "tag": V1}
    assert (await bench.manifests.get(filled, V1)).raw == IMAGE
    # The bytes were not even stored, and the same digest is no move.
    assert await bench.store.stat(Digest.of(OTHER)) is None
    assert (await put(bench, filled)).digest == Digest.of(IMAGE)
    refused = bench.metrics.registry.get_sample_value("pullthrough_tag_moves_refused_total", {"cause": "push"})
    assert (refused, bench.counted("manifest", "refused")) == (1, 1)


async def test_ecr_refuses_the_same_digest_too(bench: Bench, filled: Resolution) -> None:
    bench.with_character(ecr=True)
    await bench.repositories.set_tag_policy(NAME, IMMUTABLE)
    await put(bench, filled)
    assert (await refusal(bench, filled)).code is ErrorCode.TAG_INVALID
    assert (await put(bench, filled, IMAGE, Digest.of(IMAGE))).digest == Digest.of(IMAGE)


async def test_a_policy_of_its_own_counts_more_than_the_configured_one(bench: Bench, filled: Resolution) -> None:
    await bench.repositories.set_tag_policy(NAME, TagPolicy())
    filled = replace(filled, tag_policy=IMMUTABLE)
    await put(bench, filled)
    await put(bench, filled, OTHER)
    assert (await bench.manifests.get(filled, V1)).raw == OTHER


async def test_of_pushes_at_the_same_time_one_wins_an_immutable_tag(bench: Bench, filled: Resolution) -> None:
    filled = replace(filled, tag_policy=IMMUTABLE)
    images = [image(CONFIG, LAYER, annotations={"n": str(number)}) for number in range(8)]
    answers = await asyncio.gather(*(put(bench, filled, raw) for raw in images), return_exceptions=True)
    won = [answer for answer in answers if isinstance(answer, PushAnswer)]
    lost = [answer.code for answer in answers if isinstance(answer, ProxyError)]
    assert (len(won), lost) == (1, [ErrorCode.TAG_INVALID] * 7)
    assert (await bench.manifests.get(filled, V1)).digest == won[0].digest


class SharedMetadata(FillingMetadata):
    """Metadata that another process changes, by `meanwhile`, just before a push is written."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def push(self, repository: RepositoryName, push: ManifestPush, provenance: Provenance | None) -> None:
        change, self.meanwhile = self.meanwhile, None
        if change is not None:
            await change()
        await super().push(repository, push, provenance)


async def test_what_the_first_look_misses_is_decided_with_the_write(bench: Bench) -> None:
    bench.metadata = metadata = SharedMetadata()
    bench.start()
    hosted = replace(bench.resolve(NAME), tag_policy=IMMUTABLE)
    await push_blobs(bench, hosted)
    metadata.meanwhile = partial(bench.pushes.put, hosted, PushedManifest(IMAGE, OCI_MANIFEST, V1))
    with pytest.raises(ProxyError) as raised:
        await put(bench, hosted, OTHER)
    assert raised.value.code is ErrorCode.TAG_INVALID
    assert (await bench.manifests.get(hosted, V1)).raw == IMAGE


# --- repositories -----------------------------------------------------------------------------------------------------


async def test_a_push_makes_the_repository_unless_ecr_is_followed(bench: Bench) -> None:
    raw, new = index(), bench.resolve("new/app")
    bench.with_character(ecr=True)
    error = await refusal(bench, new, raw, V1, OCI_INDEX)
    assert error.code is ErrorCode.NAME_UNKNOWN
    assert error.message.startswith("The repository with name 'new/app' does not exist in the registry with id '")
    bench.with_character(ecr=False)
    await put(bench, new, raw, V1, OCI_INDEX)
    assert await bench.metadata.has_repository(RepositoryName("new/app"))


async def test_what_is_refused_makes_no_repository(bench: Bench) -> None:
    await refusal(bench, bench.resolve("new/app"), b"junk")
    assert not await bench.metadata.has_repository(RepositoryName("new/app"))


async def test_a_repository_that_is_deleted_meanwhile_is_unknown(bench: Bench) -> None:
    bench.metadata = metadata = SharedMetadata()
    bench.start()
    metadata.meanwhile = partial(metadata.delete_repository, NAME)
    assert (await refusal(bench, bench.resolve(NAME), index(), V1, OCI_INDEX)).code is ErrorCode.NAME_UNKNOWN


# --- caches that take pushes ------------------------------------------------------------------------------------------


async def test_a_cache_takes_no_push(bench: Bench) -> None:
    assert (await refusal(bench, bench.resolve())).code is ErrorCode.UNSUPPORTED


async def test_a_pushed_tag_stands_before_what_upstream_says(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution, upstream = bench.resolve(), bench.web.put(OTHER, V1)
    await push_blobs(bench, resolution)
    # A client was told what upstream's tag means, and will come for its digest.
    await bench.manifests.head(resolution, V1)
    await put(bench, resolution)
    await bench.manifests.get(resolution, upstream)
    bench.clock.advance(10**6)
    found = await bench.manifests.get(resolution, V1)
    assert (found.raw, found.warning) == (IMAGE, None)


async def test_moves_by_upstream_are_counted_too(bench: Bench) -> None:
    resolution = replace(bench.resolve(), tag_policy=IMMUTABLE)
    bench.web.put(IMAGE, V1)
    await bench.manifests.get(resolution, V1)
    bench.web.put(OTHER, V1)
    assert (await bench.manifests.refresh(resolution, V1)).raw == IMAGE
    refused = bench.metrics.registry.get_sample_value("pullthrough_tag_moves_refused_total", {"cause": "upstream"})
    assert refused == 1


async def test_what_was_pulled_through_counts_for_what_is_pushed_there(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution = bench.resolve()
    child = bench.web.put(IMAGE, Tag("upstream"))
    for blob in (CONFIG, LAYER):
        source = await bench.blobs.open(resolution, bench.web.put_blob(blob))
        source.close()
    await bench.tasks.drain(5)
    await bench.manifests.get(resolution, child)
    await put(bench, resolution, OTHER)
    await put(bench, resolution, index(IMAGE), Tag("index"), OCI_INDEX)


async def test_what_came_from_another_upstream_does_not(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution = bench.resolve()
    await bench.metadata.prove(resolution.repository, Digest.of(CONFIG), Provenance("elsewhere.test/x", ""))
    await push_blobs(bench, resolution, LAYER)
    assert (await refusal(bench, resolution)).detail["digests"] == [str(Digest.of(CONFIG))]


async def test_blobs_that_only_the_upstream_holds_are_fetched_for_a_push(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution = bench.resolve()
    layer = bench.web.put_blob(LAYER)
    await push_blobs(bench, resolution, CONFIG)
    assert (await bench.blobs.head(resolution, layer)).size == len(LAYER)  # so the client does not send it

    await put(bench, resolution)

    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert (await bench.manifests.get(resolution, V1)).raw == IMAGE
    assert (await bench.blobs.head(resolution, layer)).size == len(LAYER)
    assert await bench.store.stat(layer) == len(LAYER)
    assert all(given.closed for given in bench.fills.given)


async def test_a_blob_that_was_shown_and_never_came_is_fetched_for_a_push(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution = bench.resolve()
    layer = bench.web.put_blob(LAYER)
    await push_blobs(bench, resolution, CONFIG)
    # Upstream's answer is the proof; the transfer broke off after it.
    assert resolution.remote is not None
    await bench.metadata.prove(resolution.repository, layer, resolution.remote.provenance)

    await put(bench, resolution)

    assert await bench.store.stat(layer) == len(LAYER)


async def test_manifests_that_only_the_upstream_holds_are_fetched_for_an_index(bench: Bench) -> None:
    bench.with_rule(push=True)
    resolution = bench.resolve()
    child = bench.web.put(IMAGE)
    assert (await bench.manifests.head(resolution, child)).size == len(IMAGE)  # so the client does not send it

    await put(bench, resolution, index(IMAGE), V1, OCI_INDEX)

    bench.upstream.fail(UpstreamFailure.UNREACHABLE)
    assert (await bench.manifests.get(resolution, child)).raw == IMAGE


@pytest.mark.parametrize("failure", [UpstreamFailure.NOT_FOUND, UpstreamFailure.UNREACHABLE])
async def test_an_index_is_refused_where_neither_client_nor_upstream_gives_a_manifest(
    bench: Bench, failure: UpstreamFailure
) -> None:
    bench.with_rule(push=True)
    bench.upstream.fail(failure)
    error = await refusal(bench, bench.resolve(), index(IMAGE), V1, OCI_INDEX)
    assert (error.code, error.detail["digests"]) == (ErrorCode.MANIFEST_BLOB_UNKNOWN, [str(Digest.of(IMAGE))])


@pytest.mark.parametrize("failure", [UpstreamFailure.NOT_FOUND, UpstreamFailure.UNREACHABLE])
async def test_a_push_is_refused_where_neither_client_nor_upstream_gives_a_blob(
    bench: Bench, failure: UpstreamFailure
) -> None:
    bench.with_rule(push=True)
    resolution = bench.resolve()
    await push_blobs(bench, resolution, CONFIG)
    bench.upstream.fail(failure)

    assert (await refusal(bench, resolution)).code is ErrorCode.MANIFEST_BLOB_UNKNOWN
    assert await bench.metadata.tag(resolution.repository, V1) is None


# --- disks that are full or rot ---------------------------------------------------------------------------------------


async def test_a_push_replaces_a_spoilt_file(bench: Bench, filled: Resolution) -> None:
    bench.store.keep(Digest.of(IMAGE), bytes(len(IMAGE)))
    await put(bench, filled)
    bench.start()
    assert (await bench.manifests.get(filled, V1)).raw == IMAGE


async def test_a_full_disk_refuses_and_the_push_may_be_repeated(bench: Bench, filled: Resolution) -> None:
    bench.metadata.full = True
    error = await refusal(bench, filled)
    assert (error.code, isinstance(error.__cause__, StorageFullError)) == (ErrorCode.STORAGE_FULL, True)
    assert bench.counted("manifest", "no_room") == 1
    bench.metadata.full = False
    await put(bench, filled)


async def test_room_that_is_to_stay_free_is_not_written_to(bench: Bench, filled: Resolution) -> None:
    bench.min_free = await bench.store.free() - len(IMAGE) + 1
    bench.start()
    error = await refusal(bench, filled)
    assert (error.code, bench.counted("manifest", "no_room")) == (ErrorCode.STORAGE_FULL, 1)
    assert await bench.store.stat(Digest.of(IMAGE)) is None
    bench.min_free -= 1
    bench.start()
    await put(bench, filled)
