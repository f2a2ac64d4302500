"""Operations on key-value tags, as boto3 sees them."""

import pytest

from tests.unit.http.aws.conftest import Client


@pytest.fixture
async def arn(ecr: Client) -> str:
    made = await ecr("create_repository", repositoryName="team/app")
    return str(made["repository"]["repositoryArn"])


async def test_tags_are_added_changed_and_taken_away(ecr: Client, arn: str) -> None:
    assert await ecr("list_tags_for_resource", resourceArn=arn) == {"tags": []}

    added = [{"Key": "Team", "Value": "core"}, {"Key": "cost", "Value": ""}]
    assert await ecr("tag_resource", resourceArn=arn, tags=added) == {}
    await ecr("tag_resource", resourceArn=arn, tags=[{"Key": "Team", "Value": "edge"}])
    assert await ecr("list_tags_for_resource", resourceArn=arn) == {
        "tags": [{"Key": "Team", "Value": "edge"}, {"Key": "cost", "Value": ""}]
    }

    assert await ecr("untag_resource", resourceArn=arn, tagKeys=["Team", "other"]) == {}
    assert await ecr("list_tags_for_resource", resourceArn=arn) == {"tags": [{"Key": "cost", "Value": ""}]}


async def test_what_aws_refuses_is_refused_under_its_names(ecr: Client, arn: str) -> None:
    reserved = [{"Key": "aws:a", "Value": "b"}]
    many = [{"Key": str(number), "Value": ""} for number in range(51)]

    assert (await ecr.refused("tag_resource", resourceArn=arn, tags=reserved))[0] == "InvalidTagParameterException"
    assert (await ecr.refused("untag_resource", resourceArn=arn, tagKeys=["aws:a"]))[
        0
    ] == "InvalidTagParameterException"
    assert (await ecr.refused("tag_resource", resourceArn=arn, tags=many))[0] == "TooManyTagsException"
    assert (await ecr.refused("list_tags_for_resource", resourceArn=f"{arn}s"))[0] == "RepositoryNotFoundException"
    assert await ecr.refused("list_tags_for_resource", resourceArn="team/app") == (
        "InvalidParameterException",
        "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'",
    )
    assert await ecr("list_tags_for_resource", resourceArn=arn) == {"tags": []}
