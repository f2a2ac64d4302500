"""Uploads of blobs (end-4 to end-6, end-11, end-13, end-14): every style, with both digest algorithms."""

import random
from urllib.parse import urlsplit

import pytest

from tests.conformance.conftest import OTHER, REPOSITORY
from tests.conformance.reading import expect_blob, expect_location
from tests.conformance.registry import OCTETS, Blob, Registry, digest_of
from tests.conformance.uploads import (
    STYLES,
    Style,
    begin,
    close,
    mount,
    post_and_put,
    post_only,
    upload_status,
)

ALGORITHMS = ["sha256", "sha512"]
CHUNK = 1024
THREE_CHUNKS = 3 * CHUNK - 5

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)
each_style = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


def some_blob(algorithm: str = "sha256", size: int = THREE_CHUNKS) -> Blob:
    return Blob.of(random.Random(size).randbytes(size), algorithm)  # noqa: S311 - content, not a secret


async def expect_unknown(registry: Registry, repository: str, digest: str) -> None:
    target = f"/v2/{repository}/blobs/{digest}"
    (await registry.get(target)).expect_error(404, "BLOB_UNKNOWN", "NAME_UNKNOWN")
    (await registry.head(target)).expect(404)


async def expect_deletable(registry: Registry, repository: str, digest: str) -> None:
    (await registry.delete(f"/v2/{repository}/blobs/{digest}")).expect(202)
    await expect_unknown(registry, repository, digest)


@each_algorithm
@each_style
async def test_an_uploaded_blob_is_there_until_it_is_deleted(registry: Registry, style: Style, algorithm: str) -> None:
    # No bytes at all, and the empty object of artifacts, are blobs like others.
    for blob in (Blob.of(b"", algorithm), Blob.of(b"{}", algorithm), some_blob(algorithm, 512), some_blob(algorithm)):
        await expect_unknown(registry, REPOSITORY, blob.digest)
        created = await style(registry, REPOSITORY, blob)
        await expect_location(registry, created, blob.content)
        assert created.headers.getall("Docker-Content-Digest") == [blob.digest]
        await expect_blob(registry, REPOSITORY, blob)
        await expect_deletable(registry, REPOSITORY, blob.digest)


@each_algorithm
@each_style
async def test_a_blob_that_is_there_can_be_uploaded_again(registry: Registry, style: Style, algorithm: str) -> None:
    blob = some_blob(algorithm)
    await post_and_put(registry, REPOSITORY, blob)
    await expect_location(registry, await style(registry, REPOSITORY, blob), blob.content)


@each_algorithm
@each_style
async def test_bytes_that_do_not_have_the_digest_are_refused(registry: Registry, style: Style, algorithm: str) -> None:
    blob = some_blob(algorithm)
    (await style(registry, REPOSITORY, blob.corrupt())).expect_error(400, "DIGEST_INVALID")
    await expect_unknown(registry, REPOSITORY, blob.digest)
    await expect_unknown(registry, REPOSITORY, digest_of(blob.corrupt().content, algorithm))


# In disorder the order is refused first.
@pytest.mark.parametrize("name", [name for name in STYLES if "out of order" not in name])
async def test_a_digest_that_is_none_is_refused(registry: Registry, name: str) -> None:
    for digest in ("sha256:baddigeststring", f"md5:{'0' * 32}", f"sha256:{'A' * 64}", "sha256", ""):
        answer = await STYLES[name](registry, REPOSITORY, Blob(some_blob().content, digest))
        answer.expect_error(400, "DIGEST_INVALID")


@each_algorithm
async def test_a_registry_can_be_told_the_algorithm_in_advance(registry: Registry, algorithm: str) -> None:
    blob = some_blob(algorithm)
    begun = await begin(registry, REPOSITORY, [("digest-algorithm", algorithm)])
    created = await registry.ask("PUT", begun.location, blob.content, query=[("digest", blob.digest)], headers=OCTETS)
    await expect_location(registry, created, blob.content)


async def test_an_algorithm_that_is_none_begins_no_upload(registry: Registry) -> None:
    answer = await registry.ask("POST", f"/v2/{REPOSITORY}/blobs/uploads/", query=[("digest-algorithm", "md5")])
    answer.expect_error(400, "DIGEST_INVALID")


