"""Every operation that is offered, by a real boto3: what is on the wire is what the model says, page by page too.

One tour through a registry calls them all. The retries of SDKs are shown against a server that is ill for a moment.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

import boto3
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import OperationModel

from proxy.config.settings import Settings
from proxy.core.offloading import Offloader
from proxy.core.registry.administration import Administration
from proxy.http import body
from proxy.http.aws import ecr as ecr_operations
from proxy.http.aws import secretsmanager as secret_operations
from proxy.http.aws.dispatch import Api
from proxy.http.aws.errors import render
from proxy.http.aws.operations import State
from proxy.http.aws.protocol import Codec
from proxy.http.lifecycle import Lifecycle
from proxy.http.middleware import observe
from proxy.http.reports import Reports
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.telemetry.metrics import Metrics
from tests.support.api_shapes import faults
from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of
from tests.unit.http.aws.conftest import ECR, Bench

OFFERED = {
    service: {name for name, operation in operations.items() if operation.state is not State.REFUSED}
    for service, operations in (("ecr", ecr_operations.OPERATIONS), ("secretsmanager", secret_operations.OPERATIONS))
}

# What an answer may leave out, because there is none of it, or because no answer here has it.
ABSENT: Mapping[str, set[str]] = {
    "GetLifecyclePolicy": {"lastEvaluatedAt"},
    "DeleteLifecyclePolicy": {"lastEvaluatedAt"},
    "ValidatePullThroughCacheRule": {"failure"},
    "CreateSecret": {"ReplicationStatus"},
    "GetSecretValue": {"SecretBinary"},
    "DescribeSecret": {
        "CrossAccountPrimary",
        "CrossAccountReplicas",
        "DeletedDate",
        "ExternalSecretRotationMetadata",
        "ExternalSecretRotationRoleArn",
        "LastAccessedDate",
        "LastRotatedDate",
        "NextRotationDate",
        "OwningService",
        "PrimaryRegion",
        "ReplicationStatus",
        "RotationEnabled",
        "RotationLambdaARN",
        "RotationRules",
        "Type",
    },
}


@cache
def session() -> boto3.session.Session:
    return boto3.session.Session(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="hidden")


@dataclass
class Wire:
    """A client of boto3 whose answers are held against the model as they come in."""

    service: str
    url: str
    retries: Mapping[str, Any] = field(default_factory=lambda: {"total_max_attempts": 1})
    seen: set[str] = field(default_factory=set)
    raw: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = Config(retries=dict(self.retries), connect_timeout=10, read_timeout=30)  # type: ignore[arg-type] # made here
        self.client: Any = session().client(
            self.service,  # type: ignore[call-overload] # any service
            region_name="us-east-1",
            endpoint_url=self.url,
            config=config,
        )
        self.client.meta.events.register("before-parse", self._received)

    def _received(self, operation_model: OperationModel, response_dict: dict[str, Any], **_: object) -> None:
        if response_dict["status_code"] != 200:
            return
        self.seen.add(operation_model.name)
        self.raw = json.loads(response_dict["body"])
        assert list(faults(operation_model.output_shape, self.raw, operation_model.name)) == []

    def __call__(self, operation: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
        """Return an answer that has every member of the model."""
        answer: dict[str, Any] = getattr(self.client, xform_name(operation))(**parameters)
        answer.pop("ResponseMetadata")
        assert set(answer) == set(self.raw)
        shape = self.client.meta.service_model.operation_model(operation).output_shape
        members = set(shape.members) if shape is not None else set()
        missing = members - set(answer) - ABSENT.get(operation, set()) - {"nextToken", "NextToken"}
        assert not missing, operation
        return answer

    def everything(self, operation: str, **parameters: Any) -> list[Any]:  # noqa: ANN401 - as boto3 has it
        """Return all results, which pages of one give like one page of all."""
        paginator = self.client.get_paginator(xform_name(operation))
        (key,) = [expression.expression for expression in paginator.result_keys if "." not in expression.expression][:1]
        whole: list[Any] = self(operation, **parameters)[key]
        pages = list(paginator.paginate(**parameters, PaginationConfig={"PageSize": 1}))
        assert [len(page[key]) for page in pages] == [1] * len(whole)
        assert [page[key][0] for page in pages] == whole
        return whole

    def by_hand(self, operation: str, key: str, token: str, size: str, **parameters: Any) -> list[Any]:  # noqa: ANN401 - as boto3 has it
        """Return all results of an operation for which boto3 has no paginator, one by one."""
        found: list[Any] = []
        more: dict[str, Any] = {}
        while True:
            answer = self(operation, **parameters, **more, **{size: 1})
            (one,) = answer[key]
            found.append(one)
            if token not in answer:
                return found
            more = {token: answer[token]}


# --- the tour -----------------------------------------------------------------------------------------------------

CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
LAYER = b"a layer" * 1000
STATEMENT = {"Sid": "pull", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage"]}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [STATEMENT]})
REGISTRY_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [STATEMENT | {"Resource": "arn:aws:ecr:us-east-1:000000000000:repository/*"}],
    }
)
SELECTION = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}
LIFECYCLE = json.dumps(
    {"rules": [{"rulePriority": 1, "description": "keep one", "selection": SELECTION, "action": {"type": "expire"}}]}
)
FILTERS = [{"filterType": "WILDCARD", "filter": "dev-*"}]
NAMED = {"repositoryName": "team/app"}
ROLE = "arn:aws:iam::000000000000:role/pull"


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def manifest(number: int, **more: object) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, CONFIG),
        "layers": [descriptor(OCI_LAYER, LAYER)],
        "annotations": {"number": str(number)},
    }
    return json.dumps(document | more).encode()


def secrets_tour(secrets: Wire) -> str:
    """Call every operation on secrets, and return the ARN of one."""
    login = json.dumps({"username": "someone", "accessToken": "hidden"})
    made = [secrets("CreateSecret", Name=f"ecr-pullthroughcache/s{number}", SecretString=login) for number in range(3)]
    name, first = made[0]["Name"], made[0]["VersionId"]
    secrets("UpdateSecret", SecretId=name, Description="a login", KmsKeyId="alias/own", SecretString=f"{login} ")
    second = secrets("PutSecretValue", SecretId=name, SecretString=login, VersionStages=["AWSCURRENT", "mine"])
    assert secrets("GetSecretValue", SecretId=name)["SecretString"] == login
    secrets("UpdateSecretVersionStage", SecretId=name, VersionStage="older", MoveToVersionId=first)
    versions = {"SecretId": name, "IncludeDeprecated": True}
    found = secrets.by_hand("ListSecretVersionIds", "Versions", "NextToken", "MaxResults", **versions)
    assert {first, second["VersionId"]} <= {version["VersionId"] for version in found}
    assert len(found) == 3
    secrets("TagResource", SecretId=name, Tags=[{"Key": "team", "Value": "one"}])
    secrets("UntagResource", SecretId=name, TagKeys=["team"])
    secrets("TagResource", SecretId=name, Tags=[{"Key": "team", "Value": "two"}])
    secrets("PutResourcePolicy", SecretId=name, ResourcePolicy=POLICY)
    assert json.loads(secrets("GetResourcePolicy", SecretId=name)["ResourcePolicy"]) == json.loads(POLICY)
    secrets("DeleteResourcePolicy", SecretId=name)
    secrets("DescribeSecret", SecretId=name)
    assert len(secrets.everything("ListSecrets")) == 3
    assert isinstance(secrets("DeleteSecret", SecretId=name)["DeletionDate"], datetime)
    return str(secrets("RestoreSecret", SecretId=name)["ARN"])


def rules_tour(ecr: Wire, secret: str) -> None:
    """Call every operation on cache rules."""
    for prefix, host in [("k8s", "registry.k8s.io"), ("quay", "quay.io"), ("hub", "registry-1.docker.io")]:
        made = ecr(
            "CreatePullThroughCacheRule",
            ecrRepositoryPrefix=prefix,
            upstreamRegistryUrl=host,
            credentialArn=secret,
            customRoleArn=ROLE,
            upstreamRepositoryPrefix="library",
        )
        assert isinstance(made["createdAt"], datetime)
    updated = ecr("UpdatePullThroughCacheRule", ecrRepositoryPrefix="hub", credentialArn=secret, customRoleArn=ROLE)
    assert isinstance(updated["updatedAt"], datetime)
    assert ecr("ValidatePullThroughCacheRule", ecrRepositoryPrefix="hub")["isValid"] is True
    assert len(ecr.everything("DescribePullThroughCacheRules")) == 3
    ecr("DeletePullThroughCacheRule", ecrRepositoryPrefix="hub")


def repositories_tour(ecr: Wire) -> None:
    """Call every operation on repositories, and leave one with images."""
    arn = ""
    for name in ("team/app", "team/r1", "team/r2"):
        made = ecr(
            "CreateRepository",
            repositoryName=name,
            tags=[{"Key": "name", "Value": name}],
            imageTagMutability="MUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=FILTERS,
            imageScanningConfiguration={"scanOnPush": True},
            encryptionConfiguration={"encryptionType": "KMS", "kmsKey": "alias/own"},
        )
        arn = made["repository"]["repositoryArn"]
        assert isinstance(made["repository"]["createdAt"], datetime)
    immutable = {"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": FILTERS}
    ecr("PutImageTagMutability", **NAMED, **immutable)
    ecr("PutImageScanningConfiguration", **NAMED, imageScanningConfiguration={"scanOnPush": False})
    ecr("TagResource", resourceArn=arn, tags=[{"Key": "team", "Value": "one"}])
    ecr("UntagResource", resourceArn=arn, tagKeys=["name"])
    assert ecr("ListTagsForResource", resourceArn=arn)["tags"] == [{"Key": "team", "Value": "one"}]
    ecr("SetRepositoryPolicy", **NAMED, policyText=POLICY)
    assert json.loads(ecr("GetRepositoryPolicy", **NAMED)["policyText"]) == json.loads(POLICY)
    ecr("DeleteRepositoryPolicy", **NAMED)
    assert len(ecr.everything("DescribeRepositories")) == 3
    ecr("DeleteRepository", repositoryName="team/r2", force=True)


def images_tour(ecr: Wire) -> None:
    """Call every operation on layers and images."""
    for content in (CONFIG, LAYER):
        upload = ecr("InitiateLayerUpload", **NAMED)["uploadId"]
        part = {"partFirstByte": 0, "partLastByte": len(content) - 1, "layerPartBlob": content}
        assert ecr("UploadLayerPart", **NAMED, uploadId=upload, **part)["lastByteReceived"] == len(content) - 1
        ecr("CompleteLayerUpload", **NAMED, uploadId=upload, layerDigests=[digest_of(content)])
    absent = f"sha256:{hashlib.sha256(b'absent').hexdigest()}"
    asked = [digest_of(LAYER), absent, "nonsense"]
    found = ecr("BatchCheckLayerAvailability", **NAMED, layerDigests=asked)
    assert [layer["layerAvailability"] for layer in found["layers"]] == ["AVAILABLE", "UNAVAILABLE"]
    put = [ecr("PutImage", **NAMED, imageManifest=manifest(n).decode(), imageTag=f"v{n}") for n in range(3)]
    subject = descriptor(OCI_MANIFEST, manifest(0))
    for number in range(3):
        made = manifest(number, subject=subject, artifactType="application/vnd.example")
        ecr("PutImage", **NAMED, imageManifest=made.decode(), imageManifestMediaType=OCI_MANIFEST)
    ecr("GetDownloadUrlForLayer", **NAMED, layerDigest=digest_of(LAYER))
    assert len(ecr.everything("ListImages", **NAMED)) == 6
    details = ecr.everything("DescribeImages", **NAMED)
    assert len(details) == 6
    assert all(isinstance(image["imagePushedAt"], datetime) for image in details)
    wanted = [put[2]["image"]["imageId"], {"imageTag": "absent"}, {"imageDigest": "nonsense"}]
    got = ecr("BatchGetImage", **NAMED, imageIds=wanted)
    assert [image["imageManifest"] for image in got["images"]] == [manifest(2).decode()]
    assert len(got["failures"]) == 2
    named = {**NAMED, "subjectId": {"imageDigest": subject["digest"]}}
    assert len(ecr.by_hand("ListImageReferrers", "referrers", "nextToken", "maxResults", **named)) == 3


def lifecycle_tour(ecr: Wire) -> None:
    """Call every operation on lifecycle policies."""
    ecr("PutLifecyclePolicy", **NAMED, lifecyclePolicyText=LIFECYCLE)
    assert ecr("GetLifecyclePolicy", **NAMED)["lifecyclePolicyText"] == LIFECYCLE
    ecr("StartLifecyclePolicyPreview", **NAMED)
    ecr.client.get_waiter("lifecycle_policy_preview_complete").wait(
        **NAMED, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    previewed = ecr.everything("GetLifecyclePolicyPreview", **NAMED)
    # All but the last, and with the first what refers to it.
    assert sorted(tag for image in previewed for tag in image.get("imageTags", ["untagged"])) == ["untagged"] * 3 + [
        "v0",
        "v1",
    ]
    ecr("DeleteLifecyclePolicy", **NAMED)
    gone = ecr("BatchDeleteImage", **NAMED, imageIds=[{"imageTag": "v2"}, {"imageTag": "absent"}])
    assert len(gone["imageIds"]) == len(gone["failures"]) == 1


def registry_tour(ecr: Wire) -> None:
    """Call every operation on templates and on the registry itself."""
    for prefix in ("one", "two", "ROOT"):
        ecr(
            "CreateRepositoryCreationTemplate",
            prefix=prefix,
            description="all there is",
            encryptionConfiguration={"encryptionType": "AES256"},
            resourceTags=[{"Key": "team", "Value": "one"}],
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=FILTERS,
            repositoryPolicy=POLICY,
            lifecyclePolicy=LIFECYCLE,
            appliedFor=["CREATE_ON_PUSH", "PULL_THROUGH_CACHE"],
            customRoleArn=ROLE,
        )
    updated = ecr("UpdateRepositoryCreationTemplate", prefix="one", description="other")
    assert isinstance(updated["repositoryCreationTemplate"]["updatedAt"], datetime)
    assert len(ecr.everything("DescribeRepositoryCreationTemplates")) == 3
    ecr("DeleteRepositoryCreationTemplate", prefix="one")
    ecr("PutRegistryPolicy", policyText=REGISTRY_POLICY)
    ecr("GetRegistryPolicy")
    ecr("DeleteRegistryPolicy")
    destination = {"region": "eu-west-1", "registryId": "000000000000"}
    rule = {"destinations": [destination], "repositoryFilters": [{"filter": "team", "filterType": "PREFIX_MATCH"}]}
    ecr("PutReplicationConfiguration", replicationConfiguration={"rules": [rule]})
    assert ecr("DescribeRegistry")["replicationConfiguration"] == {"rules": [rule]}
    ecr("PutAccountSetting", name="BLOB_MOUNTING", value="ENABLED")
    assert ecr("GetAccountSetting", name="BLOB_MOUNTING")["value"] == "ENABLED"
    assert isinstance(ecr("GetAuthorizationToken")["authorizationData"][0]["expiresAt"], datetime)


async def test_every_operation_answers_as_its_model_says(api: Bench) -> None:
    def tour() -> tuple[Wire, Wire]:
        ecr, secrets = Wire("ecr", api.url), Wire("secretsmanager", api.url)
        rules_tour(ecr, secrets_tour(secrets))
        repositories_tour(ecr)
        images_tour(ecr)
        lifecycle_tour(ecr)
        registry_tour(ecr)
        return ecr, secrets

    for wire in await asyncio.to_thread(tour):
        assert wire.seen == OFFERED[wire.service]


@pytest.mark.parametrize("name", sorted(ecr_operations.OPERATIONS.keys() - OFFERED["ecr"]))
async def test_boto3_raises_what_a_refused_operation_answers(api: Bench, name: str) -> None:
    client = await asyncio.to_thread(lambda: Wire("ecr", api.url).client)
    shape = Codec("ecr").operation(name).input_shape
    assert shape is not None
    given = {member: GIVEN[member] for member in shape.required_members}

    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(getattr(client, xform_name(name)), **given)
    told = caught.value.response
    assert told["Error"]["Code"] == "UnsupportedOperationException"
    assert told["Error"]["Message"].startswith(f"{name} is not offered: ")
    assert told["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert told["ResponseMetadata"]["RequestId"]


GIVEN: Mapping[str, Any] = {
    "destination": {"region": "eu-west-1", "registryId": "000000000000"},
    "imageId": {"imageTag": "latest"},
    "principalArn": "arn:aws:iam::000000000000:user/someone",
    "replicationBackfillId": "11111111-2222-4333-8444-555555555555",
    "repositoryName": "team/app",
    "repositoryNames": ["team/app"],
    "signingConfiguration": {"rules": []},
    "targetStorageClass": "ARCHIVE",
}


# --- retries ------------------------------------------------------------------------------------------------------


@dataclass
class Ill:
    """A server before which something answers `fault` to the first `times` requests."""

    url: str = ""
    fault: ApiErrorCode = ApiErrorCode.ServerException
    times: int = 0
    requests: int = 0


@pytest.fixture
async def ill(services: Administration) -> AsyncIterator[Ill]:
    told = Ill()

    @web.middleware
    async def fail(request: web.Request, handler: Handler) -> web.StreamResponse:
        told.requests += 1
        return render(ApiError(told.fault), "id") if told.requests <= told.times else await handler(request)

    application = web.Application(middlewares=[observe(Reports(Metrics()), Lifecycle()), fail])
    application[body.PATIENCE] = 60
    application.router.add_post("/", (await asyncio.to_thread(Api, services, Offloader())).answer)
    async with TestServer(application) as server:
        told.url = str(server.make_url("/"))
        yield told


def retrying(mode: str) -> dict[str, Any]:
    return {"mode": mode, "total_max_attempts": 2}


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize(
    "fault", [ApiErrorCode.ServerException, ApiErrorCode.ServiceUnavailable, ApiErrorCode.InternalServiceError]
)
async def test_what_passes_is_tried_again(ill: Ill, mode: str, fault: ApiErrorCode) -> None:
    ill.fault, ill.times = fault, 1
    assert await asyncio.to_thread(lambda: Wire("ecr", ill.url, retrying(mode))("DescribeRepositories")) == {
        "repositories": []
    }
    assert ill.requests == 2


@pytest.mark.parametrize("mode", ["legacy", "standard"])
async def test_a_refusal_is_told_at_once(ill: Ill, mode: str) -> None:
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        await asyncio.to_thread(lambda: Wire("ecr", ill.url, retrying(mode))("DeleteRepository", **NAMED))
    assert ill.requests == 1


class TestLimits:
    @pytest.fixture
    def settings(self) -> Settings:
        return ECR

    @pytest.mark.parametrize(("mode", "requests"), [("legacy", 1), ("standard", 2)])
    async def test_a_limit_that_is_reached_is_tried_again_by_standard_clients(
        self, ill: Ill, mode: str, requests: int
    ) -> None:
        def fill() -> None:
            wire = Wire("ecr", ill.url)
            for number in range(50):
                prefix = f"quay{number}"
                wire.client.create_pull_through_cache_rule(ecrRepositoryPrefix=prefix, upstreamRegistryUrl="quay.io")

        await asyncio.to_thread(fill)
        assert ill.requests == 50
        client = await asyncio.to_thread(lambda: Wire("ecr", ill.url, retrying(mode)).client)
        with pytest.raises(client.exceptions.LimitExceededException):
            await asyncio.to_thread(
                client.create_pull_through_cache_rule, ecrRepositoryPrefix="one-more", upstreamRegistryUrl="quay.io"
            )
        assert ill.requests == 50 + requests
