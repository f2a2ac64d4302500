"""The part of AWS Secrets Manager that rules with credentials need."""

from collections.abc import Mapping
from typing import Final

from proxy.http.aws.operations import Operation
from proxy.http.aws.secretsmanager import policies, secrets, values

OPERATIONS: Final[Mapping[str, Operation]] = {**secrets.OPERATIONS, **values.OPERATIONS, **policies.OPERATIONS}