class TestMount:
    @each_algorithm
    @pytest.mark.parametrize("source", [OTHER, None], ids=["from", "anonymous"])
    async def test_a_blob_of_another_repository_is_mounted(
        self, registry: Registry, algorithm: str, source: str | None
    ) -> None:
        blob = some_blob(algorithm)
        await post_and_put(registry, OTHER, blob)
        created = await mount(registry, REPOSITORY, blob.digest, source)
        await expect_location(registry, created, blob.content)
        assert urlsplit(created.location).path == f"/v2/{REPOSITORY}/blobs/{blob.digest}"
        assert created.headers.getall("Docker-Content-Digest") == [blob.digest]
        await expect_blob(registry, REPOSITORY, blob)
        await expect_deletable(registry, REPOSITORY, blob.digest)
        await expect_blob(registry, OTHER, blob)
        await expect_deletable(registry, OTHER, blob.digest)

    @each_algorithm
    @pytest.mark.parametrize("source", [OTHER, REPOSITORY, "no/such/repository", None])
    async def test_a_blob_that_is_not_there_is_uploaded_instead(
        self, registry: Registry, algorithm: str, source: str | None
    ) -> None:
        blob = some_blob(algorithm)
        offered = (await mount(registry, REPOSITORY, blob.digest, source)).expect(202)
        assert urlsplit(offered.location).path.startswith(f"/v2/{REPOSITORY}/blobs/uploads/")
        query = [("digest", blob.digest)]
        created = await registry.ask("PUT", offered.location, blob.content, query=query, headers=OCTETS)
        await expect_location(registry, created, blob.content)
        await expect_blob(registry, REPOSITORY, blob)
        await expect_unknown(registry, OTHER, blob.digest)

    async def test_a_deleted_blob_is_not_mounted(self, registry: Registry) -> None:
        blob = some_blob()
        await post_and_put(registry, OTHER, blob)
        await expect_deletable(registry, OTHER, blob.digest)
        (await mount(registry, REPOSITORY, blob.digest, OTHER)).expect(202)
        (await mount(registry, REPOSITORY, blob.digest)).expect(202)
        await expect_unknown(registry, REPOSITORY, blob.digest)


class TestSession:
    async def test_a_cancelled_upload_is_over(self, registry: Registry) -> None:
        blob = some_blob()
        location = (await begin(registry, REPOSITORY)).location
        (await registry.delete(location)).expect(204)
        (await registry.get(location)).expect_error(404, "BLOB_UPLOAD_UNKNOWN")
        (await registry.delete(location)).expect_error(404, "BLOB_UPLOAD_UNKNOWN")
        (await registry.ask("PATCH", location, blob.content, headers=OCTETS)).expect_error(404, "BLOB_UPLOAD_UNKNOWN")
        (await close(registry, location, blob.digest)).expect_error(404, "BLOB_UPLOAD_UNKNOWN")
        await expect_unknown(registry, REPOSITORY, blob.digest)

    async def test_a_finished_upload_is_over(self, registry: Registry) -> None:
        blob = some_blob()
        location = (await begin(registry, REPOSITORY)).location
        sent = (await registry.ask("PATCH", location, blob.content, headers=OCTETS)).expect(202)
        (await close(registry, sent.location, blob.digest)).expect(201)
        (await registry.get(sent.location)).expect_error(404, "BLOB_UPLOAD_UNKNOWN")

    async def test_a_chunk_that_is_sent_twice_is_refused_and_the_upload_goes_on(self, registry: Registry) -> None:
        blob = some_blob()
        first, rest = blob.content[:CHUNK], blob.content[CHUNK:]
        begun = await begin(registry, REPOSITORY)
        headers = {**OCTETS, "Content-Range": f"0-{CHUNK - 1}"}
        taken = (await registry.ask("PATCH", begun.location, first, headers=headers)).expect(202)
        assert taken.headers["Range"] == f"0-{CHUNK - 1}"
        (await registry.ask("PATCH", begun.location, first, headers=headers)).expect_error(416, "BLOB_UPLOAD_INVALID")
        # A client that lost the newer answer asks at the older location.
        status = await upload_status(registry, begun.location)
        assert status.headers["Range"] == f"0-{CHUNK - 1}"
        headers = {**OCTETS, "Content-Range": f"{CHUNK}-{len(blob.content) - 1}"}
        whole = (await registry.ask("PATCH", status.location, rest, headers=headers)).expect(202)
        assert whole.headers["Range"] == f"0-{len(blob.content) - 1}"
        await expect_location(registry, await close(registry, whole.location, blob.digest), blob.content)

    async def test_a_content_range_that_does_not_fit_its_chunk_is_refused(self, registry: Registry) -> None:
        blob = some_blob(size=512)
        location = (await begin(registry, REPOSITORY)).location
        for span in ("5-1", "a-b", "0-", "-5", "bytes 0-511/512", "0-510", "0-512", "1-512"):
            headers = {**OCTETS, "Content-Range": span}
            refused = await registry.ask("PATCH", location, blob.content, headers=headers)
            assert refused.expect_error(416, "BLOB_UPLOAD_INVALID").location
            status = await upload_status(registry, location)
            assert status.headers["Range"] == "0-0"  # nothing of it was kept
        created = await registry.ask("PUT", location, blob.content, query=[("digest", blob.digest)], headers=OCTETS)
        await expect_location(registry, created, blob.content)

    async def test_the_location_of_an_upload_holds_a_uuid(self, registry: Registry) -> None:
        one, other = [(await begin(registry, REPOSITORY)).location for _ in range(2)]
        assert one != other
        parts = urlsplit(one).path.rpartition("/")[2].split("-")
        assert [len(part) for part in parts] == [8, 4, 4, 4, 12]

    async def test_an_upload_belongs_to_its_repository(self, registry: Registry) -> None:
        begun = await begin(registry, REPOSITORY)
        foreign = begun.location.replace(REPOSITORY, OTHER)
        (await registry.get(foreign)).expect_error(404, "BLOB_UPLOAD_UNKNOWN")
        await upload_status(registry, begun.location)


