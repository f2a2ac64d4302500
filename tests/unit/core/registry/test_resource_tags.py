"""Key-value tags of repositories."""

import asyncio

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.resource_tags import TAGS_LIMIT, ResourceTagAdministration, checked_tags
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.metadata.store import SqlMetadataStore

IDENTITY = RegistryIdentity("123456789012", "eu-west-1")
NAME = RepositoryName("team/app")
ARN = "arn:aws:ecr:eu-west-1:123456789012:repository/team/app"


@pytest.fixture
async def tags() -> ResourceTagAdministration:
    store = MemoryMetadataStore()
    await store.create_repository(RepositoryRecord(NAME, 1.0))
    return ResourceTagAdministration(store, IDENTITY)


async def test_tags_are_added_changed_and_taken_away(tags: ResourceTagAdministration) -> None:
    await tags.tag(ARN, [("Team", "core"), ("cost center", "")])
    await tags.tag(ARN, [("Team", "edge"), ("é/ü", "1+1=2 @ home")])
    assert await tags.tags_of(ARN) == {"Team": "edge", "cost center": "", "é/ü": "1+1=2 @ home"}

    await tags.untag(ARN, ["Team", "never there"])
    assert await tags.tags_of(ARN) == {"cost center": "", "é/ü": "1+1=2 @ home"}


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "team/app",
        f" {ARN}",
        f"{ARN}\n",
        f"{ARN}/",
        f"{ARN}:latest",
        ARN.replace("ecr", "s3"),
        ARN.replace("repository", "repo"),
        ARN.replace("team", "Team"),
        ARN.replace("arn:aws:", "arn:aws-cn:"),
        ARN.replace("eu-west-1", "us-east-1"),
        ARN.replace("123456789012", "12345678901"),
        ARN.replace("123456789012", "\uff11" * 12),
        "arn:aws:ecr:eu-west-1:123456789012:repository/",
        f"arn:aws:ecr:eu-west-1:123456789012:repository/{'a' * 300}",
    ],
)
async def test_only_an_arn_of_this_registry_is_one(tags: ResourceTagAdministration, arn: str) -> None:
    for attempt in (tags.tag(arn, [("a", "b")]), tags.untag(arn, ["a"]), tags.tags_of(arn)):
        with pytest.raises(ApiError, match="at 'resourceArn' failed to satisfy constraint: 'Invalid ARN") as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.InvalidParameterException


@pytest.mark.parametrize(("arn", "account"), [(f"{ARN}2", "123456789012"), (ARN.replace("12:", "13:"), "123456789013")])
async def test_an_arn_of_no_repository_is_told_so(tags: ResourceTagAdministration, arn: str, account: str) -> None:
    for attempt in (tags.tag(arn, [("a", "b")]), tags.untag(arn, ["a"]), tags.tags_of(arn)):
        with pytest.raises(ApiError, match=f"does not exist in the registry with id '{account}'") as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.RepositoryNotFoundException


@pytest.mark.parametrize(
    "pairs",
    [
        [("", "value")],
        [("k" * 129, "value")],
        [("key", "v" * 257)],
        [("aws:key", "value")],
        [("AWS:key", "value")],
        [("key", "tab\t")],
        [("key*", "value")],
        [("\ud800", "value")],
        [("key", "1"), ("key", "2")],
    ],
)
def test_tags_that_aws_does_not_take_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ApiError) as refused:
        checked_tags(pairs)
    assert refused.value.code is ApiErrorCode.InvalidTagParameterException


def test_tags_may_be_as_long_as_aws_allows() -> None:
    longest = {"k" * 128: "v" * 256, "not aws:": "aws:"}
    assert checked_tags(longest.items()) == longest


async def test_reserved_tags_cannot_be_taken_away(tags: ResourceTagAdministration) -> None:
    with pytest.raises(ApiError) as refused:
        await tags.untag(ARN, ["aws:cloudformation:stack-name"])
    assert refused.value.code is ApiErrorCode.InvalidTagParameterException


def test_a_request_with_too_many_tags_is_refused() -> None:
    most = {f"key-{number}": "" for number in range(TAGS_LIMIT)}
    assert checked_tags(most.items()) == most
    with pytest.raises(ApiError) as refused:
        checked_tags([*most.items(), ("one", "more")])
    assert refused.value.code is ApiErrorCode.TooManyTagsException


async def test_tags_stay_within_the_limit_however_many_add_some(sql: SqlMetadataStore) -> None:
    await sql.create_repository(RepositoryRecord(NAME, 1.0))
    tags = ResourceTagAdministration(sql, IDENTITY)
    await tags.tag(ARN, [(f"first-{number}", "") for number in range(TAGS_LIMIT - 8)])

    outcomes = await asyncio.gather(
        *(tags.tag(ARN, [(f"later-{number}", "")]) for number in range(16)), return_exceptions=True
    )

    assert [outcome.code for outcome in outcomes if isinstance(outcome, ApiError)] == [
        ApiErrorCode.TooManyTagsException
    ] * 8
    assert len(await tags.tags_of(ARN)) == TAGS_LIMIT
    await tags.tag(ARN, [("first-0", "a full set may still change")])
