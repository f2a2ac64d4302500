"""Members that the requests and answers of several operations have, between Secrets Manager's shape and core's."""

from proxy.core.registry.records import SecretRecord
from proxy.core.registry.secrets.administration import SecretValue
from proxy.http.aws.operations import Answer, ApiCall, Given
from proxy.model.api_errors import ApiError, ApiErrorCode


def names_shown(call: ApiCall, record: SecretRecord) -> Answer:
    """Return how a secret is named in every answer."""
    return {"ARN": call.services.secrets.arn(record), "Name": record.name}


def value_given(given: Given) -> SecretValue | None:
    """Return the value in a request, as text or bytes, or None; `ApiError` for both."""
    text, data = given.get("SecretString"), given.get("SecretBinary")
    if text is not None and data is not None:
        raise ApiError(
            ApiErrorCode.InvalidParameterException,
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        )
    if text is not None:
        try:
            return SecretValue(text.encode())
        except UnicodeEncodeError:
            raise ApiError(ApiErrorCode.InvalidParameterException, "SecretString is not Unicode text.") from None
    return SecretValue(data, binary=True) if data is not None else None
