"""Cache rules of the API, and how they come to be in force in every process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.config.settings import Settings
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.ports import RuleRecords
from proxy.core.registry.records import RuleRecord
from proxy.core.registry.rules import NewRule, RuleAdministration
from proxy.core.rules import Address, Resolution, RuleBook, RuleSet
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.credentials import EcrCredentials, SecretCredentials
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import CacheRule
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.background import started, until
from tests.support.clock import FakeClock
from tests.support.documents import image
from tests.unit.core.conftest import Bench

ARN = "arn:aws:secretsmanager:us-east-1:000000000000:secret:ecr-pullthroughcache/x-AbCdEf"
PRIVATE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
LATEST = Tag("latest")


@dataclass
class Known:
    """The `Secrets` and the `Prober` port: every secret is there, and every rule can be pulled through."""

    required: list[str] = field(default_factory=list)
    refusal: ApiError | None = None

    async def require(self, secret: str) -> None:
        self.required.append(secret)
        if self.refusal is not None:
            raise self.refusal

    async def failure_of(self, _rules: RuleSet, _rule: CacheRule) -> str | None:
        return None


@dataclass
class Process:
    """One server process: its rules in force, and how they are administered."""

    rules: RuleAdministration
    book: RuleBook
    known: Known

    def rule(self, prefix: str) -> CacheRule:
        found = self.book.current.rule(prefix)
        assert found is not None
        return found

    def resolve(self, name: str, ns: str | None = None) -> Resolution:
        return self.book.current.resolve(Address(RepositoryName(name), ns))


def settings_of(character: str = "relaxed", **more: Any) -> Settings:  # noqa: ANN401 - any section
    return Settings.model_validate({"registry": {"compatibility": character}} | more)


async def process(records: RuleRecords, settings: Settings | None = None) -> Process:
    settings, known = settings or Settings(), Known()
    book = RuleBook(RuleSet.of(settings))
    rules = RuleAdministration(records, book, settings, secrets=known, prober=known, clock=FakeClock())
    await rules.load()
    return Process(rules, book, known)


async def refusal(work: Any) -> ApiError:  # noqa: ANN401 - any coroutine
    with pytest.raises(ApiError) as caught:
        await work
    return caught.value


@pytest.fixture
def metadata() -> MemoryMetadataStore:
    return MemoryMetadataStore()


class TestProcesses:
    @pytest.fixture
    async def pair(self, tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
        """Two processes over one database."""
        stores = [await SqlMetadataStore.open(tmp_path / "metadata.sqlite") for _ in range(2)]
        yield await process(stores[0]), await process(stores[1])
        for store in stores:
            await store.close()

    async def test_what_one_makes_the_other_takes_over(self, pair: tuple[Process, Process]) -> None:
        one, other = pair
        await one.rules.create(NewRule("quay", "quay.io", credential_arn=ARN))
        assert other.book.current.rule("quay") is None
        await other.rules.load()
        assert other.rule("quay") == one.rule("quay")
        await other.rules.update("quay", ARN.replace("AbCdEf", "GhIjKl"), None)
        await one.rules.load()
        assert one.rule("quay").credentials == SecretCredentials(ARN.replace("AbCdEf", "GhIjKl"))
        await one.rules.delete("quay")
        await other.rules.load()
        assert other.book.current.rule("quay") is None

    async def test_a_watch_takes_it_over_by_itself(self, pair: tuple[Process, Process]) -> None:
        one, other = pair
        watch = started(other.rules.watch(0.01))
        try:
            await one.rules.create(NewRule("quay", "quay.io"))
            await until(lambda: other.book.current.rule("quay") is not None)
            await one.rules.delete("quay")
            await until(lambda: other.book.current.rule("quay") is None)
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def test_both_describe_alike_at_once(self, pair: tuple[Process, Process]) -> None:
        one, other = pair
        made = await one.rules.create(NewRule("quay/", "quay.io"))
        assert await other.rules.describe(["quay"]) == [made]
        error = await refusal(other.rules.create(NewRule("quay", "other.example")))
        assert error.code is ApiErrorCode.PullThroughCacheRuleAlreadyExistsException

    async def test_of_many_who_make_one_rule_at_once_one_does(self, pair: tuple[Process, Process]) -> None:
        outcomes = await asyncio.gather(
            *(each.rules.create(NewRule("quay", "quay.io")) for each in pair * 4), return_exceptions=True
        )
        assert len([made for made in outcomes if isinstance(made, RuleRecord)]) == 1
        assert {error.code for error in outcomes if isinstance(error, ApiError)} == {
            ApiErrorCode.PullThroughCacheRuleAlreadyExistsException
        }

    async def test_rules_made_at_once_are_all_in_force(self, pair: tuple[Process, Process]) -> None:
        await asyncio.gather(
            *(pair[n % 2].rules.create(NewRule(f"quay-{n}", "quay.io")) for n in range(10)),
        )
        for each in pair:
            await each.rules.load()
            assert len(each.book.current.rules) == 10

    async def test_a_rule_outlives_the_process(self, tmp_path: Path) -> None:
        store = await SqlMetadataStore.open(tmp_path / "metadata.sqlite")
        asked = NewRule("quay/", "https://quay.io", "quay", ARN, "arn:aws:iam::0:role/r", "team/")
        made = await (await process(store)).rules.create(asked)
        await store.close()
        store = await SqlMetadataStore.open(tmp_path / "metadata.sqlite")
        assert await (await process(store)).rules.describe() == [made]
        await store.close()


class SlowRecords(MemoryMetadataStore):
    """Reads of rules that wait, one after the other, until they are let go; each has seen what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Event] = []
        self.slow = False
        self.made: list[str] = []

    async def create_rule(self, record: RuleRecord, limit: int | None) -> None:
        await super().create_rule(record, limit)
        self.made.append(record.key)

    async def rules(self) -> list[RuleRecord]:
        found = await super().rules()
        if self.slow:
            self.waiting.append(asyncio.Event())
            await self.waiting[-1].wait()
        return found


