"""Secrets that rules name: where they are found, what they must say, and how long that is good."""

import asyncio
import json
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from proxy.config.addresses import parse_upstream
from proxy.core.policy import Policy
from proxy.core.probe_ports import Access, Probe, Sample
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.records import SecretRecord, SecretVersion
from proxy.core.registry.rule_probing import RuleProber
from proxy.core.registry.secrets import versions
from proxy.core.registry.secrets.administration import NewSecret, SecretAdministration, SecretValue
from proxy.core.registry.secrets.names import SecretReference, secret_arn
from proxy.core.registry.secrets.ports import Login, SecretError, SecretFailure
from proxy.core.registry.secrets.resolver import BuiltInSecrets, SecretResolver
from proxy.core.rules import RuleSet
from proxy.core.validation import RuleValidator
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.credentials import SecretCredentials
from proxy.model.rule import CacheRule
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.sealing import AesGcmSealer
from tests.support.background import started, until
from tests.support.clock import FakeClock
from tests.support.secret_places import ScriptedPlace

NAME = "ecr-pullthroughcache/hub"
OURS = RegistryIdentity("012345678910", "eu-west-1")
STRICT = replace(OURS, ecr=True)
KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ARN = f"arn:aws:secretsmanager:eu-west-1:012345678910:secret:{NAME}"


def account(username: str = "u", token: str = "hidden-token") -> str:
    return json.dumps({"username": username, "accessToken": token})


class TestNames:
    @pytest.mark.parametrize(
        ("text", "names", "place"),
        [
            (NAME, (NAME,), None),
            (f"{NAME}-AbC123", (f"{NAME}-AbC123", NAME), None),
            (ARN, (NAME,), ("012345678910", "eu-west-1")),
            (f"{ARN}-AbC123", (f"{NAME}-AbC123", NAME), ("012345678910", "eu-west-1")),
            (f"{ARN}-AbC12", (f"{NAME}-AbC12",), ("012345678910", "eu-west-1")),
            (f"{ARN}-AbC_23", (f"{NAME}-AbC_23",), ("012345678910", "eu-west-1")),
            ("arn:aws-cn:secretsmanager:cn-north-1:111111111111:secret:x", ("x",), ("111111111111", "cn-north-1")),
            ("arn:aws:s3:eu-west-1:012345678910:secret:x", ("arn:aws:s3:eu-west-1:012345678910:secret:x",), None),
        ],
    )
    def test_a_secret_is_named_by_name_or_arn(
        self, text: str, names: tuple[str, ...], place: tuple[str, str] | None
    ) -> None:
        reference = SecretReference.parse(text)
        assert reference.names == names
        assert reference.is_arn == (place is not None)
        assert not reference.is_arn or (reference.account, reference.region) == place

    def test_an_arn_is_in_the_partition_of_its_region(self) -> None:
        assert secret_arn(OURS, NAME) == ARN
        assert secret_arn(RegistryIdentity("1" * 12, "cn-north-1"), "x", "AbC123").startswith("arn:aws-cn:")

    @pytest.mark.parametrize(
        ("text", "elsewhere"),
        [(ARN, False), (NAME, False), (ARN.replace("eu", "us"), True), (ARN.replace("0123", "9123"), True)],
    )
    def test_an_arn_of_another_account_or_region_is_elsewhere(self, text: str, *, elsewhere: bool) -> None:
        assert SecretReference.parse(text).is_elsewhere(OURS) is elsewhere


@pytest.fixture
def metadata() -> MemoryMetadataStore:
    return MemoryMetadataStore()


@pytest.fixture
def place() -> ScriptedPlace:
    return ScriptedPlace({NAME: account()})


@pytest.fixture
def resolver(place: ScriptedPlace, clock: FakeClock) -> SecretResolver:
    return SecretResolver([place], OURS, clock)


async def failure_of(resolver: SecretResolver, secret: str = NAME) -> SecretError:
    with pytest.raises(SecretError) as caught:
        await resolver.login(secret)
    assert "hidden" not in caught.value.message
    return caught.value


async def refusal_of(resolver: SecretResolver, secret: str = NAME) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await resolver.require(secret)
    return caught.value


