"""The contract of the `Changes` port, over every metadata store: each write is seen, and nothing else."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from proxy.core.ports import Listing, RepositoryRecord
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import ImageRecord, PullNote, RuleRecord, SecretRecord, TemplateRecord
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import Tag
from proxy.model.tag_policy import TagMutability, TagPolicy
from tests.support.metadata import BLOB, HUB, OTHER, REPOSITORY, manifest, push_of, remember, tag

Deed = Callable[[RegistryStore], Awaitable[object]]

LATEST = Tag("latest")
IMMUTABLE = TagPolicy(TagMutability.IMMUTABLE)
RULE = RuleRecord("quay", "quay.io", 1.0)
TEMPLATE = TemplateRecord("quay", (), 1.0, 1.0)
SECRET = SecretRecord("name", "abcdef", 1.0, 1.0)
CHILD = Descriptor("layer", Digest.of(b"child"), 7)


async def images(store: RegistryStore) -> list[ImageRecord]:
    return await store.images(REPOSITORY, "", 10)


async def remove_unchanged(store: RegistryStore) -> None:
    await store.remove_unchanged(REPOSITORY, await images(store))


# By the method that writes, and what is particular about it.
WRITES: dict[str, Deed] = {
    "remember": lambda s: remember(s, manifest("new")),
    "remember, with a tag": lambda s: remember(s, manifest("new"), tag=tag(digest=manifest("new").digest)),
    "push": lambda s: s.push(REPOSITORY, push_of("pushed", "v1"), None),
    "push, which moves a tag": lambda s: s.push(REPOSITORY, push_of("pushed", "latest"), None),
    "update_tag": lambda s: s.update_tag(REPOSITORY, tag(checked_at=999.0)),
    "delete_tag": lambda s: s.delete_tag(REPOSITORY, LATEST),
    "remove_tag": lambda s: s.remove_tag(REPOSITORY, LATEST, None),
    "delete_manifest": lambda s: s.delete_manifest(REPOSITORY, manifest().digest),
    "remove_images": lambda s: s.remove_images(REPOSITORY, [manifest().digest]),
    "remove_unchanged": remove_unchanged,
    "prove": lambda s: s.prove(REPOSITORY, Digest.of(b"another"), None),
    "disprove": lambda s: s.disprove(REPOSITORY, BLOB),
    "delete_repository": lambda s: s.delete_repository(REPOSITORY),
    "remove_repository": lambda s: s.remove_repository(REPOSITORY, force=True),
    "create_repository": lambda s: s.create_repository(RepositoryRecord(OTHER, 2.0)),
    "set_tag_policy": lambda s: s.set_tag_policy(REPOSITORY, IMMUTABLE),
    "alter_repository": lambda s: s.alter_repository(REPOSITORY, lambda old: replace(old, tag_policy=IMMUTABLE)),
    "note_pulls": lambda s: s.note_pulls([PullNote(REPOSITORY, manifest().digest, 99.0)]),
    "keep_listing": lambda s: s.keep_listing(REPOSITORY, "referrers", HUB.source, Listing(b"[]", 1.0)),
    "create_rule": lambda s: s.create_rule(replace(RULE, prefix="other"), None),
    "alter_rule": lambda s: s.alter_rule(RULE.key, lambda old: replace(old, updated_at=2.0)),
    "delete_rule": lambda s: s.delete_rule(RULE.key),
    "create_template": lambda s: s.create_template(replace(TEMPLATE, prefix="other")),
    "alter_template": lambda s: s.alter_template(TEMPLATE.key, lambda old: replace(old, updated_at=2.0)),
    "delete_template": lambda s: s.delete_template(TEMPLATE.key),
    "alter_document": lambda s: s.alter_document("policy", lambda _: "other"),
    "alter_secret": lambda s: s.alter_secret(SECRET.name, lambda _: None),
}

READS: dict[str, Deed] = {
    "repositories": lambda s: s.repositories("", 10),
    "has_repository": lambda s: s.has_repository(REPOSITORY),
    "tag": lambda s: s.tag(REPOSITORY, LATEST),
    "tags": lambda s: s.tags(REPOSITORY, None, "", 10),
    "repository": lambda s: s.repository(REPOSITORY),
    "manifest": lambda s: s.manifest(REPOSITORY, manifest().digest, HUB),
    "descriptor": lambda s: s.descriptor(REPOSITORY, CHILD.digest, HUB),
    "manifests_naming": lambda s: s.manifests_naming(REPOSITORY, CHILD.digest, HUB),
    "referrers": lambda s: s.referrers(REPOSITORY, BLOB, None, "", 10),
    "proven": lambda s: s.proven(REPOSITORY, BLOB, None),
    "standing": lambda s: s.standing(REPOSITORY, BLOB, HUB),
    "holders": lambda s: s.holders(BLOB, 10),
    "listing": lambda s: s.listing(REPOSITORY, "tags", HUB.source),
    "repository_records": lambda s: s.repository_records("", 10),
    "records_of": lambda s: s.records_of([REPOSITORY]),
    "policed_repositories": lambda s: s.policed_repositories("", 10),
    "images": images,
    "images_named": lambda s: s.images_named(REPOSITORY, [], [LATEST]),
    "parents": lambda s: s.parents(REPOSITORY, [CHILD.digest]),
    "rules": lambda s: s.rules(),
    "rules_revision": lambda s: s.rules_revision(),
    "templates": lambda s: s.templates(),
    "document": lambda s: s.document("policy"),
    "secret": lambda s: s.secret(SECRET.name),
    "secrets": lambda s: s.secrets("", 10),
}


async def fill(store: RegistryStore) -> None:
    await remember(store, manifest(), CHILD, tag=tag())
    await store.prove(REPOSITORY, BLOB, None)
    await store.keep_listing(REPOSITORY, "tags", HUB.source, Listing(b"[]", 1.0))
    await store.create_rule(RULE, None)
    await store.create_template(TEMPLATE)
    await store.alter_document("policy", lambda _: "{}")
    await store.alter_secret(SECRET.name, lambda _: SECRET)


def test_every_method_of_the_store_is_either_a_read_or_a_write_here() -> None:
    methods = {name for name, _ in inspect.getmembers(RegistryStore, inspect.iscoroutinefunction)}

    assert {name.partition(",")[0] for name in WRITES} | set(READS) == methods - {"close"}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_has_changed_the_generation_when_it_returns(metadata: RegistryStore, name: str) -> None:
    await fill(metadata)
    before = metadata.generation()
    await WRITES[name](metadata)

    assert metadata.generation() != before


@pytest.mark.parametrize("name", READS)
async def test_a_read_leaves_the_generation_as_it_is(metadata: RegistryStore, name: str) -> None:
    await fill(metadata)
    before = metadata.generation()
    await READS[name](metadata)

    assert metadata.generation() == before


async def test_no_generation_comes_back(metadata: RegistryStore) -> None:
    seen = [metadata.generation()]
    await fill(metadata)
    for text in ("a", "b") * 20:
        await metadata.push(REPOSITORY, push_of(text, "latest"), None)
        assert metadata.generation() not in seen
        seen.append(metadata.generation())


async def test_what_is_undone_is_seen_as_another_state(metadata: RegistryStore) -> None:
    await fill(metadata)
    before = metadata.generation()
    await metadata.prove(REPOSITORY, Digest.of(b"for a moment"), None)
    await metadata.disprove(REPOSITORY, Digest.of(b"for a moment"))

    assert metadata.generation() != before


@pytest.mark.parametrize("name", ["create_rule", "alter_rule", "delete_rule"])
async def test_a_change_of_rules_has_changed_their_generation_when_it_returns(
    metadata: RegistryStore, name: str
) -> None:
    await fill(metadata)
    before = metadata.rules_generation()
    await WRITES[name](metadata)

    assert metadata.rules_generation() != before


@pytest.mark.parametrize("name", READS)
async def test_a_read_leaves_the_generation_of_rules_as_it_is(metadata: RegistryStore, name: str) -> None:
    await fill(metadata)
    before = metadata.rules_generation()
    await READS[name](metadata)

    assert metadata.rules_generation() == before
