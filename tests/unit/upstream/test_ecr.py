"""Passwords of Amazon ECR, from an AWS on loopback."""

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks
from proxy.model.credentials import EcrCredentials
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import CacheRule
from proxy.upstream.credential import Credential
from proxy.upstream.ecr import EcrPasswords
from tests.support.aws_services import AwsTokens, be_aws_identity
from tests.support.clock import FakeClock
from tests.support.upstream_registry import FakeRegistry, manifest_bytes
from tests.support.upstream_rules import remote_of
from tests.support.upstream_server import UpstreamServer, failing
from tests.unit.upstream.conftest import Opener

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
SOURCE = EcrCredentials("eu-west-1")
REMOTE = remote_of(ECR, "team/app", credentials=SOURCE)


@pytest.fixture
async def aws(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AwsTokens]:
    async with AwsTokens(clock).running() as running:
        be_aws_identity(monkeypatch)
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", running.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR_PUBLIC", running.url)
        yield running


@pytest.fixture
async def passwords(clock: FakeClock) -> AsyncIterator[EcrPasswords]:
    async with Tasks() as tasks:
        yield EcrPasswords(clock, SingleFlight(tasks))


async def refusal(passwords: EcrPasswords, rule: CacheRule = REMOTE.rule) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await passwords.credential(rule, SOURCE)
    assert "hidden" not in caught.value.message
    return caught.value


async def test_aws_gives_the_password_for_the_region(aws: AwsTokens, passwords: EcrPasswords) -> None:
    assert await passwords.credential(REMOTE.rule, SOURCE) == Credential("AWS", "password-1")
    ((target, scope),) = aws.targets
    assert target.endswith(".GetAuthorizationToken")
    assert scope == "eu-west-1/ecr"


async def test_ecr_public_has_an_api_of_its_own(aws: AwsTokens, passwords: EcrPasswords) -> None:
    rule = remote_of("public.ecr.aws", credentials=EcrCredentials("us-east-1")).rule
    assert await passwords.credential(rule, EcrCredentials("us-east-1")) == Credential("AWS", "password-1")
    assert aws.targets == [("SpencerFrontendService.GetAuthorizationToken", "us-east-1/ecr-public")]


async def test_many_who_want_the_password_ask_aws_once(aws: AwsTokens, passwords: EcrPasswords) -> None:
    got = await asyncio.gather(*(passwords.credential(REMOTE.rule, SOURCE) for _ in range(8)))
    assert len(set(got)) == len(aws.targets) == 1


async def test_it_is_renewed_an_hour_before_its_end(aws: AwsTokens, passwords: EcrPasswords, clock: FakeClock) -> None:
    first = await passwords.credential(REMOTE.rule, SOURCE)
    clock.advance(11 * 3600 - 1)
    assert await passwords.credential(REMOTE.rule, SOURCE) == first
    clock.advance(2)
    assert await passwords.credential(REMOTE.rule, SOURCE) == Credential("AWS", "password-2")
    assert len(aws.targets) == 2


async def test_a_renewal_that_fails_leaves_the_old_one_until_its_end(
    aws: AwsTokens, passwords: EcrPasswords, clock: FakeClock
) -> None:
    first = await passwords.credential(REMOTE.rule, SOURCE)
    aws.failure = (400, "ThrottlingException")
    clock.advance(11 * 3600 + 1)
    with capture_logs() as events:
        for _ in range(3):
            assert await passwords.credential(REMOTE.rule, SOURCE) == first
    assert [event["event"] for event in events] == ["ecr.renewal_failed"]
    clock.advance(3600)
    assert (await refusal(passwords)).failure is UpstreamFailure.SERVER_ERROR
    aws.failure = None
    assert await passwords.credential(REMOTE.rule, SOURCE) != first


@pytest.mark.parametrize(
    ("failure", "meaning", "remedy"),
    [
        ((400, "AccessDeniedException"), UpstreamFailure.CREDENTIALS_REFUSED, "ecr:GetAuthorizationToken"),
        ((400, "UnrecognizedClientException"), UpstreamFailure.CREDENTIALS_REFUSED, "the identity that boto3 finds"),
        ((400, "ExpiredTokenException"), UpstreamFailure.CREDENTIALS_REFUSED, "ExpiredTokenException"),
    ],
)
async def test_a_refusal_of_aws_names_the_remedy(
    aws: AwsTokens,
    passwords: EcrPasswords,
    *,
    failure: tuple[int, str],
    meaning: UpstreamFailure,
    remedy: str,
) -> None:
    aws.failure = failure
    error = await refusal(passwords)
    assert error.failure is meaning
    assert remedy in error.message
    assert "rule up" in error.message
    assert len(aws.targets) == 1