class TestBuiltIn:
    @pytest.fixture
    def secrets(self, metadata: MemoryMetadataStore, clock: FakeClock) -> SecretAdministration:
        return SecretAdministration(metadata, AesGcmSealer([KEY]), OURS, clock)

    def resolver(
        self,
        metadata: MemoryMetadataStore,
        clock: FakeClock,
        identity: RegistryIdentity = OURS,
        *keys: bytes,
    ) -> SecretResolver:
        sealer = AesGcmSealer(keys or [KEY])
        return SecretResolver([BuiltInSecrets(metadata, sealer, identity, clock)], identity, clock)

    async def test_a_secret_is_found_however_it_is_named(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        record, _ = await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
        for identity in (OURS, STRICT):
            resolver = self.resolver(metadata, clock, identity)
            for secret in (NAME, f"{NAME}-{record.suffix}", ARN, f"{ARN}-{record.suffix}"):
                assert await resolver.login(secret) == Login("u", "hidden-token")

    @pytest.mark.parametrize(
        "secret",
        [
            f"{ARN}-AbC123",
            ARN.replace("eu-west-1", "us-east-1"),
            f"{ARN.replace('012345678910', '109876543210')}-AbC123",
        ],
    )
    async def test_only_ecr_insists_on_account_region_and_suffix(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock, secret: str
    ) -> None:
        await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
        assert await self.resolver(metadata, clock).login(secret) == Login("u", "hidden-token")
        strict = self.resolver(metadata, clock, STRICT)
        assert (await failure_of(strict, secret)).failure is SecretFailure.NOT_FOUND
        assert (await refusal_of(strict, secret)).code is ApiErrorCode.SecretNotFoundException

    async def test_a_changed_value_is_used_within_a_minute(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
        resolver = self.resolver(metadata, clock)
        assert (await resolver.login(NAME)).token == "hidden-token"
        await secrets.put_value(NAME, None, SecretValue(account(token="new").encode()))
        clock.advance(59)
        assert (await resolver.login(NAME)).token == "new"

    async def test_another_key_opens_nothing_and_the_old_one_beside_the_new_opens_all(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
        lost = self.resolver(metadata, clock, OURS, OTHER_KEY)
        assert (await failure_of(lost)).failure is SecretFailure.SEALED
        error = await refusal_of(lost)
        assert error.code is ApiErrorCode.UnableToDecryptSecretValueException
        assert error.message.startswith(error.code.message)
        assert await self.resolver(metadata, clock, OURS, OTHER_KEY, KEY).login(NAME) == Login("u", "hidden-token")

    async def test_a_value_that_is_moved_to_another_secret_does_not_open(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        record, version = await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
        assert version is not None
        await secrets.create(NewSecret("mine", value=SecretValue(account("mine").encode())))
        await metadata.alter_secret("mine", lambda mine: replace(mine or record, versions=(version,)))
        assert (await failure_of(self.resolver(metadata, clock), "mine")).failure is SecretFailure.SEALED

    async def test_a_secret_without_a_value_may_be_named_and_not_be_used(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        await secrets.create(NewSecret(NAME))
        resolver = self.resolver(metadata, clock)
        await resolver.require(NAME)
        assert (await failure_of(resolver)).failure is SecretFailure.EMPTY

    async def test_a_deleted_secret_is_inaccessible_and_then_gone(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
        await secrets.delete(NAME, 7)
        resolver = self.resolver(metadata, clock)
        assert (await refusal_of(resolver)).code is ApiErrorCode.UnableToAccessSecretException
        clock.advance(7 * 86400)
        assert (await refusal_of(resolver)).code is ApiErrorCode.SecretNotFoundException

    async def test_binary_is_no_account(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        await secrets.create(NewSecret(NAME, value=SecretValue(b"\xff\xfe", binary=True)))
        resolver = self.resolver(metadata, clock)
        assert (await failure_of(resolver)).failure is SecretFailure.MALFORMED
        await resolver.require(NAME)

    async def test_a_key_of_the_customer_is_refused_by_ecr_only(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        await secrets.create(NewSecret(NAME, value=SecretValue(account().encode()), kms_key="alias/mine"))
        await self.resolver(metadata, clock).require(NAME)
        strict = self.resolver(metadata, clock, STRICT)
        assert (await refusal_of(strict)).code is ApiErrorCode.UnableToDecryptSecretValueException
        await secrets.update(NAME, kms_key="alias/aws/secretsmanager")
        await strict.require(NAME)

    async def test_secrets_are_nowhere_in_the_log(
        self, secrets: SecretAdministration, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        with capture_logs() as events:
            await secrets.create(NewSecret(NAME, value=SecretValue(account().encode())))
            await secrets.put_value(NAME, None, SecretValue(b"hidden-other"))
            await secrets.update(NAME, value=SecretValue(account().encode()))
            login = await self.resolver(metadata, clock).login(NAME)
            await secrets.delete(NAME)
        assert len(events) == 4
        assert "hidden" not in repr(events)
        assert "hidden" not in repr(login)
        assert "hidden" not in repr(SecretValue(b"hidden"))


class TestContent:
    @pytest.mark.parametrize(
        "text",
        [
            "test",
            "",
            "[]",
            "null",
            '"hidden"',
            "{",
            "[" * 100_000,
            "{}",
            '{"username": "u"}',
            '{"username": "u", "accessToken": "hidden", "more": 1}',
            '{"username": "u", "accesstoken": "hidden"}',
            '{"username": "u", "accessToken": 7}',
            '{"username": null, "accessToken": "hidden"}',
            '{"username": "", "accessToken": "hidden"}',
            '{"username": "u", "accessToken": ""}',
            '{"username": "\\ud800", "accessToken": "hidden"}',
            '{"username": "u", "accessToken": "\\udfff"}',
            '{"username": "u", "accessToken": "hidden", "username": "v"}',
        ],
    )
    async def test_anything_but_an_account_is_malformed(
        self, resolver: SecretResolver, place: ScriptedPlace, text: str
    ) -> None:
        place.texts[NAME] = text
        error = await failure_of(resolver)
        assert error.failure is SecretFailure.MALFORMED
        assert f"the secret {NAME}" in error.message
        await resolver.require(NAME)


class TestPlaces:
    async def test_the_first_place_that_has_it_decides(self, clock: FakeClock) -> None:
        first, second = ScriptedPlace({"a": account("first")}), ScriptedPlace({"a": account("second"), "b": account()})
        resolver = SecretResolver([first, second], OURS, clock)
        assert (await resolver.login("a")).username == "first"
        assert (await resolver.login("b")).username == "u"
        assert (first.asked, second.asked) == (["a", "b"], ["b"])

    async def test_a_place_that_fails_ends_the_search(self, clock: FakeClock) -> None:
        first, second = ScriptedPlace(failure=SecretFailure.SEALED), ScriptedPlace({NAME: account()})
        resolver = SecretResolver([first, second], OURS, clock)
        assert (await failure_of(resolver)).failure is SecretFailure.SEALED
        assert second.asked == []

    @pytest.mark.parametrize(
        ("failure", "code"),
        [
            (SecretFailure.INACCESSIBLE, ApiErrorCode.UnableToAccessSecretException),
            (SecretFailure.UNAVAILABLE, ApiErrorCode.UnableToAccessSecretException),
            (SecretFailure.SEALED, ApiErrorCode.UnableToDecryptSecretValueException),
        ],
    )
    async def test_each_failure_has_an_exception_of_ecrs(
        self, resolver: SecretResolver, place: ScriptedPlace, failure: SecretFailure, code: ApiErrorCode
    ) -> None:
        place.failure = failure
        error = await refusal_of(resolver)
        assert error.code is code
        assert error.message == f"{code.message} (the secret {NAME} is {failure})"

    async def test_what_nobody_has_is_not_found_and_the_remedy_is_told(self, resolver: SecretResolver) -> None:
        error = await failure_of(resolver, "nope")
        assert error.failure is SecretFailure.NOT_FOUND
        assert "`secrets.values`" in error.message


class TestLifetime:
    async def test_it_is_read_once_in_the_lifetime_of_its_place(
        self, resolver: SecretResolver, place: ScriptedPlace, clock: FakeClock
    ) -> None:
        for _ in range(3):
            await resolver.login(NAME)
        clock.advance(29.9)
        await resolver.login(NAME)
        assert len(place.asked) == 1
        clock.advance(0.1)
        await resolver.login(NAME)
        assert len(place.asked) == 2

    async def test_two_secrets_are_never_mixed_up(self, resolver: SecretResolver, place: ScriptedPlace) -> None:
        place.texts["other"] = account("other")
        for _ in range(2):
            assert (await resolver.login(NAME)).username == "u"
            assert (await resolver.login("other")).username == "other"

    async def test_a_failure_is_told_again_for_seconds_only(
        self, resolver: SecretResolver, place: ScriptedPlace, clock: FakeClock
    ) -> None:
        place.texts.clear()
        for _ in range(3):
            await failure_of(resolver)
        assert len(place.asked) == 1
        place.texts[NAME] = account()
        clock.advance(5)
        await resolver.login(NAME)

    async def test_what_was_forgotten_is_read_anew(self, resolver: SecretResolver, place: ScriptedPlace) -> None:
        await resolver.login(NAME)
        place.texts[NAME] = account("changed")
        resolver.forget(NAME)
        assert (await resolver.login(NAME)).username == "changed"
        resolver.forget("never asked for")

    async def test_while_its_place_does_not_answer_it_is_good_for_an_hour(
        self, resolver: SecretResolver, place: ScriptedPlace, clock: FakeClock
    ) -> None:
        await resolver.login(NAME)
        place.failure = SecretFailure.UNAVAILABLE
        clock.advance(31)
        with capture_logs() as events:
            assert (await resolver.login(NAME)).username == "u"
            assert (await resolver.login(NAME)).username == "u"
        assert [event["event"] for event in events] == ["secret.not_renewed"]
        assert len(place.asked) == 2
        clock.advance(3600)
        assert (await failure_of(resolver)).failure is SecretFailure.UNAVAILABLE

    @pytest.mark.parametrize("failure", [SecretFailure.INACCESSIBLE, SecretFailure.SEALED, SecretFailure.EMPTY])
    async def test_what_may_no_longer_be_read_is_no_longer_used(
        self, resolver: SecretResolver, place: ScriptedPlace, clock: FakeClock, failure: SecretFailure
    ) -> None:
        await resolver.login(NAME)
        place.failure = failure
        clock.advance(31)
        assert (await failure_of(resolver)).failure is failure

    async def test_many_who_want_it_at_once_read_it_once(self, clock: FakeClock) -> None:
        gate = asyncio.Event()

        class Slow(ScriptedPlace):
            async def read(self, reference: SecretReference) -> str | None:
                text = await super().read(reference)
                await gate.wait()
                return text

        place = Slow({NAME: account()})
        resolver = SecretResolver([place], OURS, clock)
        wanting = [started(resolver.login(NAME)) for _ in range(8)]
        await until(lambda: place.asked)
        wanting.pop(0).cancel()  # the one who reads: the others still get it
        gate.set()
        assert {login.username for login in await asyncio.gather(*wanting)} == {"u"}
        assert len(place.asked) == 2


class Probes:
    """The `UpstreamProbe` port: every upstream is right."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def probe(self, rule: CacheRule, _sample: Sample | None) -> Probe:
        self.asked.append(rule.prefix)
        return Probe(0.1, Access.WORKS)


class TestProbing:
    RULE = CacheRule("gh", parse_upstream("ghcr.io"), SecretCredentials(NAME))

    async def failure(self, resolver: SecretResolver, probes: Probes) -> str | None:
        prober = RuleProber(RuleValidator(probes, Policy()), resolver)
        return await prober.failure_of(RuleSet([self.RULE]), self.RULE)

    @pytest.mark.parametrize(
        ("failure", "sentence"),
        [
            (SecretFailure.INACCESSIBLE, ApiErrorCode.UnableToAccessSecretException.message),
            (SecretFailure.UNAVAILABLE, ApiErrorCode.UnableToAccessSecretException.message),
            (SecretFailure.SEALED, ApiErrorCode.UnableToDecryptSecretValueException.message),
            (SecretFailure.EMPTY, "the secret"),
        ],
    )
    async def test_a_secret_that_fails_is_told_in_the_words_of_ecr_and_the_upstream_is_not_asked(
        self, resolver: SecretResolver, place: ScriptedPlace, failure: SecretFailure, sentence: str
    ) -> None:
        place.failure = failure
        probes = Probes()
        told = await self.failure(resolver, probes)
        assert told is not None
        assert told.startswith(sentence)
        assert NAME in told
        assert probes.asked == []

    async def test_the_secret_is_read_anew_and_then_the_upstream_is_asked(
        self, resolver: SecretResolver, place: ScriptedPlace
    ) -> None:
        probes = Probes()
        place.texts[NAME] = "test"
        assert await self.failure(resolver, probes) is not None
        place.texts[NAME] = account()
        assert await self.failure(resolver, probes) is None
        assert probes.asked == ["gh"]


class TestVersions:
    """The stages of versions, as a table: who has what before and after."""

    @staticmethod
    def record(**stages: str) -> SecretRecord:
        versions = tuple(
            SecretVersion(name, b"", 0.0, tuple(f"AWS{stage}" for stage in held.split()))
            for name, held in stages.items()
        )
        return SecretRecord("x", "AbC123", 0.0, 0.0, versions=versions)

    @staticmethod
    def held(record: SecretRecord) -> dict[str, str]:
        return {
            version.id: " ".join(sorted(stage.removeprefix("AWS") for stage in version.stages))
            for version in record.versions
        }

    @pytest.mark.parametrize(
        ("before", "stages", "after"),
        [
            ({}, ("AWSCURRENT",), {"new": "CURRENT"}),
            ({}, ("AWSPENDING",), {"new": "CURRENT PENDING"}),
            ({"a": "CURRENT"}, ("AWSCURRENT",), {"a": "PREVIOUS", "new": "CURRENT"}),
            ({"a": "CURRENT"}, ("AWSPENDING",), {"a": "CURRENT", "new": "PENDING"}),
            ({"a": "PREVIOUS", "b": "CURRENT"}, ("AWSCURRENT",), {"a": "", "b": "PREVIOUS", "new": "CURRENT"}),
            ({"a": "CURRENT PENDING"}, ("AWSPENDING",), {"a": "CURRENT", "new": "PENDING"}),
        ],
    )
    def test_a_new_version_takes_its_stages(
        self, before: dict[str, str], stages: tuple[str, ...], after: dict[str, str]
    ) -> None:
        made = versions.add(self.record(**before), SecretVersion("new", b"", 0.0, stages), 1.0)
        assert self.held(made) == after
        assert made.changed_at == 1.0

    @pytest.mark.parametrize(
        ("stage", "out_of", "to", "after"),
        [
            ("AWSCURRENT", "b", "a", {"a": "CURRENT", "b": "PREVIOUS"}),
            ("AWSPREVIOUS", "a", None, {"a": "", "b": "CURRENT"}),
            ("AWSPREVIOUS", "a", "b", {"a": "", "b": "CURRENT PREVIOUS"}),
            ("AWSPENDING", None, "a", {"a": "PENDING PREVIOUS", "b": "CURRENT"}),
            ("AWSCURRENT", "b", "b", {"a": "PREVIOUS", "b": "CURRENT"}),
        ],
    )
    def test_a_stage_moves(self, stage: str, out_of: str | None, to: str | None, after: dict[str, str]) -> None:
        record = self.record(a="PREVIOUS", b="CURRENT")
        assert self.held(versions.move(record, stage, out_of=out_of, to=to, at=1.0)) == after


class TestLostKeys:
    async def test_what_the_keys_do_not_open_is_told_at_once(
        self, metadata: MemoryMetadataStore, clock: FakeClock
    ) -> None:
        before = SecretAdministration(metadata, AesGcmSealer([KEY]), OURS, clock)
        await before.create(NewSecret(NAME, value=SecretValue(account().encode())))
        await before.create(NewSecret("empty"))
        after = SecretAdministration(metadata, AesGcmSealer([OTHER_KEY]), OURS, clock)
        await after.create(NewSecret("ours", value=SecretValue(b"hidden")))
        for administration, names in ((before, ["ours"]), (after, [NAME])):
            with capture_logs() as events:
                await administration.tell_unreadable()
            (event,) = events
            assert (event["event"], event["names"], event["log_level"]) == ("secrets.not_readable", names, "error")
            assert "hidden" not in str(event)