class TestAdvisedChunks:
    @pytest.fixture
    def sections(self) -> dict[str, object]:
        return {"uploads": {"chunk_min_length": CHUNK + 100}}

    async def test_a_registry_says_how_large_chunks_should_be(self, registry: Registry) -> None:
        assert (await begin(registry, REPOSITORY)).headers["OCI-Chunk-Min-Length"] == str(CHUNK + 100)

    @pytest.mark.parametrize("name", [name for name in STYLES if name.startswith("chunks")])
    async def test_chunks_of_that_size_are_taken(self, registry: Registry, name: str) -> None:
        blob = some_blob(size=3 * CHUNK + 50)
        await expect_location(registry, await STYLES[name](registry, REPOSITORY, blob), blob.content)


SIZE = 2048


class TestRanges:
    @each_algorithm
    async def test_a_part_of_a_blob(self, registry: Registry, algorithm: str) -> None:
        blob = some_blob(algorithm, SIZE)
        await post_only(registry, REPOSITORY, blob)
        target = f"/v2/{REPOSITORY}/blobs/{blob.digest}"
        parts = {"500-1499": (500, 1499), "500-": (500, 2047), "-500": (1548, 2047), "2000-5000": (2000, 2047)}
        for asked, (first, last) in parts.items():
            answer = await registry.get(target, headers=[("Range", f"bytes={asked}")])
            assert answer.expect(206).body == blob.content[first : last + 1]
            assert answer.headers.getall("Content-Range") == [f"bytes {first}-{last}/{SIZE}"]
            assert answer.headers.getall("Content-Length") == [str(last + 1 - first)]
            assert answer.headers.getall("Docker-Content-Digest") == [blob.digest]

    @each_algorithm
    async def test_a_range_beyond_the_end_is_refused(self, registry: Registry, algorithm: str) -> None:
        blob = some_blob(algorithm, SIZE)
        await post_only(registry, REPOSITORY, blob)
        target = f"/v2/{REPOSITORY}/blobs/{blob.digest}"
        answer = await registry.get(target, headers=[("Range", "bytes=5000-10000")])
        assert answer.expect_error(416, "RANGE_INVALID").headers["Content-Range"] == f"bytes */{SIZE}"

    @each_algorithm
    async def test_a_range_that_is_none_is_refused_or_ignored(self, registry: Registry, algorithm: str) -> None:
        # RFC 9110 §14.1.1: 500-0 is invalid, and a server may ignore it or answer 416.
        blob = some_blob(algorithm, SIZE)
        await post_only(registry, REPOSITORY, blob)
        answer = await registry.get(f"/v2/{REPOSITORY}/blobs/{blob.digest}", headers=[("Range", "bytes=500-0")])
        assert answer.expect(200, 416).status == 416 or answer.body == blob.content
