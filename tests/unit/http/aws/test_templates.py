"""Operations on repository creation templates, as boto3 sees them."""

import json
from datetime import UTC, datetime

import pytest

from tests.unit.http.aws.conftest import Bench, Boto, Client

ACCOUNT = "000000000000"
POLICY = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}}, indent=1)
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3},
                "action": {"type": "expire"},
            }
        ]
    }
)
FULL = {
    "description": "of the team",
    "encryptionConfiguration": {
        "encryptionType": "KMS",
        "kmsKey": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/12345678",
    },
    "resourceTags": [{"Key": "b", "Value": "1"}, {"Key": "a", "Value": "2"}],
    "imageTagMutability": "MUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [
        {"filterType": "WILDCARD", "filter": "v*"},
        {"filterType": "WILDCARD", "filter": "release"},
    ],
    "repositoryPolicy": POLICY,
    "lifecyclePolicy": LIFECYCLE,
    "appliedFor": ["PULL_THROUGH_CACHE", "CREATE_ON_PUSH"],
    "customRoleArn": f"arn:aws:iam::{ACCOUNT}:role/x",
}


async def test_a_template_is_returned_as_it_was_sent(api: Bench, ecr: Client) -> None:
    made = await ecr("create_repository_creation_template", prefix="quay/", **FULL)

    now = datetime.fromtimestamp(api.clock.now(), UTC)
    shown = {"prefix": "quay/", **FULL, "createdAt": now, "updatedAt": now}
    assert made == {"registryId": ACCOUNT, "repositoryCreationTemplate": shown}
    for asked in ({}, {"prefixes": ["quay"]}, {"prefixes": ["quay/"]}):
        described = await ecr("describe_repository_creation_templates", **asked)
        assert described == {"registryId": ACCOUNT, "repositoryCreationTemplates": [shown]}
    assert await ecr("delete_repository_creation_template", prefix="quay") == made
    assert (await ecr("describe_repository_creation_templates"))["repositoryCreationTemplates"] == []


async def test_a_bare_template_is_shown_with_ecrs_defaults(ecr: Client) -> None:
    made = await ecr("create_repository_creation_template", prefix="ROOT", appliedFor=["REPLICATION"])

    shown = made["repositoryCreationTemplate"]
    assert shown.pop("createdAt") == shown.pop("updatedAt")
    assert shown == {
        "prefix": "ROOT",
        "appliedFor": ["REPLICATION"],
        "imageTagMutability": "MUTABLE",
        "encryptionConfiguration": {"encryptionType": "AES256"},
    }


async def test_an_update_changes_only_what_is_sent(api: Bench, ecr: Client) -> None:
    made = await ecr("create_repository_creation_template", prefix="quay", **FULL)
    api.clock.advance(60)

    answer = await ecr("update_repository_creation_template", prefix="quay/", description="other")

    changed = {"description": "other", "updatedAt": datetime.fromtimestamp(api.clock.now(), UTC)}
    shown = made["repositoryCreationTemplate"] | changed
    assert answer == {"registryId": ACCOUNT, "repositoryCreationTemplate": shown}
    assert (await ecr("describe_repository_creation_templates"))["repositoryCreationTemplates"] == [shown]


async def test_what_is_sent_empty_is_taken_away(ecr: Client) -> None:
    await ecr("create_repository_creation_template", prefix="quay", **FULL)

    answer = await ecr(
        "update_repository_creation_template",
        prefix="quay",
        description="",
        repositoryPolicy="",
        lifecyclePolicy="",
        resourceTags=[],
        imageTagMutability="IMMUTABLE",
    )

    gone = {
        *("description", "repositoryPolicy", "lifecyclePolicy", "resourceTags"),
        "imageTagMutabilityExclusionFilters",
    }
    assert not gone & answer["repositoryCreationTemplate"].keys()
    assert answer["repositoryCreationTemplate"]["imageTagMutability"] == "IMMUTABLE"


async def test_templates_are_told_apart_by_their_prefix(ecr: Client) -> None:
    await ecr("create_repository_creation_template", prefix="quay", **FULL)

    code, _ = await ecr.refused("create_repository_creation_template", prefix="quay/", appliedFor=["REPLICATION"])
    assert code == "TemplateAlreadyExistsException"
    for operation, asked in (
        ("update_repository_creation_template", {"prefix": "quay/team"}),
        ("delete_repository_creation_template", {"prefix": "quay/team"}),
    ):
        code, message = await ecr.refused(operation, **asked)
        assert code == "TemplateNotFoundException"
        assert "'quay/team'" in message
    described = await ecr("describe_repository_creation_templates", prefixes=["quay/team", "quay"])
    assert [each["prefix"] for each in described["repositoryCreationTemplates"]] == ["quay"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "UPPER"},
        {"prefix": "quay//"},
        {"prefix": "/quay"},
        {"appliedFor": ["PULL"]},
        {"appliedFor": []},
        {"repositoryPolicy": "{}"},
        {"lifecyclePolicy": "{}"},
        {"imageTagMutability": "MUTABLE"},
        {"imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "a b"}]},
        {"encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/key"}},
        {"resourceTags": [{"Key": "aws:a", "Value": "b"}]},
        {"description": "x" * 257},
    ],
)
async def test_what_no_template_may_have_is_refused(boto: Boto, wrong: dict[str, object]) -> None:
    ecr = boto("ecr", validate=False)

    code, _ = await ecr.refused("create_repository_creation_template", **{"prefix": "quay", **FULL, **wrong})

    assert code == "InvalidParameterException"
    assert (await ecr("describe_repository_creation_templates"))["repositoryCreationTemplates"] == []


async def test_pages_give_everything_once(ecr: Client) -> None:
    prefixes = ["ROOT", "a", "a/b/", "b"]
    for prefix in prefixes:
        await ecr("create_repository_creation_template", prefix=prefix, appliedFor=["CREATE_ON_PUSH"])

    for size in (1, 3, 4):
        pages = await ecr.pages("describe_repository_creation_templates", PaginationConfig={"PageSize": size})
        assert [found["prefix"] for page in pages for found in page["repositoryCreationTemplates"]] == prefixes
        assert {page["registryId"] for page in pages} == {ACCOUNT}
    code, message = await ecr.refused("describe_repository_creation_templates", prefixes=["a"], maxResults=1)
    assert (code, "maxResults" in message) == ("InvalidParameterException", True)
