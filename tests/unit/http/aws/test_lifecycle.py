"""Lifecycle policies and their previews, as boto3 asks for them."""

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.config.settings import Settings
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.ports import RegistryStore
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.clock import FakeClock
from tests.support.metadata import push_of
from tests.unit.http.aws.conftest import ECR, Bench, Boto, Client

NAME = RepositoryName("team/app")
DAY = 86_400.0
ACCOUNT = "000000000000"


def rule(priority: int, status: str, action: str = "expire", **selection: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    counted = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14, **selection}
    target = {"targetStorageClass": "archive"} if action == "transition" else {}
    return {
        "rulePriority": priority,
        "description": "for the tests",
        "selection": {"tagStatus": status, **counted},
        "action": {"type": action, **target},
    }


def policy(*rules: dict[str, Any]) -> str:
    return json.dumps({"rules": rules}, indent=2)


UNTAGGED = policy(rule(1, "untagged"))
ALL = policy(rule(5, "any"))


@pytest.fixture
def clock() -> FakeClock:
    # Images are pushed at the time of the machine.
    return FakeClock(time.time())


@pytest.fixture(autouse=True)
async def repository(metadata: MemoryMetadataStore) -> None:
    await metadata.create_repository(RepositoryRecord(NAME, 1.0))


async def push(store: RegistryStore, text: str, *tags: str) -> str:
    await store.push(NAME, push_of(text, *tags), None)
    return str(Digest.of(text.encode()))


