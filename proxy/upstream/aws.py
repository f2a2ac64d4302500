"""What calls to AWS, made as the AWS identity of this machine, have in common."""

from typing import Final

from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG: Final = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
"""Short of patience: a pull waits for the answer."""

IDENTITY_REMEDY: Final = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"

_SERVER_ERRORS: Final = 500


def code_of(error: ClientError) -> str:
    """Return AWS's name for what it refuses."""
    return error.response.get("Error", {}).get("Code", "unknown")


def is_passing(error: ClientError) -> bool:
    """Tell whether AWS itself failed, or asks to be asked less: the same request may be answered later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= _SERVER_ERRORS or "Throttl" in code_of(error)
