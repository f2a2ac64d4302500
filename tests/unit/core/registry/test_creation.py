"""Repositories that nobody created."""

import asyncio
from collections.abc import Collection

import pytest

from proxy.core.registry.creation import RepositoryCreator
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import PLAIN, Encryption, RepositoryDetails, Scenario, TemplateRecord
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.metadata.store import SqlMetadataStore
from proxy.telemetry.audit import AuditEvent
from proxy.telemetry.logging import REQUEST_ID
from tests.support.clock import FakeClock

NAME = RepositoryName("quay/team/app")
PULL, PUSH, REPLICATION = Scenario.PULL_THROUGH_CACHE, Scenario.CREATE_ON_PUSH, Scenario.REPLICATION
KEPT = TagPolicy(TagMutability.IMMUTABLE)


def creator(store: RegistryStore, *, ecr: bool = False) -> RepositoryCreator:
    return RepositoryCreator(store, RegistryIdentity(ecr=ecr), FakeClock())


def template(prefix: str, *scenarios: Scenario) -> TemplateRecord:
    return TemplateRecord(prefix, scenarios or (PULL, PUSH), created_at=1.0, updated_at=1.0)


async def keep(store: RegistryStore, templates: Collection[TemplateRecord]) -> None:
    for record in templates:
        await store.create_template(record)


@pytest.fixture
def store() -> MemoryMetadataStore:
    return MemoryMetadataStore()


@pytest.mark.parametrize(
    ("name", "scenario", "prefix"),
    [
        ("prod/app", PULL, "prod"),
        ("prod/team/app", PULL, "prod/team/"),
        ("prod/team/deeper/app", PULL, "prod/team/"),
        ("prod/teams/app", PULL, "prod"),
        ("prod/team", PULL, "prod"),  # a template is for what lies below its prefix
        ("prod", PULL, "ROOT"),
        ("prods/app", PULL, "ROOT"),
        ("app", PULL, "ROOT"),
        # The scenario comes first: a longer prefix for another one is no obstacle.
        ("prod/team/app", PUSH, "prod"),
        ("app", PUSH, None),
        ("prod/app", REPLICATION, None),
    ],
)
async def test_the_longest_prefix_of_those_for_the_scenario_applies(
    store: MemoryMetadataStore, name: str, scenario: Scenario, prefix: str | None
) -> None:
    await keep(store, [template("ROOT", PULL), template("prod"), template("prod/team/", PULL), template("root", PULL)])

    found = await creator(store).template_for(RepositoryName(name), scenario)

    assert (found and found.prefix) == prefix


async def test_a_repository_gets_all_that_its_template_says(store: MemoryMetadataStore) -> None:
    said = TemplateRecord(
        "quay",
        (PULL,),
        created_at=1.0,
        updated_at=2.0,
        description="of templates only",
        encryption=Encryption("KMS", "key"),
        resource_tags={"team": "core"},
        tag_policy=KEPT,
        repository_policy="{policy}",
        lifecycle_policy="{lifecycle}",
        custom_role_arn="of templates only",
    )
    await keep(store, [said])

    assert await creator(store).ensure(NAME, PULL) is True

    made = await store.repository(NAME)
    assert made is not None
    assert made.created_at == FakeClock().now()
    assert made.tag_policy == KEPT
    assert made.details == RepositoryDetails(
        encryption=Encryption("KMS", "key"),
        resource_tags={"team": "core"},
        policy="{policy}",
        lifecycle="{lifecycle}",
    )


async def test_a_repository_that_is_there_is_not_changed(store: MemoryMetadataStore) -> None:
    assert await creator(store).ensure(NAME, PULL) is True
    before = await store.repository(NAME)
    await keep(store, [TemplateRecord("ROOT", (PULL,), created_at=1.0, updated_at=1.0, tag_policy=KEPT)])

    assert await creator(store).ensure(NAME, PULL) is True

    assert await store.repository(NAME) == before


@pytest.mark.parametrize("ecr", [False, True])
async def test_a_pull_without_a_template_makes_a_plain_repository(store: MemoryMetadataStore, *, ecr: bool) -> None:
    await keep(store, [template("quay", PUSH), template("other")])

    assert await creator(store, ecr=ecr).ensure(NAME, PULL) is True

    made = await store.repository(NAME)
    assert made is not None
    assert (made.tag_policy, made.details) == (None, PLAIN)


async def test_a_push_without_a_template_makes_none_where_ecr_makes_none(store: MemoryMetadataStore) -> None:
    await keep(store, [template("quay", PULL)])

    assert await creator(store, ecr=True).ensure(NAME, PUSH) is False
    assert await store.repository(NAME) is None
    assert await creator(store).ensure(NAME, PUSH) is True
    # Now it is there, whoever made it.
    assert await creator(store, ecr=True).ensure(NAME, PUSH) is True


async def test_a_push_makes_what_a_template_for_pushes_says(store: MemoryMetadataStore) -> None:
    await keep(store, [template("quay", PUSH)])

    assert await creator(store, ecr=True).ensure(NAME, PUSH) is True
    assert await store.has_repository(NAME)


async def test_parallel_first_pulls_make_one_whole_repository(sql: SqlMetadataStore) -> None:
    tags = {"team": "core"}
    said = TemplateRecord("quay", (PULL,), created_at=1.0, updated_at=1.0, tag_policy=KEPT, resource_tags=tags)
    await keep(sql, [said])
    # Each later caller would write another time: only one may.
    clocks = [FakeClock(float(number)) for number in range(1, 33)]
    creators = [RepositoryCreator(sql, RegistryIdentity(), clock) for clock in clocks]

    async def ensure(one: RepositoryCreator) -> float:
        assert await one.ensure(NAME, PULL) is True
        found = await sql.repository(NAME)
        assert found is not None
        assert (found.tag_policy, found.details.resource_tags) == (KEPT, tags)
        return found.created_at

    assert len(set(await asyncio.gather(*map(ensure, creators)))) == 1


async def test_the_audit_trail_is_told_once_of_each_that_was_made(store: MemoryMetadataStore) -> None:
    class Trail:
        """The `AuditTrail` that remembers."""

        def __init__(self) -> None:
            self.told: list[tuple[str, str, str | None, str | None]] = []

        async def record(self, event: AuditEvent) -> None:
            self.told.append((event.operation, event.principal, event.subject, event.request_id))

    trail = Trail()
    audited = RepositoryCreator(store, RegistryIdentity(), FakeClock(), trail)
    token = REQUEST_ID.set("r-1")
    try:
        await asyncio.gather(*(audited.ensure(NAME, PULL) for _ in range(3)))
        await audited.ensure(RepositoryName("team/app"), PUSH)
    finally:
        REQUEST_ID.reset(token)
    assert trail.told == [
        ("ecr:CreateRepository", "system:pull_through_cache", NAME, "r-1"),
        ("ecr:CreateRepository", "system:create_on_push", "team/app", "r-1"),
    ]
