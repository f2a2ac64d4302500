"""GetAuthorizationToken of AWS, by boto3, which takes long to import: only who asks for a token does."""

from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unconnected

from proxy.model.errors import UpstreamFailure
from proxy.upstream.aws import CONFIG, IDENTITY_REMEDY, code_of, is_passing
from proxy.upstream.credential import NoCredentialError


def ask_aws(service: str, region: str) -> tuple[str, float]:
    """Return a token of `service` and when it expires, in seconds since the epoch; raise `NoCredentialError`.

    Blocks; runs in a thread.
    """
    try:
        client: Any = boto3.session.Session().client(service, region_name=region, config=CONFIG)  # type: ignore[call-overload] # the service is one of two, by the kind of upstream
        data = client.get_authorization_token()["authorizationData"]
    except ClientError as error:
        raise _refusal(service, region, error) from None
    except (HTTPClientError, Unconnected) as error:
        raise NoCredentialError(
            f"the API of AWS {service} in {region} cannot be reached ({type(error).__name__}); check the network, or "
            "AWS_ENDPOINT_URL_ECR",
            UpstreamFailure.UNREACHABLE,
        ) from None
    except (BotoCoreError, ValueError) as error:
        raise NoCredentialError(
            f"boto3 finds no usable AWS credentials ({type(error).__name__}); {IDENTITY_REMEDY}"
        ) from None
    # ECR answers a list, for the registries that could be named once; ECR Public answers one entry.
    entry = data[0] if isinstance(data, list) else data
    return entry["authorizationToken"], entry["expiresAt"].timestamp()


def _refusal(service: str, region: str, error: ClientError) -> NoCredentialError:
    code = code_of(error)
    if is_passing(error):
        return NoCredentialError(f"AWS {service} in {region} failed ({code})", UpstreamFailure.SERVER_ERROR)
    return NoCredentialError(
        f"AWS refuses a token for {service} in {region} ({code}); the identity that boto3 finds needs permission for "
        f"{service}:GetAuthorizationToken"
    )
