"""Tag policies against regular expressions, and the metadata stores against a model that is a few dictionaries."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.ports import (
    ContentMissingError,
    ManifestPush,
    MetadataStore,
    RepositoryRecord,
    RepositoryUnknownError,
    TagKeptError,
    TagRecord,
    TagWrite,
)
from proxy.model.descriptor import Descriptor
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, Provenance
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.metadata import MemoryMetadataStore, SqlMetadataStore
from proxy.storage.metadata.migrate import migrate
from tests.support.metadata import BLOB, HUB, OTHER, QUAY, REPOSITORY, manifest, tag

T = TypeVar("T")

# Few letters, so that filters and tags meet often.
words = st.text("aAb1._-", max_size=5)
filters = st.lists(words, min_size=1, max_size=3).map("*".join).filter(bool)
tags = st.text("aAb1._-", min_size=1, max_size=9)


def stays(mutability: str, patterns: Sequence[str], name: str) -> bool:
    """Tell, by regular expressions over the whole tag, whether a policy keeps a tag that exists from moving."""
    chosen = any(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns)
    return mutability.startswith("IMMUTABLE") != chosen


@given(st.sampled_from(["MUTABLE", "IMMUTABLE"]), st.lists(filters, max_size=5), tags)
@example("IMMUTABLE", ["a*a"], "a")
@example("MUTABLE", ["*a*"], "a")
@example("IMMUTABLE", ["**"], "a")
@example("IMMUTABLE", ["a"], "A")
@example("MUTABLE", ["a"], "aa")
@example("MUTABLE", ["1.1"], "1a1")
@example("MUTABLE", ["aab*ab*b"], "aabab")
def test_a_tag_stays_exactly_where_the_regular_expressions_say(mode: str, patterns: list[str], name: str) -> None:
    mutability = TagMutability(f"{mode}_WITH_EXCLUSION" if patterns else mode)
    assert TagPolicy(mutability, tuple(patterns)).may_move(Tag(name)) != stays(mutability, patterns, name)


@given(st.sampled_from(list(TagMutability)), st.lists(st.text("a*-?[/ \n", max_size=5), max_size=6))
def test_a_policy_is_accepted_exactly_as_it_is_described(mutability: TagMutability, patterns: list[str]) -> None:
    good = all(re.fullmatch(r"[a-]*(\*[a-]*){0,2}", pattern) and pattern for pattern in patterns)
    exclusion = mutability.endswith("_WITH_EXCLUSION")
    if good and (1 <= len(patterns) <= 5 if exclusion else not patterns):
        assert TagPolicy(mutability, tuple(patterns)).filters == tuple(patterns)
        return
    with pytest.raises(ValueError, match="filter"):
        TagPolicy(mutability, tuple(patterns))


# --- stores -------------------------------------------------------------------------------------------------------

REPOSITORIES = (REPOSITORY, OTHER)
TEXTS = ("one", "two", "three")
TAGS = ("latest", "v1", "v2")
SOURCES = (UPLOADED, HUB.source, QUAY.source)

repositories = st.sampled_from(REPOSITORIES)
texts = st.sampled_from(TEXTS)
names = st.sampled_from(TAGS)
policies = st.sampled_from(
    [
        TagPolicy(),
        TagPolicy(TagMutability.IMMUTABLE),
        TagPolicy(TagMutability.IMMUTABLE_WITH_EXCLUSION, ("latest", "*2")),
        TagPolicy(TagMutability.MUTABLE_WITH_EXCLUSION, ("v*", "LATEST")),
    ]
)


@dataclass
class Known:
    """What a repository should have; `held` and `proofs` by where they came from."""

    policy: TagPolicy | None = None
    tags: dict[str, TagRecord] = field(default_factory=dict)
    held: set[tuple[str, Provenance | None]] = field(default_factory=set)
    proven: bool = False


@cache
def empty_database() -> bytes:
    """Return a migrated database with nothing in it: migrating one for each example would take most of the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.sqlite"
        migrate(path)
        return path.read_bytes()


