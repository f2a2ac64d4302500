from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from proxy.model.media_types import DOCKER_MANIFEST, OCI_INDEX
from tests.emulators import Content, Quay, run
from tests.emulators.content import SBOM, SCHEMA1
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock

REALM = "https://quay.io/v2/auth"


@pytest.fixture
async def quay(clock: FakeClock) -> AsyncIterator[Quay]:
    async with run(Quay(Content(), clock)) as running:
        yield running


@pytest.fixture
async def plain(quay: Quay) -> AsyncIterator[PlainClient]:
    async with PlainClient(quay) as client:
        yield client


async def test_tokens_need_a_well_formed_scope(plain: PlainClient, quay: Quay) -> None:
    assert (await plain.ask(f"{REALM}?service=quay.io")).status == 401
    assert (await plain.ask(f"{REALM}?service=quay.io", account=quay.account)).status == 200
    assert (await plain.ask(f"{REALM}?service=quay.io&scope=nonsense")).status == 400
    answered = await plain.ask(f"{REALM}?service=quay.io&scope=repository:{quay.public_repository}:pull")
    assert set(answered.json) == {"token"}


async def test_a_type_that_is_not_accepted_is_converted_by_tag_only(plain: PlainClient, quay: Quay) -> None:
    index = quay.content.public.index
    for accept in ("*/*", "application/json", DOCKER_MANIFEST):
        converted = await plain.pull("manifests/latest", Accept=accept)
        assert converted.headers["Content-Type"] == SCHEMA1
        assert converted.headers["Docker-Content-Digest"] != str(index.digest)
    head = await plain.pull("manifests/latest", method="HEAD", Accept="*/*")
    assert head.headers["Content-Type"] == SCHEMA1
    assert (await plain.pull("manifests/latest", Accept=OCI_INDEX)).body == index.raw
    assert (await plain.pull(f"manifests/{index.digest}", Accept="*/*")).body == index.raw


async def test_an_index_without_amd64_cannot_be_converted(plain: PlainClient, quay: Quay) -> None:
    public = quay.content.public
    public.put(public.index.document | {"manifests": [public.children[1].descriptor()]}, "arm")
    answered = await plain.pull("manifests/arm", Accept="*/*")
    assert (answered.status, answered.code) == (404, "MANIFEST_UNKNOWN")


async def test_a_deleted_tag_has_expired(plain: PlainClient, quay: Quay) -> None:
    quay.content.public.delete_tag("latest")
    answered = await plain.pull("manifests/latest")
    assert (answered.status, answered.code) == (404, "TAG_EXPIRED")


async def test_blobs_are_redirected_with_a_web_page_and_heads_are_not(
    plain: PlainClient, quay: Quay, clock: FakeClock
) -> None:
    blob = quay.content.public.big_blob
    got = await plain.pull(f"blobs/{blob.digest}")
    assert (got.status, got.headers["Content-Type"]) == (302, "text/html")
    assert b"<a href=" in got.body
    assert got.headers["Docker-Content-Digest"] == str(blob.digest)
    assert got.headers["Cache-Control"] == "max-age=31536000"
    assert "X-Amz-Expires=600" in got.location
    assert "&cf_sign=" in got.location
    head = await plain.pull(f"blobs/{blob.digest}", method="HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(blob.size))
    clock.advance(600)
    assert (await plain.ask(got.location)).status == 403


async def test_referrers_are_filtered_and_unknown_subjects_an_error(plain: PlainClient, quay: Quay) -> None:
    public = quay.content.public
    found = await plain.pull(f"referrers/{public.index.digest}?artifactType={quote(SBOM, safe='')}")
    assert [each["digest"] for each in found.json["manifests"]] == [str(public.artifact.digest)]
    assert found.headers["OCI-Filters-Applied"] == "artifactType"
    none = await plain.pull(f"referrers/{public.index.digest}?artifactType=other")
    assert none.json["manifests"] == []
    unknown = await plain.pull(f"referrers/sha256:{'0' * 64}")
    assert (unknown.status, unknown.code) == (400, "MANIFEST_INVALID")


async def test_tags_come_in_hundreds_as_they_were_made(plain: PlainClient, quay: Quay) -> None:
    public = quay.content.public
    public.tags |= {f"v{number}": public.index.digest for number in range(150, 0, -1)}
    first = await plain.pull("tags/list?n=1000")
    assert first.json["tags"] == list(public.tags)[:100]
    link = f'<https://quay.io/v2/{quay.public_repository}/tags/list?n=100&last={list(public.tags)[99]}>; rel="next"'
    assert first.headers["Link"] == link
    rest = await plain.pull(f"tags/list?n=100&last={list(public.tags)[99]}")
    assert rest.json["tags"] == list(public.tags)[100:]
    assert "Link" not in rest.headers


async def test_bursts_are_answered_by_the_web_server(plain: PlainClient, quay: Quay, clock: FakeClock) -> None:
    quay.bursts.enforced = True
    answers = [(await plain.ask("/v2/")).status for _ in range(6)]
    assert answers == [401] * 5 + [429]
    refused = await plain.ask("/v2/")
    assert refused.headers["Content-Type"] == "text/html"
    clock.advance(1)
    assert (await plain.ask("/v2/")).status == 401