async def test_a_machine_without_an_aws_identity_says_so(
    aws: AwsTokens, passwords: EcrPasswords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = await refusal(passwords)
    assert error.failure is UpstreamFailure.CREDENTIALS_REFUSED
    assert "AWS_PROFILE" in error.message
    assert aws.targets == []


@pytest.mark.parametrize(
    ("endpoint", "failure"),
    [
        ("http://127.0.0.1:1", UpstreamFailure.UNREACHABLE),
        ("not a url", UpstreamFailure.CREDENTIALS_REFUSED),
    ],
)
async def test_an_endpoint_that_does_not_answer_is_no_fault_of_the_credentials(
    aws: AwsTokens, passwords: EcrPasswords, monkeypatch: pytest.MonkeyPatch, endpoint: str, failure: UpstreamFailure
) -> None:
    assert aws.port
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", endpoint)
    assert (await refusal(passwords)).failure is failure


@pytest.mark.parametrize("token", ["", "no base64!", "QVdT", "QVdTOg==", "/////w=="])
async def test_a_token_that_is_no_password_is_refused(aws: AwsTokens, passwords: EcrPasswords, token: str) -> None:
    aws.token = token or " "
    assert (await refusal(passwords)).failure is UpstreamFailure.CREDENTIALS_REFUSED


class TestRegistry:
    @pytest.fixture
    def registry(self, server: UpstreamServer) -> FakeRegistry:
        registry = FakeRegistry(server, ECR, accounts={"AWS": "password-1"})
        registry.put_manifest("team/app", "latest", manifest_bytes())
        return registry

    async def test_the_password_goes_to_the_registry_as_basic(
        self, aws: AwsTokens, registry: FakeRegistry, connect: Opener
    ) -> None:
        client = await connect()
        for _ in range(3):
            await client.get_manifest(REMOTE, Tag("latest"), retry=False)
        shown = [visit.authorization for visit in registry.server.visits(ECR)]
        assert shown == [None, *["Basic " + base64.b64encode(b"AWS:password-1").decode()] * 3]
        assert len(aws.targets) == 1

    async def test_a_password_that_has_expired_at_the_registry_is_renewed(
        self, aws: AwsTokens, registry: FakeRegistry, connect: Opener
    ) -> None:
        client = await connect()
        await client.get_manifest(REMOTE, Tag("latest"), retry=False)
        registry.accounts = {"AWS": "password-2"}
        message = "Your authorization token has expired. Reauthenticate and try again."
        registry.server.script(ECR, failing(403, "DENIED", message), times=1)
        await client.get_manifest(REMOTE, Tag("latest"), retry=False)
        assert len(aws.targets) == 2

    async def test_a_403_about_the_repository_is_a_denial(
        self, aws: AwsTokens, registry: FakeRegistry, connect: Opener
    ) -> None:
        client = await connect()
        await client.get_manifest(REMOTE, Tag("latest"), retry=False)
        registry.server.script(ECR, failing(403, "DENIED", "User is not authorized to perform: ecr:BatchGetImage"))
        with pytest.raises(UpstreamError) as caught:
            await client.get_manifest(REMOTE, Tag("latest"), retry=False)
        assert caught.value.failure is UpstreamFailure.DENIED
        assert len(aws.targets) == 1

    async def test_a_password_that_the_registry_refuses_is_not_tried_again(
        self, aws: AwsTokens, registry: FakeRegistry, connect: Opener
    ) -> None:
        client = await connect()
        registry.accounts = {"AWS": "another"}
        with pytest.raises(UpstreamError) as caught:
            await client.get_manifest(REMOTE, Tag("latest"), retry=False)
        assert caught.value.failure is UpstreamFailure.CREDENTIALS_REFUSED
        assert len([visit for visit in registry.server.visits(ECR) if visit.authorization]) == 1
        assert len(aws.targets) == 1
