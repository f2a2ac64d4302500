"""The contract of lists of repositories: all of them, in spans of names, by name, and those with a policy."""

from dataclasses import replace

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import RepositoryDetails
from proxy.model.name_spans import join_spans, span_of_name, span_of_prefix
from proxy.model.reference import RepositoryName
from tests.support.metadata import remember


@pytest.fixture
def store(metadata: RegistryStore) -> RegistryStore:
    return metadata


async def test_repositories_are_paged_in_spans_of_names(store: RegistryStore) -> None:
    for name in ("a", "a-b", "a/b", "a/c", "a/c/d", "a0", "b/x", "c", "d/e"):
        await remember(store, repository=RepositoryName(name))
    spans = join_spans([span_of_prefix("a/"), span_of_name("c"), span_of_name("b"), span_of_prefix("d/"), None])

    async def page(after: str, limit: int) -> list[str]:
        names = await store.repositories(after, limit, spans)
        assert [record.name for record in await store.repository_records(after, limit, spans)] == names
        return list(names)

    assert await page("", 100) == ["a/b", "a/c", "a/c/d", "c", "d/e"]
    assert await page("", 4) == ["a/b", "a/c", "a/c/d", "c"]
    assert await page("a/c", 2) == ["a/c/d", "c"]
    assert await page("b", 100) == ["c", "d/e"]
    assert await page("d/e", 100) == []
    assert await page("", 0) == []
    assert await store.repositories("", 100, ()) == []


async def test_repositories_are_found_by_their_names(store: RegistryStore) -> None:
    names = [RepositoryName(name) for name in ("a", "b", "c")]
    for name in names:
        await remember(store, repository=name)
    found = await store.records_of([names[2], names[0], RepositoryName("none")])
    assert sorted(record.name for record in found) == ["a", "c"]
    assert [await store.repository(record.name) for record in found] == found
    assert await store.records_of([]) == []


async def test_repositories_with_a_policy_are_found(store: RegistryStore) -> None:
    for name, details in (
        ("d", RepositoryDetails(policy="{}")),
        ("c", RepositoryDetails(policy='{"policy":null}', resource_tags={"a": "b"})),
        ("b", RepositoryDetails(resource_tags={"policy": "x"}, lifecycle='{"policy":1}')),
        ("a", RepositoryDetails()),
    ):
        await store.create_repository(RepositoryRecord(RepositoryName(name), 0.0, details=details))
    assert [record.name for record in await store.policed_repositories("", 10)] == ["c", "d"]
    assert [record.name for record in await store.policed_repositories("", 1)] == ["c"]
    assert await store.policed_repositories("", 10) == await store.records_of(
        [RepositoryName("c"), RepositoryName("d")]
    )
    assert [record.name for record in await store.policed_repositories("c", 10)] == ["d"]
    await store.alter_repository(RepositoryName("c"), lambda old: replace(old, details=RepositoryDetails()))
    assert [record.name for record in await store.policed_repositories("", 10)] == ["d"]