class Stores(RuleBasedStateMachine):
    """Both stores go through the same; after each step both have what the model has."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        path = self.folder / "m.sqlite"
        path.write_bytes(empty_database())
        self.stores: tuple[MetadataStore, ...] = (
            self.runner.run(SqlMetadataStore.open(path)),
            MemoryMetadataStore(),
        )
        self.known: dict[RepositoryName, Known] = {}

    def teardown(self) -> None:
        for store in self.stores:
            self.runner.run(store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def run(self, work: Coroutine[Any, Any, T]) -> T | BaseException:
        """Return the result, or the refusal that the port has for it."""
        try:
            return self.runner.run(work)
        except (TagKeptError, ContentMissingError, RepositoryUnknownError) as error:
            return error

    def expect(self, outcomes: Sequence[object], expected: object) -> None:
        assert list(outcomes) == [expected] * len(self.stores)

    def refused(self, name: RepositoryName, write: TagWrite) -> TagRecord | None:
        """Return the first tag of `write` that has to stay."""
        known = self.known.get(name, Known())
        policy = known.policy or write.default
        for record in write.records:
            kept = known.tags.get(record.tag)
            if kept is None:
                continue
            repeated = write.repeat and kept.digest == record.digest
            if kept.source in write.spared or (stays(policy.mutability, policy.filters, record.tag) and not repeated):
                return kept
        return None

    # --- what happens ---

    @rule(name=repositories, policy=st.none() | policies)
    def create(self, name: RepositoryName, policy: TagPolicy | None) -> None:
        record = RepositoryRecord(name, 1.5, policy)
        made = [self.run(store.create_repository(record)) for store in self.stores]
        self.expect(made, name not in self.known)
        self.known.setdefault(name, Known(policy))

    @rule(name=repositories, policy=st.none() | policies)
    def set_policy(self, name: RepositoryName, policy: TagPolicy | None) -> None:
        done = [self.run(store.set_tag_policy(name, policy)) for store in self.stores]
        self.expect(done, name in self.known)
        if name in self.known:
            self.known[name].policy = policy

    @rule(name=repositories)
    def delete_repository(self, name: RepositoryName) -> None:
        done = [self.run(store.delete_repository(name)) for store in self.stores]
        self.expect(done, self.known.pop(name, None) is not None)

    @rule(name=repositories, text=texts, tags=st.lists(names, max_size=3), default=policies, repeat=st.booleans(),
          child=texts | st.none(), blob=st.booleans())  # fmt: skip
    def push(
        self,
        name: RepositoryName,
        text: str,
        tags: list[str],
        default: TagPolicy,
        child: str | None,
        *,
        repeat: bool,
        blob: bool,
    ) -> None:
        record = manifest(text)
        write = TagWrite(
            tuple(tag(one, digest=record.digest, source=UPLOADED) for one in tags), default=default, repeat=repeat
        )
        children = () if child is None else (Descriptor("type", manifest(child).digest, 1),)
        push = ManifestPush(
            record, children, frozenset({BLOB} if blob else ()), frozenset(one.digest for one in children), write
        )
        ended = [self.run(store.push(name, push, None)) for store in self.stores]
        known = self.known.get(name)
        if known is None:
            assert [type(end) for end in ended] == [RepositoryUnknownError] * 2
            return
        missing = {BLOB} if blob and not known.proven else set()
        missing |= {manifest(child).digest} if child and child not in {one for one, _ in known.held} else set()
        if missing:
            assert [end.digests for end in ended if isinstance(end, ContentMissingError)] == [
                tuple(sorted(missing)),
            ] * 2
            return
        self.written(name, text, None, write, ended)

    @rule(name=repositories, text=texts, one=names, default=policies, source=st.sampled_from([HUB, QUAY]),
          spared=st.sampled_from([(), (UPLOADED,)]))  # fmt: skip
    def refresh(
        self,
        name: RepositoryName,
        text: str,
        one: str,
        default: TagPolicy,
        source: Provenance,
        spared: tuple[str, ...],
    ) -> None:
        record = manifest(text)
        write = TagWrite((tag(one, digest=record.digest, source=source.source),), default, spared=spared)
        ended = [self.run(store.remember(name, record, (), provenance=source, tags=write)) for store in self.stores]
        self.written(name, text, source, write, ended)

    def written(
        self,
        name: RepositoryName,
        text: str,
        source: Provenance | None,
        write: TagWrite,
        ended: Sequence[object],
    ) -> None:
        kept = self.refused(name, write)
        if kept is not None:
            assert [end.record for end in ended if isinstance(end, TagKeptError)] == [kept] * 2
            return
        self.expect(ended, None)
        known = self.known.setdefault(name, Known())
        known.held.add((text, source))
        known.tags |= {record.tag: record for record in write.records}

    @rule(name=repositories, one=names, source=st.none() | st.sampled_from(SOURCES))
    def delete_tag(self, name: RepositoryName, one: str, source: str | None) -> None:
        done = [self.run(store.delete_tag(name, Tag(one), source)) for store in self.stores]
        known = self.known.get(name, Known())
        kept = known.tags.get(one)
        there = kept is not None and (source is None or kept.source == source)
        self.expect(done, there)
        if there:
            del known.tags[one]

    @rule(name=repositories, text=texts)
    def delete_manifest(self, name: RepositoryName, text: str) -> None:
        done = [self.run(store.delete_manifest(name, manifest(text).digest)) for store in self.stores]
        known = self.known.get(name, Known())
        self.expect(done, any(one == text for one, _ in known.held))
        known.held = {(one, source) for one, source in known.held if one != text}
        known.tags = {one: kept for one, kept in known.tags.items() if kept.digest != manifest(text).digest}

    @rule(name=repositories, proven=st.booleans())
    def prove(self, name: RepositoryName, *, proven: bool) -> None:
        known = self.known.setdefault(name, Known()) if proven else self.known.get(name, Known())
        if proven:
            self.expect([self.run(store.prove(name, BLOB, None)) for store in self.stores], expected=True)
        else:
            self.expect([self.run(store.disprove(name, BLOB)) for store in self.stores], known.proven)
        known.proven = proven

    # --- what is there ---

    @invariant()
    def stores_have_what_the_model_has(self) -> None:
        for store in self.stores:
            self.runner.run(self.check(store))

    async def check(self, store: MetadataStore) -> None:
        assert await store.repositories("", 10) == sorted(self.known)
        proven = sorted(name for name, known in self.known.items() if known.proven)
        assert sorted(await store.holders(BLOB, 10)) == proven
        for name in REPOSITORIES:
            record, known = await store.repository(name), self.known.get(name, Known())
            assert (record is not None) == (name in self.known)
            assert record is None or record.tag_policy == known.policy
            assert [await store.tag(name, Tag(one)) for one in TAGS] == [known.tags.get(one) for one in TAGS]
            for sources in (None, (HUB.source, UPLOADED)):
                listed = sorted(one for one, kept in known.tags.items() if sources is None or kept.source in sources)
                assert await store.tags(name, sources, "", 10) == listed
            held = [text for text in TEXTS if await store.manifest(name, manifest(text).digest, None) is not None]
            assert held == [text for text in TEXTS if any(one == text for one, _ in known.held)]


Stores.TestCase.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)


TestStores = Stores.TestCase
