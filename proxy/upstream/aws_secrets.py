"""Secrets of AWS Secrets Manager, read as the AWS identity of this machine."""

import asyncio

import boto3
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unconnected

from proxy.config.credentials import AwsSecretsSettings
from proxy.core.registry.secrets.names import SecretReference
from proxy.core.registry.secrets.ports import SecretError, SecretFailure
from proxy.upstream.aws import CONFIG, IDENTITY_REMEDY, code_of, is_passing


class AwsSecrets:
    """The `SecretPlace` port over AWS; credentials and profile are found as boto3 finds them."""

    lifetime = 30.0

    def __init__(self, settings: AwsSecretsSettings) -> None:
        """Ask nothing yet."""
        self._settings = settings

    async def read(self, reference: SecretReference) -> str | None:
        """Return the current version of a secret, or None where AWS has none of that name."""
        return await asyncio.to_thread(self._read, reference)

    def _read(self, reference: SecretReference) -> str | None:
        region = self._settings.region
        try:
            client = boto3.session.Session().client(
                "secretsmanager", region_name=region, endpoint_url=self._settings.endpoint_url, config=CONFIG
            )
            answer = client.get_secret_value(SecretId=reference.text)
        except ClientError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise _refusal(reference, region, error) from None
        except (HTTPClientError, Unconnected) as error:
            raise SecretError(
                SecretFailure.UNAVAILABLE,
                f"AWS Secrets Manager in {region} cannot be reached ({type(error).__name__}); check the network, or "
                "`secrets.aws.endpoint_url`",
            ) from None
        except (BotoCoreError, ValueError) as error:
            raise SecretError(
                SecretFailure.INACCESSIBLE,
                f"boto3 finds no usable AWS credentials for {reference.name} ({type(error).__name__}); "
                f"{IDENTITY_REMEDY}",
            ) from None
        text: str | None = answer.get("SecretString")
        if text is None:
            raise SecretError(
                SecretFailure.MALFORMED, f"the secret {reference.name} of AWS is binary: put it as a text"
            )
        return text


def _refusal(reference: SecretReference, region: str, error: ClientError) -> SecretError:
    code, message = code_of(error), error.response.get("Error", {}).get("Message", "")
    what = f"the secret {reference.name} of AWS in {region}"
    if code == "DecryptionFailure" or (code == "AccessDeniedException" and "KMS" in message):
        return SecretError(
            SecretFailure.SEALED,
            f"{what} cannot be decrypted ({code}); the identity that boto3 finds needs permission for kms:Decrypt with "
            "its key",
        )
    if is_passing(error):
        return SecretError(SecretFailure.UNAVAILABLE, f"{what} cannot be read now ({code}); try again later")
    if code == "InvalidRequestException":
        return SecretError(SecretFailure.INACCESSIBLE, f"{what} is marked for deletion: restore it")
    return SecretError(
        SecretFailure.INACCESSIBLE,
        f"{what} may not be read ({code}); the identity that boto3 finds needs permission for "
        "secretsmanager:GetSecretValue",
    )
