"""The built-in Secrets Manager, as boto3 and Terraform use it."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from tests.unit.http.aws.conftest import Bench, Boto, Client

NAME = "ecr-pullthroughcache/hub"
TOKENS = [f"{number}".rjust(32, "0") for number in range(30)]
DAY = 86400
MARKED = (
    "InvalidRequestException",
    "You can't perform this operation on the secret because it was marked for deletion.",
)
NOT_FOUND = ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + seconds, UTC)


@pytest.fixture
def secrets(boto: Boto) -> Client:
    return boto("secretsmanager")


async def make(secrets: Client, text: str = "one", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
    return await secrets("create_secret", Name=NAME, SecretString=text, ClientRequestToken=TOKENS[0], **more)


async def put(secrets: Client, number: int, text: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
    return await secrets(
        "put_secret_value", SecretId=NAME, SecretString=text, ClientRequestToken=TOKENS[number], **more
    )


async def current(secrets: Client, **which: str) -> str:
    return str((await secrets("get_secret_value", SecretId=NAME, **which))["SecretString"])


async def stages(secrets: Client) -> dict[str, list[str]]:
    found: dict[str, list[str]] = (await secrets("describe_secret", SecretId=NAME))["VersionIdsToStages"]
    return {version: sorted(names) for version, names in found.items()}


async def test_terraforms_way_from_creation_to_destruction(secrets: Client) -> None:
    made = await secrets("create_secret", Name=NAME, Description="", ClientRequestToken=TOKENS[0])
    arn = made["ARN"]
    assert re.fullmatch(rf"arn:aws:secretsmanager:us-east-1:000000000000:secret:{NAME}-[A-Za-z0-9]{{6}}", arn)
    assert made == {"ARN": arn, "Name": NAME}
    described = await secrets("describe_secret", SecretId=arn)
    assert described == {"ARN": arn, "Name": NAME, "Description": "", "CreatedDate": at(0), "LastChangedDate": at(0)}
    assert await secrets("get_resource_policy", SecretId=arn) == {"ARN": arn, "Name": NAME}
    version = await secrets("put_secret_value", SecretId=arn, SecretString="{}", ClientRequestToken=TOKENS[1])
    assert version == {"ARN": arn, "Name": NAME, "VersionId": TOKENS[1], "VersionStages": ["AWSCURRENT"]}
    assert await secrets("get_secret_value", SecretId=arn, VersionId=TOKENS[1]) == {
        "ARN": arn,
        "Name": NAME,
        "VersionId": TOKENS[1],
        "SecretString": "{}",
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": at(0),
    }
    gone = await secrets("delete_secret", SecretId=arn, ForceDeleteWithoutRecovery=True)
    assert gone == {"ARN": arn, "Name": NAME, "DeletionDate": at(0)}
    assert await secrets.refused("describe_secret", SecretId=arn) == NOT_FOUND


async def test_times_are_numbers_on_the_wire(api: Bench, secrets: Client) -> None:
    await make(secrets)
    headers = {"X-Amz-Target": "secretsmanager.DescribeSecret", "Content-Type": "application/x-amz-json-1.1"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(api.url, json={"SecretId": NAME}, headers=headers) as answer,
    ):
        assert (await answer.json(content_type=None))["CreatedDate"] == 1_700_000_000.0


async def test_a_secret_is_found_by_name_and_by_arn_with_or_without_its_suffix(secrets: Client) -> None:
    arn = (await make(secrets))["ARN"]
    for secret_id in (NAME, arn, arn[:-7]):
        assert (await secrets("get_secret_value", SecretId=secret_id))["ARN"] == arn
    for secret_id in (f"{arn[:-6]}AbCdEf", f"{NAME}-AbCdEf", "nope", f"{arn[:-7]}x"):
        assert await secrets.refused("get_secret_value", SecretId=secret_id) == NOT_FOUND


async def test_a_name_that_looks_like_one_with_a_suffix_is_a_name(secrets: Client) -> None:
    name = "ecr-pullthroughcache/my-secret"
    made = await secrets("create_secret", Name=name, SecretString="x")
    for secret_id in (name, made["ARN"], made["ARN"][:-7]):
        assert (await secrets("describe_secret", SecretId=secret_id))["Name"] == name


async def test_values_are_sealed_in_the_store(api: Bench, secrets: Client) -> None:
    await make(secrets, "hidden-value")
    record = await api.metadata.secret(NAME)
    assert record is not None
    assert b"hidden" not in record.versions[0].sealed
    assert "hidden" not in repr(record)


async def test_a_binary_value_comes_back_as_it_was(secrets: Client) -> None:
    data = bytes(range(256))
    await secrets("create_secret", Name=NAME, SecretBinary=data)
    answer = await secrets("get_secret_value", SecretId=NAME)
    assert answer["SecretBinary"] == data
    assert "SecretString" not in answer


async def test_creating_again_is_the_same_only_with_the_same_token_and_value(secrets: Client) -> None:
    first = await make(secrets)
    assert await make(secrets) == first
    exists = ("ResourceExistsException", f"The operation failed because the secret {NAME} already exists.")
    for again in (
        {"SecretString": "two", "ClientRequestToken": TOKENS[0]},
        {"SecretString": "one", "ClientRequestToken": TOKENS[1]},
        {"SecretBinary": b"one", "ClientRequestToken": TOKENS[0]},
        {"ClientRequestToken": TOKENS[0]},
    ):
        assert await secrets.refused("create_secret", Name=NAME, **again) == exists
    assert await current(secrets) == "one"


async def test_putting_again_is_the_same_only_with_the_same_token_and_value(secrets: Client) -> None:
    await make(secrets)
    first = await put(secrets, 1, "two")
    assert await put(secrets, 1, "two") == first
    code, message = await secrets.refused(
        "put_secret_value", SecretId=NAME, SecretString="three", ClientRequestToken=TOKENS[1]
    )
    assert (code, TOKENS[1] in message, "three" in message) == ("ResourceExistsException", True, False)
    assert await stages(secrets) == {TOKENS[0]: ["AWSPREVIOUS"], TOKENS[1]: ["AWSCURRENT"]}


async def test_the_current_version_becomes_the_previous_one(secrets: Client) -> None:
    await make(secrets)
    await put(secrets, 1, "two")
    await put(secrets, 2, "three")
    assert await current(secrets) == "three"
    assert await current(secrets, VersionStage="AWSPREVIOUS") == "two"
    assert await current(secrets, VersionId=TOKENS[0]) == "one"
    assert await current(secrets, VersionId=TOKENS[1], VersionStage="AWSPREVIOUS") == "two"
    listed = await secrets("list_secret_version_ids", SecretId=NAME)
    assert [version["VersionId"] for version in listed["Versions"]] == [TOKENS[1], TOKENS[2]]
    first = await secrets("list_secret_version_ids", SecretId=NAME, IncludeDeprecated=True, MaxResults=2)
    assert [version["VersionId"] for version in first["Versions"]] == TOKENS[:2]
    rest = await secrets("list_secret_version_ids", SecretId=NAME, IncludeDeprecated=True, NextToken=first["NextToken"])
    assert [version["VersionId"] for version in rest["Versions"]] == [TOKENS[2]]
    assert "NextToken" not in rest


@pytest.mark.parametrize(
    ("which", "refusal"),
    [
        (
            {"VersionStage": "AWSPENDING"},
            (
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for staging label: AWSPENDING",
            ),
        ),
        (
            {"VersionId": TOKENS[9]},
            (
                "ResourceNotFoundException",
                f"Secrets Manager can't find the specified secret value for VersionId: {TOKENS[9]}",
            ),
        ),
        (
            {"VersionId": TOKENS[0], "VersionStage": "AWSPREVIOUS"},
            (
                "InvalidRequestException",
                "You provided a VersionStage that is not associated to the provided VersionId.",
            ),
        ),
    ],
)
async def test_a_version_that_is_not_there_is_named(
    secrets: Client, which: dict[str, str], refusal: tuple[str, str]
) -> None:
    await make(secrets)
    assert await secrets.refused("get_secret_value", SecretId=NAME, **which) == refusal


async def test_stages_of_ones_own_move_with_the_value_and_by_themselves(secrets: Client) -> None:
    await make(secrets)
    put_one = await put(secrets, 1, "two", VersionStages=["NEXT"])
    assert put_one["VersionStages"] == ["NEXT"]
    assert await current(secrets) == "one"
    await secrets(
        "update_secret_version_stage",
        SecretId=NAME,
        VersionStage="AWSCURRENT",
        RemoveFromVersionId=TOKENS[0],
        MoveToVersionId=TOKENS[1],
    )
    assert await stages(secrets) == {TOKENS[0]: ["AWSPREVIOUS"], TOKENS[1]: ["AWSCURRENT", "NEXT"]}
    await secrets("update_secret_version_stage", SecretId=NAME, VersionStage="NEXT", RemoveFromVersionId=TOKENS[1])
    assert await stages(secrets) == {TOKENS[0]: ["AWSPREVIOUS"], TOKENS[1]: ["AWSCURRENT"]}


@pytest.mark.parametrize(
    ("stage", "move"),
    [
        ("AWSCURRENT", {"MoveToVersionId": TOKENS[0]}),
        ("AWSCURRENT", {"MoveToVersionId": TOKENS[0], "RemoveFromVersionId": TOKENS[0]}),
        ("AWSCURRENT", {"RemoveFromVersionId": TOKENS[1]}),
        ("NONE", {"RemoveFromVersionId": TOKENS[1]}),
    ],
)
async def test_a_stage_is_moved_only_from_where_it_is(secrets: Client, stage: str, move: dict[str, str]) -> None:
    await make(secrets)
    await put(secrets, 1, "two")
    code, _ = await secrets.refused("update_secret_version_stage", SecretId=NAME, VersionStage=stage, **move)
    assert code == "InvalidParameterException"
    assert await current(secrets) == "two"


async def test_the_first_value_is_current_whatever_its_stages(secrets: Client) -> None:
    await secrets("create_secret", Name=NAME)
    code, message = await secrets.refused("get_secret_value", SecretId=NAME)
    assert (code, "AWSCURRENT" in message) == ("ResourceNotFoundException", True)
    await put(secrets, 1, "one", VersionStages=["NEXT"])
    assert await stages(secrets) == {TOKENS[1]: ["AWSCURRENT", "NEXT"]}


async def test_of_versions_without_a_stage_the_newest_are_kept(secrets: Client) -> None:
    await make(secrets)
    for number in range(1, 25):
        await put(secrets, number, f"{number}")
    listed = await secrets("list_secret_version_ids", SecretId=NAME, IncludeDeprecated=True)
    assert [version["VersionId"] for version in listed["Versions"]] == TOKENS[3:25]


async def test_updating_changes_what_is_given(api: Bench, secrets: Client) -> None:
    made = await make(secrets, Description="old", KmsKeyId="alias/mine")
    api.clock.advance(60)
    changed = await secrets("update_secret", SecretId=NAME, Description="new")
    assert changed == {"ARN": made["ARN"], "Name": NAME}
    described = await secrets("describe_secret", SecretId=NAME)
    assert (described["Description"], described["KmsKeyId"]) == ("new", "alias/mine")
    assert (described["CreatedDate"], described["LastChangedDate"]) == (at(0), at(60))
    valued = await secrets("update_secret", SecretId=NAME, SecretString="two", ClientRequestToken=TOKENS[1])
    assert valued["VersionId"] == TOKENS[1]
    assert await current(secrets) == "two"


@pytest.mark.parametrize(
    ("operation", "given", "code"),
    [
        ("put_secret_value", {}, "InvalidRequestException"),
        ("put_secret_value", {"SecretString": "a", "SecretBinary": b"a"}, "InvalidParameterException"),
        ("put_secret_value", {"SecretString": "a", "ClientRequestToken": "short"}, "InvalidParameterException"),
        ("put_secret_value", {"SecretString": "a" * 65537}, "InvalidParameterException"),
        ("put_secret_value", {"SecretBinary": b"a" * 65537}, "InvalidParameterException"),
        ("delete_secret", {"RecoveryWindowInDays": 6}, "InvalidParameterException"),
        ("delete_secret", {"RecoveryWindowInDays": 31}, "InvalidParameterException"),
        (
            "delete_secret",
            {"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True},
            "InvalidParameterException",
        ),
        ("put_resource_policy", {"ResourcePolicy": "{"}, "MalformedPolicyDocumentException"),
        ("tag_resource", {"Tags": [{"Key": str(n), "Value": ""} for n in range(51)]}, "InvalidParameterException"),
        ("list_secret_version_ids", {"NextToken": "%%"}, "InvalidNextTokenException"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    boto: Boto, api: Bench, operation: str, given: dict[str, Any], code: str
) -> None:
    secrets = boto("secretsmanager", validate=False)
    await make(secrets)
    before = await api.metadata.secret(NAME)
    assert (await secrets.refused(operation, SecretId=NAME, **given))[0] == code
    assert await api.metadata.secret(NAME) == before


@pytest.mark.parametrize("name", ["a b", "ü", "a:b", "a\n", "x" * 513])
async def test_a_name_of_other_characters_is_refused(boto: Boto, name: str) -> None:
    code, _ = await boto("secretsmanager", validate=False).refused("create_secret", Name=name, SecretString="x")
    assert code == "InvalidParameterException"


async def test_replicas_are_not_offered(secrets: Client) -> None:
    code, message = await secrets.refused("create_secret", Name=NAME, AddReplicaRegions=[{"Region": "eu-west-1"}])
    assert (code, "AddReplicaRegions" in message) == ("InvalidParameterException", True)
    code, _ = await secrets.refused("rotate_secret", SecretId=NAME)
    assert code == "UnsupportedOperationException"


class TestDeletion:
    @pytest.mark.parametrize(("window", "days"), [({}, 30), ({"RecoveryWindowInDays": 7}, 7)])
    async def test_a_secret_can_be_restored_until_its_window_ends(
        self, api: Bench, secrets: Client, window: dict[str, int], days: int
    ) -> None:
        made = await make(secrets)
        named = {"ARN": made["ARN"], "Name": NAME}
        assert await secrets("delete_secret", SecretId=NAME, **window) == named | {"DeletionDate": at(days * DAY)}
        assert (await secrets("describe_secret", SecretId=NAME))["DeletedDate"] == at(days * DAY)
        api.clock.advance(days * DAY - 1)
        assert await secrets("restore_secret", SecretId=NAME) == named
        assert await current(secrets) == "one"
        assert "DeletedDate" not in await secrets("describe_secret", SecretId=NAME)
        assert await secrets("restore_secret", SecretId=NAME) == named

    @pytest.mark.parametrize(
        ("operation", "given"),
        [
            ("get_secret_value", {}),
            ("put_secret_value", {"SecretString": "x"}),
            ("update_secret", {"Description": "x"}),
            ("update_secret_version_stage", {"VersionStage": "A", "MoveToVersionId": TOKENS[0]}),
            ("delete_secret", {}),
            ("tag_resource", {"Tags": [{"Key": "a", "Value": "b"}]}),
            ("untag_resource", {"TagKeys": ["a"]}),
            ("get_resource_policy", {}),
            ("put_resource_policy", {"ResourcePolicy": "{}"}),
            ("delete_resource_policy", {}),
        ],
    )
    async def test_nothing_else_is_done_with_it_meanwhile(
        self, secrets: Client, operation: str, given: dict[str, Any]
    ) -> None:
        await make(secrets)
        await secrets("delete_secret", SecretId=NAME)
        assert await secrets.refused(operation, SecretId=NAME, **given) == MARKED

    async def test_its_name_is_free_at_the_end_of_the_window_only(self, api: Bench, secrets: Client) -> None:
        old = await make(secrets)
        await secrets("delete_secret", SecretId=NAME)
        code, message = await secrets.refused("create_secret", Name=NAME, SecretString="two")
        assert (code, "already scheduled for deletion" in message) == ("InvalidRequestException", True)
        api.clock.advance(30 * DAY)
        for operation in ("describe_secret", "restore_secret", "get_secret_value"):
            assert await secrets.refused(operation, SecretId=NAME) == NOT_FOUND
        assert await secrets("list_secrets", IncludePlannedDeletion=True) == {"SecretList": []}
        new = await secrets("create_secret", Name=NAME, SecretString="two")
        assert new["ARN"] != old["ARN"]
        assert await secrets.refused("get_secret_value", SecretId=old["ARN"]) == NOT_FOUND
        assert await current(secrets) == "two"

    async def test_what_has_ended_is_removed_from_the_store(self, api: Bench, secrets: Client) -> None:
        await make(secrets)
        await secrets("create_secret", Name="stays", SecretString="x")
        await secrets("delete_secret", SecretId=NAME, RecoveryWindowInDays=7)
        await api.services.secrets.remove_ended()
        assert await api.metadata.secret(NAME) is not None
        api.clock.advance(7 * DAY)
        await api.services.secrets.remove_ended()
        assert await api.metadata.secret(NAME) is None
        assert await api.metadata.secret("stays") is not None

    async def test_force_deletes_at_once_whether_it_is_there_or_not(self, api: Bench, secrets: Client) -> None:
        await make(secrets)
        await secrets("delete_secret", SecretId=NAME)
        for _ in range(2):
            gone = await secrets("delete_secret", SecretId=NAME, ForceDeleteWithoutRecovery=True)
            assert (gone["Name"], gone["DeletionDate"]) == (NAME, at(0))
        assert await api.metadata.secret(NAME) is None
        assert await secrets.refused("delete_secret", SecretId=NAME) == NOT_FOUND

    async def test_force_by_an_old_arn_leaves_the_new_secret(self, secrets: Client) -> None:
        old = await make(secrets)
        await secrets("delete_secret", SecretId=NAME, ForceDeleteWithoutRecovery=True)
        await make(secrets)
        await secrets("delete_secret", SecretId=old["ARN"], ForceDeleteWithoutRecovery=True)
        assert await current(secrets) == "one"


class TestLists:
    @pytest.fixture
    async def many(self, api: Bench, secrets: Client) -> Client:
        for name, description, tags in (
            ("b/one", "First of all", {"team": "red"}),
            ("a/two", "Second", {"team": "blue"}),
            ("a/three", "Third", {}),
        ):
            await secrets(
                "create_secret",
                Name=name,
                Description=description,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )
            api.clock.advance(1)
        return secrets

    async def names(self, secrets: Client, **given: Any) -> list[str]:  # noqa: ANN401 - as boto3 has it
        pages = await secrets.pages("list_secrets", **given)
        return [secret["Name"] for page in pages for secret in page["SecretList"]]

    @pytest.mark.parametrize(
        ("given", "names"),
        [
            ({}, ["b/one", "a/two", "a/three"]),
            ({"SortOrder": "desc"}, ["a/three", "a/two", "b/one"]),
            ({"SortBy": "name"}, ["a/three", "a/two", "b/one"]),
            ({"SortBy": "name", "SortOrder": "desc"}, ["b/one", "a/two", "a/three"]),
            ({"Filters": [{"Key": "name", "Values": ["a/"]}]}, ["a/two", "a/three"]),
            ({"Filters": [{"Key": "name", "Values": ["!a/"]}]}, ["b/one"]),
            ({"Filters": [{"Key": "name", "Values": ["a/two", "b/"]}]}, ["b/one", "a/two"]),
            ({"Filters": [{"Key": "description", "Values": ["fIRST"]}]}, ["b/one"]),
            ({"Filters": [{"Key": "tag-key", "Values": ["team"]}]}, ["b/one", "a/two"]),
            (
                {"Filters": [{"Key": "tag-key", "Values": ["team"]}, {"Key": "tag-value", "Values": ["bl"]}]},
                ["a/two"],
            ),
            ({"Filters": [{"Key": "all", "Values": ["THIRD"]}]}, ["a/three"]),
            ({"Filters": [{"Key": "owning-service", "Values": ["rds"]}]}, []),
        ],
    )
    @pytest.mark.parametrize("size", [1, 100])
    async def test_secrets_are_listed_page_by_page(
        self, many: Client, given: dict[str, Any], names: list[str], size: int
    ) -> None:
        assert await self.names(many, **given, PaginationConfig={"PageSize": size}) == names

    async def test_those_to_be_deleted_are_listed_only_if_asked_for(self, many: Client) -> None:
        await many("delete_secret", SecretId="b/one")
        assert await self.names(many) == ["a/two", "a/three"]
        assert await self.names(many, IncludePlannedDeletion=True) == ["b/one", "a/two", "a/three"]

    async def test_an_entry_says_what_there_is_but_no_value(self, secrets: Client) -> None:
        made = await make(secrets, "hidden", Description="d", Tags=[{"Key": "a", "Value": "b"}])
        (entry,) = (await secrets("list_secrets"))["SecretList"]
        assert entry == {
            "ARN": made["ARN"],
            "Name": NAME,
            "Description": "d",
            "LastChangedDate": at(0),
            "CreatedDate": at(0),
            "Tags": [{"Key": "a", "Value": "b"}],
            "SecretVersionsToStages": {TOKENS[0]: ["AWSCURRENT"]},
        }

    @pytest.mark.parametrize("token", ["%%", "bm90IGpzb24=", "WzEsMl0=", "WyJhIiwgImIiXQ=="])
    async def test_a_token_of_another_list_is_refused(self, many: Client, token: str) -> None:
        assert (await many.refused("list_secrets", NextToken=token))[0] == "InvalidNextTokenException"


async def test_tags_come_and_go(secrets: Client) -> None:
    await make(secrets, Tags=[{"Key": "a", "Value": "1"}])
    await secrets("tag_resource", SecretId=NAME, Tags=[{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}])
    await secrets("untag_resource", SecretId=NAME, TagKeys=["b", "nope"])
    assert (await secrets("describe_secret", SecretId=NAME))["Tags"] == [{"Key": "a", "Value": "2"}]


async def test_a_policy_is_kept_and_removed(secrets: Client) -> None:
    await make(secrets)
    policy = '{"Version": "2012-10-17", "Statement": []}'
    await secrets("put_resource_policy", SecretId=NAME, ResourcePolicy=policy)
    assert (await secrets("get_resource_policy", SecretId=NAME))["ResourcePolicy"] == policy
    await secrets("delete_resource_policy", SecretId=NAME)
    assert "ResourcePolicy" not in await secrets("get_resource_policy", SecretId=NAME)


async def test_a_policy_has_the_only_name_that_there_is(secrets: Client) -> None:
    await make(secrets)
    for name in ({}, {"PolicyName": "default"}):
        for operation in ("put_resource_policy", "get_resource_policy", "delete_resource_policy"):
            more = {"ResourcePolicy": "{}"} if operation.startswith("put") else {}
            assert (await secrets(operation, SecretId=NAME, **more, **name))["PolicyName"] == "default"


@pytest.mark.parametrize(
    ("operation", "more", "code"),
    [
        ("put_resource_policy", {"ResourcePolicy": "{}"}, "InvalidParameterException"),
        ("delete_resource_policy", {}, "InvalidParameterException"),
        ("get_resource_policy", {}, "ResourceNotFoundException"),
    ],
)
async def test_a_policy_of_another_name_is_none(
    operation: str, more: dict[str, str], code: str, secrets: Client
) -> None:
    await make(secrets)
    await secrets("put_resource_policy", SecretId=NAME, ResourcePolicy='{"Version": "2012-10-17"}')
    assert (await secrets.refused(operation, SecretId=NAME, PolicyName="other", **more))[0] == code
    assert (await secrets("get_resource_policy", SecretId=NAME))["ResourcePolicy"] == '{"Version": "2012-10-17"}'


@pytest.mark.parametrize(
    ("operation", "parameters", "member"),
    [
        ("list_secrets", {"Filters": [{"Values": ["a"]}]}, "Filters.1.member.Key"),
        ("list_secrets", {"Filters": [{"Key": "name", "Values": ["a"]}, {"Key": "name"}]}, "Filters.2.member.Values"),
        ("create_secret", {"Name": "new", "Tags": [{"Value": "one"}]}, "Tags.1.member.Key"),
        ("tag_resource", {"SecretId": NAME, "Tags": [{"Key": "a", "Value": "b"}, {}]}, "Tags.2.member.Key"),
    ],
)
async def test_what_the_model_does_not_require_and_the_service_does_is_asked_for(
    operation: str, parameters: dict[str, Any], member: str, secrets: Client
) -> None:
    await make(secrets)
    code, message = await secrets.refused(operation, **parameters)
    assert code == "InvalidParameterException"
    assert member in message


async def test_values_put_at_once_all_become_versions(secrets: Client) -> None:
    await make(secrets)
    await asyncio.gather(*(put(secrets, number, f"{number}") for number in range(1, 9)))
    found = await secrets("list_secret_version_ids", SecretId=NAME, IncludeDeprecated=True)
    assert len(found["Versions"]) == 9
    assert sorted(stage for held in (await stages(secrets)).values() for stage in held) == [
        "AWSCURRENT",
        "AWSPREVIOUS",
    ]