async def previewed(ecr: Client, text: str, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
    """Return what a preview of `text` has found, once it has."""
    await ecr("start_lifecycle_policy_preview", repositoryName=NAME, lifecyclePolicyText=text)
    return await found(ecr, **asked)


async def found(ecr: Client, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3 has it
    async with asyncio.timeout(30):
        while True:
            answer = await ecr("get_lifecycle_policy_preview", repositoryName=NAME, **asked)
            if answer["status"] != "IN_PROGRESS":
                return answer


def digests(answer: dict[str, Any]) -> set[str]:
    return {image["imageDigest"] for image in answer["previewResults"]}


async def test_a_policy_is_kept_returned_and_taken_away_as_it_was_given(
    api: Bench, ecr: Client, clock: FakeClock
) -> None:
    shown = {"registryId": ACCOUNT, "repositoryName": NAME, "lifecyclePolicyText": UNTAGGED}

    assert await ecr("put_lifecycle_policy", repositoryName=NAME, lifecyclePolicyText=UNTAGGED) == shown
    assert await ecr("get_lifecycle_policy", repositoryName=NAME) == shown

    await api.services.lifecycle.expire(NAME)
    evaluated = {**shown, "lastEvaluatedAt": datetime.fromtimestamp(clock.now(), UTC)}
    assert await ecr("get_lifecycle_policy", repositoryName=NAME, registryId=ACCOUNT) == evaluated
    assert await ecr("delete_lifecycle_policy", repositoryName=NAME) == evaluated

    missing = (
        "LifecyclePolicyNotFoundException",
        f"Lifecycle policy does not exist for the repository with name 'team/app' in the registry with id '{ACCOUNT}'",
    )
    for operation in ("get_lifecycle_policy", "delete_lifecycle_policy", "start_lifecycle_policy_preview"):
        assert await ecr.refused(operation, repositoryName=NAME) == missing


async def test_a_policy_that_is_none_is_refused_with_what_is_wrong_and_where(ecr: Client) -> None:
    text = policy(rule(1, "untagged"), rule(1, "any"))

    for operation in ("put_lifecycle_policy", "start_lifecycle_policy_preview"):
        assert await ecr.refused(operation, repositoryName=NAME, lifecyclePolicyText=text) == (
            "InvalidParameterException",
            (
                "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation "
                "failure: rulePriority must be unique: 1 is that of more than one rule'"
            ),
        )


async def test_a_policy_that_is_too_short_or_too_long_is_refused(boto: Boto) -> None:
    ecr = boto("ecr", validate=False)

    for text in ("{}", " " * 30_721):
        code, message = await ecr.refused("put_lifecycle_policy", repositoryName=NAME, lifecyclePolicyText=text)
        assert code == "InvalidParameterException"
        assert "lifecyclePolicyText" in message


@pytest.mark.parametrize(("registry", "shown"), [(None, ACCOUNT), ("999999999999", "999999999999")])
async def test_a_repository_that_is_not_there_or_elsewhere_is_not_found(
    ecr: Client, registry: str | None, shown: str
) -> None:
    name = "none" if registry is None else str(NAME)
    asked: dict[str, Any] = {"repositoryName": name} | ({"registryId": registry} if registry is not None else {})
    refusal = (
        "RepositoryNotFoundException",
        f"The repository with name '{name}' does not exist in the registry with id '{shown}'",
    )

    for operation in ("put_lifecycle_policy", "start_lifecycle_policy_preview"):
        assert await ecr.refused(operation, lifecyclePolicyText=UNTAGGED, **asked) == refusal
    for operation in ("get_lifecycle_policy", "delete_lifecycle_policy", "get_lifecycle_policy_preview"):
        assert await ecr.refused(operation, **asked) == refusal


async def test_a_preview_shows_what_would_go_by_which_rule(
    ecr: Client, metadata: MemoryMetadataStore, clock: FakeClock
) -> None:
    digest = await push(metadata, "old", "v1", "v2")
    [image] = await metadata.images(NAME, "", 10)
    clock.advance(15 * DAY)

    answer = await previewed(ecr, ALL)

    assert answer == {
        "registryId": ACCOUNT,
        "repositoryName": NAME,
        "lifecyclePolicyText": ALL,
        "status": "COMPLETE",
        "previewResults": [
            {
                "imageTags": ["v1", "v2"],
                "imageDigest": digest,
                "imagePushedAt": datetime.fromtimestamp(image.pushed_at, UTC),
                "action": {"type": "EXPIRE"},
                "appliedRulePriority": 5,
                "storageClass": "STANDARD",
            }
        ],
        "summary": {"expiringImageTotalCount": 1},
    }
    assert await metadata.images(NAME, "", 10) == [image]


async def test_a_preview_shows_what_would_be_archived(
    ecr: Client, metadata: MemoryMetadataStore, clock: FakeClock
) -> None:
    await push(metadata, "old", "v1")
    await push(metadata, "older")
    clock.advance(15 * DAY)

    answer = await previewed(ecr, policy(rule(1, "untagged"), rule(2, "any", action="transition")))

    actions = {image["appliedRulePriority"]: image["action"] for image in answer["previewResults"]}
    assert actions == {1: {"type": "EXPIRE"}, 2: {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}}
    assert answer["summary"] == {
        "expiringImageTotalCount": 1,
        "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 1}],
    }


async def test_a_preview_has_pages(ecr: Client, metadata: MemoryMetadataStore, clock: FakeClock) -> None:
    pushed = {await push(metadata, f"image {number}") for number in range(5)}
    clock.advance(15 * DAY)
    await previewed(ecr, ALL)

    pages = await ecr.pages("get_lifecycle_policy_preview", repositoryName=NAME, PaginationConfig={"PageSize": 2})

    assert [len(page["previewResults"]) for page in pages] == [2, 2, 1]
    assert set().union(*map(digests, pages)) == pushed
    assert [page["summary"]["expiringImageTotalCount"] for page in pages] == [5, 5, 5]

    await previewed(ecr, UNTAGGED)
    for token in (pages[0]["nextToken"], "none of ours"):
        code, message = await ecr.refused("get_lifecycle_policy_preview", repositoryName=NAME, nextToken=token)
        assert code == "InvalidParameterException"
        assert "'nextToken'" in message


async def test_a_preview_shows_the_images_that_are_asked_for(
    ecr: Client, metadata: MemoryMetadataStore, clock: FakeClock
) -> None:
    one, two, three = [await push(metadata, text, *tags) for text, *tags in (("a", "v1"), ("b", "v2"), ("c",))]
    clock.advance(15 * DAY)
    await previewed(ecr, ALL)

    async def asked(**members: Any) -> set[str]:  # noqa: ANN401 - as boto3 has it
        return digests(await found(ecr, **members))

    assert await asked(imageIds=[{"imageTag": "v1"}, {"imageDigest": three}]) == {one, three}
    assert await asked(imageIds=[{"imageTag": "v1", "imageDigest": two}, {"imageTag": "other"}]) == set()
    assert await asked(filter={"tagStatus": "TAGGED"}) == {one, two}
    assert await asked(filter={"tagStatus": "UNTAGGED"}) == {three}
    assert await asked(filter={"tagStatus": "ANY"}) == {one, two, three}
    assert await asked(filter={}) == {one, two, three}
    code, _message = await ecr.refused(
        "get_lifecycle_policy_preview", repositoryName=NAME, imageIds=[{"imageTag": "v1"}], maxResults=5
    )
    assert code == "InvalidParameterException"


async def test_a_preview_that_was_not_asked_for_is_not_found(ecr: Client) -> None:
    assert await ecr.refused("get_lifecycle_policy_preview", repositoryName=NAME) == (
        "LifecyclePolicyPreviewNotFoundException",
        (
            "Lifecycle policy preview does not exist for the repository with name 'team/app' in the registry with id "
            f"'{ACCOUNT}'"
        ),
    )


async def test_without_a_text_the_repositorys_policy_is_previewed(ecr: Client) -> None:
    await ecr("put_lifecycle_policy", repositoryName=NAME, lifecyclePolicyText=UNTAGGED)

    assert await ecr("start_lifecycle_policy_preview", repositoryName=NAME) == {
        "registryId": ACCOUNT,
        "repositoryName": NAME,
        "lifecyclePolicyText": UNTAGGED,
        "status": "IN_PROGRESS",
    }
    assert (await found(ecr))["lifecyclePolicyText"] == UNTAGGED


class TestByTheLastPull:
    TEXT = policy(rule(1, "any", countType="sinceImagePulled"))

    async def test_images_expire(self, ecr: Client) -> None:
        answer = await ecr("put_lifecycle_policy", repositoryName=NAME, lifecyclePolicyText=self.TEXT)

        assert answer["lifecyclePolicyText"] == self.TEXT

    class TestEcr:
        @pytest.fixture
        def settings(self) -> Settings:
            return ECR

        async def test_images_are_only_archived(self, ecr: Client) -> None:
            code, message = await ecr.refused(
                "put_lifecycle_policy", repositoryName=NAME, lifecyclePolicyText=TestByTheLastPull.TEXT
            )

            assert code == "InvalidParameterException"
            assert "rules[0].action.type must be transition with sinceImagePulled" in message