async def test_a_slow_look_does_not_put_older_rules_in_force_over_newer_ones() -> None:
    records = SlowRecords()
    one, other = await process(records), await process(records)
    await records.create_rule(RuleRecord("old", "old.example", 0.0), None)
    records.slow, records.made = True, []
    slow = started(one.rules.load())
    await until(lambda: records.waiting)
    records.slow = False
    making = started(one.rules.create(NewRule("new", "new.example")))
    await until(lambda: records.made == ["new"])
    for _ in range(10):
        await asyncio.sleep(0)
    records.waiting[0].set()
    await asyncio.gather(slow, making)
    assert [rule.prefix for rule in one.book.current.rules] == ["new", "old"]
    await other.rules.load()
    assert [rule.prefix for rule in other.book.current.rules] == ["new", "old"]


class CountingRecords(MemoryMetadataStore):
    """Rules, and how often it was asked whether they have changed."""

    asked = 0

    async def rules_revision(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        return await super().rules_revision()


async def test_only_changes_of_rules_are_looked_for_and_by_one_look_for_all_who_come_at_once() -> None:
    records = CountingRecords()
    one = await process(records)
    await one.rules.refresh()
    records.asked = 0
    await records.create_repository(RepositoryRecord(RepositoryName("app"), 1.0))
    assert not one.rules.behind()
    await records.create_rule(RuleRecord("quay", "quay.io", 0.0), None)
    assert one.rules.behind()
    await asyncio.gather(*(one.rules.refresh() for _ in range(10)))
    assert [rule.prefix for rule in one.book.current.rules] == ["quay"]
    assert (records.asked, one.rules.behind()) == (1, False)


class BrokenRecords(MemoryMetadataStore):
    """Rules that cannot be looked at, the first times."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0

    async def rules_revision(self) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError("no disk")
        return await super().rules_revision()


async def test_a_watch_outlives_a_database_that_cannot_be_read() -> None:
    records = BrokenRecords()
    one = await process(records)
    records.failures = 3
    await records.create_rule(RuleRecord("quay", "quay.io", 0.0), None)
    with capture_logs() as events:
        watch = started(one.rules.watch(0.0))
        await until(lambda: one.book.current.rule("quay") is not None)
    assert [event["event"] for event in events] == ["rules.not_looked_at", "rules.taken_over"]
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def test_a_record_that_this_version_cannot_use_leaves_the_others_in_force(metadata: MemoryMetadataStore) -> None:
    await metadata.create_rule(RuleRecord("future", "oci://layout/path", 0.0), None)
    await metadata.create_rule(RuleRecord("BAD PREFIX", "quay.io", 0.0), None)
    with capture_logs() as events:
        one = await process(metadata)
        await one.rules.create(NewRule("quay", "quay.io"))
    assert {event["prefix"] for event in events if event["event"] == "rule.unusable"} == {"future", "BAD PREFIX"}
    assert [rule.prefix for rule in one.book.current.rules] == ["quay"]
    _, failure = await one.rules.validate("future")
    assert failure is not None
    assert "delete it and make it anew" in failure
    with capture_logs():
        await one.rules.delete("future")
    assert [record.prefix for record in await metadata.rules()] == ["BAD PREFIX", "quay"]


class TestRulesMade:
    @pytest.mark.parametrize("character", ["relaxed", "ecr"])
    async def test_a_rule_has_what_rules_of_the_file_have_by_default(
        self, metadata: MemoryMetadataStore, character: str
    ) -> None:
        written = settings_of(character, rules=[{"prefix": "quay", "upstream": "quay.io", "upstream_prefix": "team"}])
        one = await process(metadata, settings_of(character))
        await one.rules.create(NewRule("quay/", "quay.io", upstream_prefix="team/"))
        assert one.book.current.rules == written.cache_rules()

    async def test_an_amazon_registry_is_read_as_the_identity_of_the_machine(
        self, metadata: MemoryMetadataStore
    ) -> None:
        one = await process(metadata)
        await one.rules.create(NewRule("team", PRIVATE))
        assert one.rule("team").credentials == EcrCredentials("eu-west-1")
        await one.rules.update("team", ARN, None)
        assert one.rule("team").credentials == SecretCredentials(ARN)

    async def test_an_empty_role_is_none(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata, settings_of("ecr"))
        error = await refusal(one.rules.create(NewRule("team", PRIVATE, custom_role_arn="")))
        assert (error.code, await metadata.rules()) == (ApiErrorCode.ValidationException, [])
        assert (await one.rules.create(NewRule("quay", "quay.io", custom_role_arn=""))).custom_role_arn is None

    async def test_a_refused_secret_makes_and_changes_nothing(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata)
        made = await one.rules.create(NewRule("quay", "quay.io"))
        one.known.refusal = ApiError(ApiErrorCode.UnableToAccessSecretException)
        for work in (
            one.rules.create(NewRule("k8s", "registry.k8s.io", credential_arn=ARN)),
            one.rules.update("quay", ARN, None),
        ):
            assert (await refusal(work)).code is ApiErrorCode.UnableToAccessSecretException
        assert await metadata.rules() == [made]

    async def test_a_rule_that_is_not_there_is_told_before_its_secret_is_looked_at(
        self, metadata: MemoryMetadataStore
    ) -> None:
        one = await process(metadata)
        error = await refusal(one.rules.update("nope", ARN, None))
        assert error.code is ApiErrorCode.PullThroughCacheRuleNotFoundException
        assert one.known.required == []

    @pytest.mark.parametrize(
        ("asked", "member"),
        [
            (NewRule("UPPER", "quay.io"), "ecrRepositoryPrefix"),
            (NewRule("", "quay.io"), "ecrRepositoryPrefix"),
            (NewRule("quay", "quay.io", upstream_prefix="a//b"), "upstreamRepositoryPrefix"),
            (NewRule("quay", "quay.io/team"), "upstreamRegistryUrl"),
        ],
    )
    async def test_what_no_rule_can_have_is_refused_by_name(
        self, metadata: MemoryMetadataStore, asked: NewRule, member: str
    ) -> None:
        error = await refusal((await process(metadata)).rules.create(asked))
        assert error.code is ApiErrorCode.InvalidParameterException
        assert f"'{member}'" in error.message
        assert await metadata.rules() == []


class TestFile:
    RULES = ({"prefix": "quay", "upstream": "quay.io"}, {"prefix": "hub", "upstream": "docker.io"})

    async def test_a_reload_leaves_the_rules_of_the_api_as_they_are(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata, settings_of(rules=self.RULES))
        await one.rules.create(NewRule("quay", "mirror.example"))
        one.rules.configure(settings_of(rules=[{"prefix": "k8s", "upstream": "registry.k8s.io"}]))
        assert {rule.prefix: str(rule.upstream) for rule in one.book.current.rules} == {
            "k8s": "registry.k8s.io",
            "quay": "mirror.example",
        }
        await one.rules.delete("quay")
        assert [rule.prefix for rule in one.book.current.rules] == ["k8s"]

    async def test_a_rule_of_the_file_is_described_as_it_is_written(self, metadata: MemoryMetadataStore) -> None:
        one = await process(
            metadata, settings_of(rules=[{"prefix": "gh", "upstream": "ghcr.io", "upstream_prefix": "team"}])
        )
        (record,) = await one.rules.describe()
        assert record == RuleRecord(
            "gh", "ghcr.io", FakeClock().now(), "github-container-registry", upstream_prefix="team"
        )

    @pytest.mark.parametrize("operation", ["delete", "update"])
    async def test_it_is_changed_in_the_file(self, metadata: MemoryMetadataStore, operation: str) -> None:
        one = await process(metadata, settings_of(rules=self.RULES))
        work: dict[str, Callable[[], Any]] = {
            "delete": lambda: one.rules.delete("quay/"),
            "update": lambda: one.rules.update("quay", ARN, None),
        }
        error = await refusal(work[operation]())
        assert error.code is ApiErrorCode.ValidationException
        assert "configuration file" in error.message


WRITTEN = {"prefix": "quay", "upstream": "quay.io", "deny": ["secret/*"], "upstream_prefix": "old", "offline": True}


class TestShadows:
    """What a rule of the API keeps of the one of the file whose place it takes."""

    async def test_what_the_api_cannot_say_stays(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata, settings_of(rules=[WRITTEN]))
        await one.rules.create(NewRule("quay", "https://quay.io", upstream_prefix="new"))
        rule = one.book.current.rule("quay")
        assert rule is not None
        assert (rule.deny, rule.offline, rule.upstream_prefix) == (("secret/*",), True, "new")

    async def test_a_rule_for_another_upstream_begins_anew(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata, settings_of(rules=[WRITTEN]))
        await one.rules.create(NewRule("quay", "ghcr.io"))
        rule = one.book.current.rule("quay")
        assert rule is not None
        assert (rule.deny, rule.offline, rule.upstream_prefix) == ((), False, "")


class TestNs:
    """What containerd's ``ns`` means, where several rules have one upstream."""

    async def test_the_rule_of_the_file_is_meant_whatever_callers_make(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata, settings_of(rules=[{"prefix": "hub", "upstream": "docker.io"}]))
        await one.rules.create(NewRule("hub2", "docker.io"))
        assert one.resolve("team/app", "docker.io").repository == "hub/team/app"
        assert one.resolve("hub2/team/app", "docker.io").repository == "hub2/team/app"

    async def test_rules_of_one_upstream_never_end_the_server_and_the_request_is_refused(
        self, metadata: MemoryMetadataStore
    ) -> None:
        one = await process(metadata)
        await one.rules.create(NewRule("hub", "docker.io"))
        assert one.resolve("team/app", "docker.io").repository == "hub/team/app"
        await one.rules.create(NewRule("hub2", "docker.io"))
        with pytest.raises(ProxyError) as caught:
            one.resolve("team/app", "docker.io")
        assert caught.value.code is ErrorCode.NAME_UNKNOWN
        assert one.resolve("hub2/team/app", "docker.io").repository == "hub2/team/app"
        assert one.resolve("hub/team/app").repository == "hub/team/app"

    async def test_the_mark_in_the_file_still_says_which(self, metadata: MemoryMetadataStore) -> None:
        one = await process(metadata, settings_of(rules=[{"prefix": "hub", "upstream": "docker.io", "ns": True}]))
        await one.rules.create(NewRule("hub2", "docker.io"))
        assert one.resolve("team/app", "docker.io").repository == "hub/team/app"


class TestContent:
    """What was pulled by a rule, once the rule is another one or gone."""

    @pytest.fixture
    async def one(self, bench: Bench) -> Process:
        made = await process(bench.metadata)
        await made.rules.create(NewRule("quay", "quay.io"))
        return made

    async def test_deleting_keeps_what_is_cached_and_never_refreshes_it(self, bench: Bench, one: Process) -> None:
        digest = bench.web.put(image(), "latest")
        await bench.manifests.get(one.resolve("quay/app/web"), LATEST)
        await one.rules.delete("quay")
        bench.clock.advance(10 * 86400)
        bench.web.put(image(b'{"other":1}'), "latest")
        asked = len(bench.upstream.requests)
        for reference in (LATEST, digest):
            assert (await bench.manifests.get(one.resolve("quay/app/web"), reference)).digest == digest
        with pytest.raises(ProxyError):
            await bench.manifests.get(one.resolve("quay/app/web"), Tag("never-pulled"))
        assert len(bench.upstream.requests) == asked

    async def test_a_rule_for_another_upstream_never_serves_the_tags_of_the_old_one(
        self, bench: Bench, one: Process
    ) -> None:
        old = bench.web.put(image(), "latest", "old-only")
        for tag in ("latest", "old-only"):
            await bench.manifests.get(one.resolve("quay/app/web"), Tag(tag))
        await one.rules.delete("quay")
        await one.rules.create(NewRule("quay", "mirror.example"))
        new = bench.upstream.repository("mirror.example/app/web").put(image(b'{"other":1}'), "latest")
        assert (await bench.manifests.get(one.resolve("quay/app/web"), LATEST)).digest == new
        for reference in (Tag("old-only"), old):
            with pytest.raises(ProxyError) as caught:
                await bench.manifests.get(one.resolve("quay/app/web"), reference)
            assert caught.value.code is ErrorCode.MANIFEST_UNKNOWN

    async def test_credentials_that_change_are_another_account(self, bench: Bench, one: Process) -> None:
        bench.web.put(image(), "latest")
        await bench.manifests.get(one.resolve("quay/app/web"), LATEST)
        await one.rules.update("quay", ARN, None)
        await bench.manifests.get(one.resolve("quay/app/web"), Tag("latest"))
        remote = one.resolve("quay/app/web").remote
        assert remote is not None
        assert remote.provenance == replace(remote.provenance, account=f"secret:{ARN}")
