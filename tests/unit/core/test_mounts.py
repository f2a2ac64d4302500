"""Mounting blobs from other repositories: what may be had, and what is never told about the source."""

from dataclasses import replace

import pytest

from proxy.core.rules import Resolution
from proxy.core.uploads import Chunk
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance
from tests.support.bodies import body
from tests.support.uploads import anyone
from tests.unit.core.conftest import ACCOUNT, SOURCE, Bench

BLOB = b"the bytes of a layer"
DIGEST = Digest.of(BLOB)
HOLDER = "team/base"


@pytest.fixture
def target(bench: Bench) -> Resolution:
    return bench.resolve("team/app")


@pytest.fixture
async def held(bench: Bench, target: Resolution) -> Resolution:
    """The target, while another repository holds the blob."""
    await bench.uploads.whole(bench.resolve(HOLDER), DIGEST, Chunk(body(BLOB)))
    return target


async def is_here(bench: Bench, resolution: Resolution) -> bool:
    try:
        return (await bench.blobs.head(resolution, DIGEST)).size == len(BLOB)
    except ProxyError as error:
        if error.code is not ErrorCode.BLOB_UNKNOWN:
            raise
        return False


async def pull(bench: Bench, name: str = "quay/app/web") -> None:
    """Pull the blob through."""
    bench.web.put_blob(BLOB)
    (await bench.blobs.open(bench.resolve(name), DIGEST)).close()
    await bench.tasks.drain(5)


@pytest.mark.parametrize("source", [HOLDER, None], ids=["named", "any"])
async def test_a_blob_is_mounted_from_who_holds_it(bench: Bench, held: Resolution, source: str | None) -> None:
    assert not await is_here(bench, held)
    assert await bench.uploads.mount(held, DIGEST, source, anyone)
    assert await is_here(bench, held)
    assert bench.counted("blob", "mounted") == 1


@pytest.mark.parametrize("source", [HOLDER, None], ids=["named", "any"])
async def test_a_blob_is_not_mounted_from_where_the_client_may_not_pull(
    bench: Bench, held: Resolution, source: str | None
) -> None:
    asked = list[RepositoryName]()

    async def nobody(found: Resolution) -> bool:
        asked.append(found.repository)
        return False

    assert not await bench.uploads.mount(held, DIGEST, source, nobody)
    assert not await is_here(bench, held)
    assert asked == [HOLDER]


async def test_what_is_mounted_stays_when_the_source_goes(bench: Bench, held: Resolution) -> None:
    await bench.uploads.mount(held, DIGEST, HOLDER, anyone)
    await bench.deletions.blob(bench.resolve(HOLDER), DIGEST)
    assert await is_here(bench, held)


@pytest.mark.parametrize(
    "source",
    [
        "team/app",  # itself
        "team/empty",
        "no/such",
        "",
        "/",
        "../team/base",
        "Team/Base",
        "team/base:latest",
        "team%2Fbase",
        "x" * 300,
        "quay",  # the prefix of a rule
        "quay/app/web",
        "quay/denied/app",
    ],
)
async def test_who_does_not_hold_it_gives_nothing_and_nothing_is_told(
    bench: Bench, held: Resolution, source: str
) -> None:
    bench.with_rule(deny=("denied/**",))
    denied = Provenance("quay.io/denied/app", "")
    await bench.metadata.prove(RepositoryName("quay/denied/app"), DIGEST, denied)
    await bench.repositories.create(RepositoryName("team/empty"))
    assert not await bench.uploads.mount(held, DIGEST, source, anyone)
    assert not await is_here(bench, held)
    assert (bench.counted("blob", "mounted"), bench.counted("blob", "refused")) == (0, 0)
    assert bench.upstream.requests == []


async def test_a_repository_mounts_from_itself_what_it_holds(bench: Bench, target: Resolution) -> None:
    await bench.uploads.whole(target, DIGEST, Chunk(body(BLOB)))
    assert await bench.uploads.mount(target, DIGEST, "team/app", anyone)
    assert await bench.uploads.mount(target, DIGEST, None, anyone)


async def test_a_blob_that_was_pulled_through_is_mounted(bench: Bench, target: Resolution) -> None:
    await pull(bench)
    assert await bench.uploads.mount(target, DIGEST, "quay/app/web", anyone)
    assert await is_here(bench, target)


async def test_a_cache_gives_only_what_its_own_upstream_has_shown(bench: Bench, target: Resolution) -> None:
    await pull(bench)
    bench.with_rule(credentials=ACCOUNT)
    await bench.metadata.prove(RepositoryName("quay/app/other"), DIGEST, Provenance("elsewhere.test/x", ""))
    assert not await bench.uploads.mount(target, DIGEST, "quay/app/other", anyone)
    assert await bench.uploads.mount(target, DIGEST, "quay/app/web", anyone)  # this source has shown it, to whomever


async def test_what_upstream_only_said_to_hold_is_not_mounted(bench: Bench, target: Resolution) -> None:
    bench.web.put_blob(BLOB)
    await bench.blobs.head(bench.resolve(), DIGEST)
    assert not await bench.uploads.mount(target, DIGEST, "quay/app/web", anyone)
    await bench.metadata.prove(RepositoryName("quay/app/web"), DIGEST, Provenance(SOURCE, ""))
    assert not await bench.uploads.mount(target, DIGEST, None, anyone)


async def test_without_source_a_holder_that_is_denied_is_passed_over(bench: Bench, target: Resolution) -> None:
    await pull(bench)
    bench.with_rule(deny=("**",))
    assert not await bench.uploads.mount(target, DIGEST, None, anyone)
    await bench.uploads.whole(bench.resolve("zzz/last"), DIGEST, Chunk(body(BLOB)))
    assert await bench.uploads.mount(target, DIGEST, None, anyone)


async def test_rules_are_those_in_force(bench: Bench, target: Resolution) -> None:
    await pull(bench)
    bench.with_rule(deny=("**",))
    assert not await bench.uploads.mount(target, DIGEST, "quay/app/web", anyone)
    bench.with_rule(deny=())
    assert await bench.uploads.mount(target, DIGEST, "quay/app/web", anyone)


async def test_a_cache_that_takes_pushes_takes_mounts(bench: Bench, held: Resolution) -> None:
    bench.with_rule(push=True)
    assert await bench.uploads.mount(bench.resolve(), DIGEST, HOLDER, anyone)
    assert await is_here(bench, bench.resolve())
    assert bench.upstream.requests == []
    assert not await is_here(bench, replace(held, repository=RepositoryName("team/other")))


async def test_a_full_disk_is_told(bench: Bench, held: Resolution) -> None:
    await bench.repositories.create(held.repository)
    bench.metadata.full = True
    with pytest.raises(ProxyError) as raised:
        await bench.uploads.mount(held, DIGEST, HOLDER, anyone)
    assert raised.value.code is ErrorCode.STORAGE_FULL
    assert (bench.counted("blob", "no_room"), await is_here(bench, held)) == (1, False)
