"""Which operations of the APIs are changes to the audit trail: all but those that only read or prepare."""

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.http.audit import Auditor
from proxy.http.aws import ecr, secretsmanager
from proxy.http.aws.operations import State
from proxy.http.trace import OtherKind, Trace
from proxy.telemetry.audit import AuditEvent

SERVICES = {OtherKind.ECR: ecr.OPERATIONS, OtherKind.SECRETS_MANAGER: secretsmanager.OPERATIONS}

# By hand, so that a new operation is thought about here.
SILENT = {
    OtherKind.ECR: """
        BatchCheckLayerAvailability BatchGetImage DescribeImages DescribePullThroughCacheRules DescribeRegistry
        DescribeRepositories DescribeRepositoryCreationTemplates GetAccountSetting GetAuthorizationToken
        GetDownloadUrlForLayer GetLifecyclePolicy GetLifecyclePolicyPreview GetRegistryPolicy GetRepositoryPolicy
        InitiateLayerUpload ListImageReferrers ListImages ListTagsForResource UploadLayerPart
        ValidatePullThroughCacheRule
    """,
    OtherKind.SECRETS_MANAGER: "DescribeSecret GetResourcePolicy GetSecretValue ListSecretVersionIds ListSecrets",
}


class Trail:
    """The `AuditTrail` that remembers."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def record(self, event: AuditEvent) -> None:
        self.events.append(event)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, operations in SERVICES.items()
        for name, operation in operations.items()
        if operation.state is not State.REFUSED
    ],
)
async def test_one_event_for_each_change(kind: OtherKind, name: str) -> None:
    trail, operation = Trail(), SERVICES[kind][name]
    auditor, request = Auditor(trail), make_mocked_request("POST", "/")
    changes = name not in SILENT[kind].split()
    trace = Trace("id", 0.0, kind=kind, reference=name, operation=f"{kind}:{name}", action=operation.action)
    await auditor.answered(request, trace, 200)
    await auditor.answered(request, trace, 400)
    await auditor.answered(request, trace, 500)
    await auditor.left(request, trace)
    told = [(event.operation, event.result, event.status) for event in trail.events]
    assert told == (
        [
            (f"{kind}:{name}", "done", 200),
            (f"{kind}:{name}", "UNKNOWN", 500),
            (f"{kind}:{name}", "unknown: the client left", None),
        ]
        if changes
        else []
    )
    assert {event.reference for event in trail.events} <= {None}


def test_each_silent_operation_is_there() -> None:
    for kind, names in SILENT.items():
        assert set(names.split()) <= SERVICES[kind].keys()
