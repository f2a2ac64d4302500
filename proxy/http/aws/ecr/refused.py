"""Amazon ECR's operations that are not offered: each answers what is missing, and what there is instead."""

from collections.abc import Mapping
from typing import Final

from proxy.http.aws.operations import Answer, ApiCall, Given, Operation, State
from proxy.model.api_errors import ApiError, ApiErrorCode

_SCANNING = "this registry does not scan images: scan them with a scanner of your own, which pulls them as clients do"
_SIGNING = (
    "this registry does not sign images: sign them with a client's tool, which pushes the signature as a referrer "
    "(ListImageReferrers tells of those)"
)
_ARCHIVE = "this registry has no storage class ARCHIVE: lifecycle policies and BatchDeleteImage remove what is not used"
_REPLICATION = "this registry keeps its replication configuration (DescribeRegistry) and copies nothing to others"
_BACKFILL = f"{_REPLICATION}, neither what is pushed nor what was there before"
_PULL_TIMES = (
    "this registry tells no principals apart when it notes pulls: lastRecordedPullTime of DescribeImages is that of "
    "whoever pulled last"
)

SENTENCES: Final[Mapping[str, str]] = {
    "BatchGetRepositoryScanningConfiguration": (
        f"{_SCANNING}; imageScanningConfiguration of DescribeRepositories is what PutImageScanningConfiguration set"
    ),
    "DeleteSigningConfiguration": _SIGNING,
    "DeregisterPullTimeUpdateExclusion": _PULL_TIMES,
    "DescribeImageReplicationStatus": _REPLICATION,
    "DescribeImageScanFindings": _SCANNING,
    "DescribeImageSigningStatus": _SIGNING,
    "DescribeReplicationBackfillResults": _BACKFILL,
    "GetRegistryScanningConfiguration": _SCANNING,
    "GetSigningConfiguration": _SIGNING,
    "ListPullTimeUpdateExclusions": _PULL_TIMES,
    "ListReplicationBackfills": _BACKFILL,
    "PutRegistryScanningConfiguration": _SCANNING,
    "PutSigningConfiguration": _SIGNING,
    "RegisterPullTimeUpdateExclusion": _PULL_TIMES,
    "StartImageScan": _SCANNING,
    "StartReplicationBackfill": _BACKFILL,
    "StopReplicationBackfill": _BACKFILL,
    "UpdateImageStorageClass": _ARCHIVE,
}
"""What each of them answers, after its name."""


def _refusal(name: str, sentence: str) -> Operation:
    async def refuse(_call: ApiCall, _given: Given) -> Answer:
        raise ApiError(ApiErrorCode.UnsupportedOperationException, f"{name} is not offered: {sentence}")

    # What is answered is in the documentation.
    return Operation(refuse, State.REFUSED, f"{sentence[:1].upper()}{sentence[1:]}.", action=None)


OPERATIONS: Final[Mapping[str, Operation]] = {name: _refusal(name, sentence) for name, sentence in SENTENCES.items()}
