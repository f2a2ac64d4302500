"""Repositories: who may write to them, and how they come to be."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.core.rules import Resolution
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.unit.core.conftest import SOURCE, Bench

NAME = RepositoryName("team/app")
IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)


@pytest.fixture
def hosted(bench: Bench) -> Resolution:
    return bench.resolve(NAME)


def test_a_hosted_repository_takes_writes(bench: Bench, hosted: Resolution) -> None:
    bench.repositories.require_writable(hosted)


def test_a_cache_does_not_and_the_refusal_names_what_permits_it(bench: Bench) -> None:
    with pytest.raises(ProxyError) as raised:
        bench.repositories.require_writable(bench.resolve())
    error = raised.value
    assert (error.code, error.headers) == (ErrorCode.UNSUPPORTED, {"Allow": "GET, HEAD"})
    assert error.message == (
        f"quay/app/web is a cache of {SOURCE}: it cannot be written to; `push: allow` in the rule quay permits it"
    )
    assert error.detail == {"rule": "quay", "upstream": SOURCE}


def test_a_cache_whose_rule_takes_pushes_is_writable(bench: Bench) -> None:
    bench.with_rule(push=True)
    bench.repositories.require_writable(bench.resolve())


async def test_a_push_makes_the_repository_once(bench: Bench, hosted: Resolution) -> None:
    await bench.repositories.ensure(hosted)
    made = bench.clock.now()
    bench.clock.advance(60)
    await bench.repositories.ensure(hosted)
    assert (await bench.repositories.describe(hosted)).created_at == made


async def test_with_ecr_a_push_makes_none_and_is_told_so_in_the_words_of_ecr(bench: Bench, hosted: Resolution) -> None:
    bench.with_character(ecr=True)
    with pytest.raises(ProxyError) as raised:
        await bench.repositories.ensure(hosted)
    assert raised.value.code is ErrorCode.NAME_UNKNOWN
    assert raised.value.message == (
        "The repository with name 'team/app' does not exist in the registry with id '000000000000'"
    )
    assert await bench.repositories.create(NAME)
    await bench.repositories.ensure(hosted)


async def test_creating_again_changes_nothing(bench: Bench, hosted: Resolution) -> None:
    assert await bench.repositories.create(NAME, IMMUTABLE)
    assert not await bench.repositories.create(NAME)
    assert (await bench.repositories.describe(hosted)).tag_policy == IMMUTABLE


async def test_a_description_tells_whose_policy_the_tags_obey(bench: Bench, hosted: Resolution) -> None:
    configured = replace(hosted, tag_policy=TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*",)))
    await bench.repositories.create(NAME)
    found = await bench.repositories.describe(configured)
    assert (found.name, found.tag_policy, found.own) == (NAME, configured.tag_policy, False)
    await bench.repositories.set_tag_policy(NAME, IMMUTABLE)
    found = await bench.repositories.describe(configured)
    assert (found.tag_policy, found.own) == (IMMUTABLE, True)
    await bench.repositories.set_tag_policy(NAME, None)
    assert not (await bench.repositories.describe(configured)).own


@pytest.mark.parametrize("call", ["describe", "set_tag_policy", "require"])
async def test_an_unknown_repository_is_told(bench: Bench, hosted: Resolution, call: str) -> None:
    service = bench.repositories
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "describe": lambda: service.describe(hosted),
        "set_tag_policy": lambda: service.set_tag_policy(NAME, IMMUTABLE),
        "require": lambda: service.require(NAME),
    }
    with pytest.raises(ProxyError) as raised:
        await calls[call]()
    assert raised.value.code is ErrorCode.NAME_UNKNOWN
    assert raised.value.message == ErrorCode.NAME_UNKNOWN.message


async def test_a_full_disk_is_told(bench: Bench, hosted: Resolution) -> None:
    await bench.repositories.create(NAME)
    bench.metadata.full = True
    await bench.repositories.ensure(hosted)
    for work in (
        bench.repositories.create(RepositoryName("other")),
        bench.repositories.set_tag_policy(NAME, IMMUTABLE),
    ):
        with pytest.raises(ProxyError) as raised:
            await work
        assert raised.value.code is ErrorCode.STORAGE_FULL
