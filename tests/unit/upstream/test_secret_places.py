"""Secrets of the configuration, and of AWS."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.credentials import AwsSecretsSettings, SecretSettings, SecretValueSettings
from proxy.core.registry.secrets.names import SecretReference
from proxy.core.registry.secrets.ports import SecretError, SecretFailure, SecretPlace
from proxy.upstream.aws_secrets import AwsSecrets
from proxy.upstream.configured_secrets import ConfiguredSecrets
from tests.support.aws_services import AwsSecretValues, be_aws_identity

NAME = "ecr-pullthroughcache/hub"
ARN = f"arn:aws:secretsmanager:eu-west-1:012345678910:secret:{NAME}-AbC123"
LOGIN = json.dumps({"username": "u", "accessToken": "hidden"})


async def read(place: SecretPlace, text: str = NAME) -> str | None:
    return await place.read(SecretReference.parse(text))


async def failure_of(place: SecretPlace, text: str = NAME) -> SecretError:
    with pytest.raises(SecretError) as caught:
        await read(place, text)
    assert "hidden" not in caught.value.message
    return caught.value


class TestConfigured:
    def value(self, name: str = NAME, **token: object) -> SecretValueSettings:
        return SecretValueSettings(
            name=name, username="robot", access_token=SecretSettings.model_validate(token or {"env": "HUB_TOKEN"})
        )

    @pytest.mark.parametrize("text", [NAME, ARN, ARN[:-7], f"{NAME}-AbC123"])
    async def test_a_secret_is_found_by_its_name_in_any_form(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("HUB_TOKEN", 'to"k\\en')
        found = await read(ConfiguredSecrets([self.value("other"), self.value()]), text)
        assert found is not None
        assert json.loads(found) == {"username": "robot", "accessToken": 'to"k\\en'}

    async def test_one_that_is_not_there_is_left_to_others(self) -> None:
        assert await read(ConfiguredSecrets([self.value("other")])) is None

    async def test_the_token_is_read_anew_each_time(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        place = ConfiguredSecrets([self.value(file=path)])
        for token in ("one", "two"):
            path.write_text(f"{token}\n")
            assert json.loads(await read(place) or "")["accessToken"] == token

    async def test_a_token_that_cannot_be_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HUB_TOKEN", raising=False)
        for value, where in (
            (self.value(), "environment variable HUB_TOKEN"),
            (self.value(file=tmp_path / "absent"), str(tmp_path / "absent")),
        ):
            error = await failure_of(ConfiguredSecrets([value]))
            assert error.failure is SecretFailure.INACCESSIBLE
            assert where in error.message
            assert NAME in error.message

    async def test_a_reload_takes_over_other_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUB_TOKEN", "x")
        place = ConfiguredSecrets([self.value("old")])
        place.configure([self.value()])
        assert await read(place) is not None
        assert await read(place, "old") is None


class TestAws:
    @pytest.fixture(autouse=True)
    def _identity(self, monkeypatch: pytest.MonkeyPatch) -> None:
        be_aws_identity(monkeypatch)

    @pytest.fixture
    async def aws(self) -> AsyncIterator[AwsSecretValues]:
        async with AwsSecretValues(LOGIN).running() as running:
            yield running

    @pytest.fixture
    def place(self, aws: AwsSecretValues) -> AwsSecrets:
        return AwsSecrets(AwsSecretsSettings(region="eu-west-1", endpoint_url=aws.url))

    @pytest.mark.parametrize("text", [NAME, ARN])
    async def test_a_secret_is_asked_for_as_it_was_named(
        self, aws: AwsSecretValues, place: AwsSecrets, text: str
    ) -> None:
        assert await read(place, text) == LOGIN
        assert aws.asked == [("secretsmanager.GetSecretValue", text, "eu-west-1/secretsmanager")]

    async def test_one_that_is_not_there_is_left_to_others(self, aws: AwsSecretValues, place: AwsSecrets) -> None:
        aws.failure = (400, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
        assert await read(place) is None

    @pytest.mark.parametrize(
        ("failure", "meaning", "remedy"),
        [
            ((400, "AccessDeniedException", "no"), SecretFailure.INACCESSIBLE, "secretsmanager:GetSecretValue"),
            ((400, "UnrecognizedClientException", "no"), SecretFailure.INACCESSIBLE, "the identity that boto3 finds"),
            ((400, "InvalidRequestException", "marked"), SecretFailure.INACCESSIBLE, "restore it"),
            ((400, "AccessDeniedException", "Access to KMS is not allowed"), SecretFailure.SEALED, "kms:Decrypt"),
            ((400, "DecryptionFailure", "no"), SecretFailure.SEALED, "kms:Decrypt"),
            ((400, "ThrottlingException", "no"), SecretFailure.UNAVAILABLE, "try again"),
            ((500, "InternalServiceError", "no"), SecretFailure.UNAVAILABLE, "try again"),
        ],
    )
    async def test_failures_are_told_apart(
        self,
        aws: AwsSecretValues,
        place: AwsSecrets,
        failure: tuple[int, str, str],
        meaning: SecretFailure,
        remedy: str,
    ) -> None:
        aws.failure = failure
        error = await failure_of(place)
        assert error.failure is meaning
        assert remedy in error.message
        assert NAME in error.message

    async def test_a_binary_secret_is_no_text(self, aws: AwsSecretValues, place: AwsSecrets) -> None:
        aws.text = None
        assert (await failure_of(place)).failure is SecretFailure.MALFORMED

    async def test_an_api_that_is_not_there_is_unavailable(self) -> None:
        place = AwsSecrets(AwsSecretsSettings(region="eu-west-1", endpoint_url="http://127.0.0.1:1"))
        error = await failure_of(place)
        assert error.failure is SecretFailure.UNAVAILABLE
        assert "`secrets.aws.endpoint_url`" in error.message

    async def test_a_machine_without_an_identity_says_so(
        self, aws: AwsSecretValues, place: AwsSecrets, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        error = await failure_of(place)
        assert error.failure is SecretFailure.INACCESSIBLE
        assert "AWS_PROFILE" in error.message
        assert aws.asked == []
