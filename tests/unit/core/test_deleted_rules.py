"""What is left of a rule: every repository that it served stays whole, on its own."""

from dataclasses import replace
from datetime import timedelta

import pytest

from proxy.core.rules import Resolution
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import Tag
from tests.support.documents import image, index
from tests.unit.core.conftest import RULE, Bench

LAYER = b"the bytes of a layer"
CHILD = image(b"{}", LAYER)
LATEST = Tag("latest")


@pytest.fixture
def twins(bench: Bench) -> tuple[Resolution, Resolution]:
    """One upstream repository, as two rules without credentials reach it."""
    bench.rules = (replace(RULE, ns=True), replace(RULE, prefix="mirror"))
    return bench.resolve("quay/app/web"), bench.resolve("mirror/app/web")


async def read(bench: Bench, resolution: Resolution, content: bytes) -> None:
    digest = bench.web.put_blob(content)
    source = await bench.blobs.open(resolution, digest)
    assert b"".join([part async for part in source.stream(0, source.total)]) == content
    source.close()


async def test_blobs_that_were_served_stay_each_repositorys_own(
    bench: Bench, twins: tuple[Resolution, Resolution]
) -> None:
    for resolution in twins:
        await read(bench, resolution, LAYER)
    await bench.tasks.drain(5)

    bench.rules = ()
    bench.start()
    for resolution in twins:
        hosted = bench.resolve(resolution.repository)
        assert hosted.remote is None
        await read(bench, hosted, LAYER)


async def test_a_blob_is_kept_for_a_repository_whose_proof_is_gone(
    bench: Bench, twins: tuple[Resolution, Resolution]
) -> None:
    first, _ = twins
    await read(bench, first, LAYER)
    await bench.tasks.drain(5)
    bench.tasks.draining = False
    await bench.metadata.delete_repository(first.repository)
    await read(bench, first, LAYER)  # a moment later: it is in memory that the upstream showed it
    await bench.tasks.drain(5)

    bench.rules = ()
    bench.start()
    await read(bench, bench.resolve(first.repository), LAYER)


async def test_manifests_that_were_served_by_digest_stay_each_repositorys_own(
    bench: Bench, twins: tuple[Resolution, Resolution]
) -> None:
    child = bench.web.put(CHILD)
    bench.web.put(index(CHILD), LATEST, media_type="application/vnd.oci.image.index.v1+json")
    for resolution in twins:
        await bench.manifests.get(resolution, LATEST)
        await bench.manifests.get(resolution, child)

    bench.rules = ()
    bench.start()
    for resolution in twins:
        hosted = bench.resolve(resolution.repository)
        assert (await bench.manifests.get(hosted, child)).raw == CHILD


async def test_a_tag_whose_head_was_asked_is_kept_though_nothing_negative_is_remembered(bench: Bench) -> None:
    bench.with_policy(negative_ttl=timedelta(0))
    digest = bench.web.put(CHILD, LATEST)
    head = await bench.manifests.head(bench.resolve(), LATEST)
    assert head.digest == digest
    await bench.manifests.get(bench.resolve(), digest)

    record = await bench.metadata.tag(bench.resolve().repository, LATEST)
    assert record is not None
    assert record.digest == digest


@pytest.mark.parametrize("ecr", [False, True])
async def test_an_unknown_repository_is_told_of_in_the_words_of_the_character(bench: Bench, *, ecr: bool) -> None:
    bench.with_character(ecr=ecr)
    with pytest.raises(ProxyError) as refused:
        await bench.manifests.get(bench.resolve("team/app"), LATEST)
    with pytest.raises(ProxyError) as unlisted:
        await bench.listings.tags(bench.resolve("team/app"), None, "")

    sentence = "The repository with name 'team/app' does not exist in the registry with id '000000000000'"
    for error in (refused.value, unlisted.value):
        assert error.code is ErrorCode.NAME_UNKNOWN
        assert error.message == (sentence if ecr else ErrorCode.NAME_UNKNOWN.message)
