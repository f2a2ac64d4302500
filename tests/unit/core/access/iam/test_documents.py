"""Policies at hand: read again once anything was written, parsed once."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.policy_documents import Effect
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.access import Gate, policy, statement

APP = RepositoryName("team/app")


class CountingStore(MemoryMetadataStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
        self.asked += 1
        return await super().repository(name)

    async def document(self, name: str) -> str | None:
        self.asked += 1
        return await super().document(name)

    async def records_of(self, names: Sequence[RepositoryName]) -> list[RepositoryRecord]:
        self.asked += 1
        return await super().records_of(names)

    async def policed_repositories(self, after: str, limit: int) -> list[RepositoryRecord]:
        self.asked += 1
        return await super().policed_repositories(after, limit)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def gate(store: CountingStore) -> Gate:
    return Gate(metadata=store)


async def test_nothing_is_asked_while_nothing_is_written(gate: Gate, store: CountingStore) -> None:
    await gate.hang("team/app", policy(statement("Deny")))
    await gate.policies.set_registry_policy(policy(statement("Deny", Resource="*")))
    for _ in range(3):
        assert (await gate.documents.repository(APP)).policy is not None
        assert (await gate.documents.repository(RepositoryName("none"))).policy is None
        assert await gate.documents.registry() is not None
    assert store.asked == 3


async def test_no_policy_is_remembered_too(gate: Gate, store: CountingStore) -> None:
    for _ in range(3):
        assert await gate.documents.registry() is None
    assert store.asked == 1


async def test_what_was_written_is_obeyed_at_once(gate: Gate) -> None:
    await gate.hang("team/app")
    assert (await gate.documents.repository(APP)).policy is None
    assert await gate.documents.registry() is None
    await gate.policies.set_repository_policy(APP, policy(statement("Deny")))
    await gate.policies.set_registry_policy(policy(statement("Deny", Resource="*")))
    assert (await gate.documents.repository(APP)).policy is not None
    assert await gate.documents.registry() is not None
    await gate.policies.delete_repository_policy(APP)
    await gate.policies.delete_registry_policy()
    assert (await gate.documents.repository(APP)).policy is None
    assert await gate.documents.registry() is None


async def test_what_is_written_while_it_is_read_is_read_again(gate: Gate, store: CountingStore) -> None:
    await gate.hang("team/app")
    late = policy(statement("Deny"))

    class Late(CountingStore):
        async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
            before = await store.repository(name)
            if before is not None and before.details.policy is None:
                await gate.policies.set_repository_policy(APP, late)
            return before

        def generation(self) -> object:
            return store.generation()

    documents = PolicyDocuments(Late())
    await documents.repository(APP)
    assert (await documents.repository(APP)).policy is not None


async def test_many_are_looked_at_together(gate: Gate, store: CountingStore) -> None:
    names = [RepositoryName(f"team/{letter}") for letter in ("a", "a-1", "a/b", "a0", "b", "z")]
    for name in names:
        await gate.hang(name, policy(statement("Deny")))
    await gate.hang("team")  # before the first of them
    store.asked = 0
    await gate.documents.prepare(names)
    await gate.documents.prepare(names)
    await gate.documents.prepare([])
    found = [(await gate.documents.repository(name)).policy for name in names]
    assert None not in found
    assert store.asked == 1


async def test_a_text_is_parsed_once(gate: Gate) -> None:
    text = policy(statement("Deny"))
    await gate.hang("team/app", text)
    await gate.hang("team/other", text)
    first = (await gate.documents.repository(APP)).policy
    assert (await gate.documents.repository(RepositoryName("team/other"))).policy is first
    await gate.hang("team/third")
    assert (await gate.documents.repository(APP)).policy is first


@pytest.mark.parametrize("text", ["", "{}", '{"Statement": []}', "nonsense"])
async def test_what_cannot_be_read_keeps_everybody_out(gate: Gate, text: str) -> None:
    await gate.hang("team/app", text)
    found = (await gate.documents.repository(APP)).policy
    assert found is not None
    assert [(one.effect, one.actions) for one in found.statements] == [(Effect.DENY, ("*",))]


async def test_what_cannot_be_read_is_told_to_the_log_once(gate: Gate) -> None:
    with capture_logs() as events:
        for name in ("team/app", "team/other"):
            await gate.hang(name, "nonsense")
            await gate.documents.repository(RepositoryName(name))
    assert [event["event"] for event in events] == ["policy.unreadable"]
