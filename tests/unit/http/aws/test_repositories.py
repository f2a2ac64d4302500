"""Operations on repositories, as boto3 sees them."""

from datetime import UTC, datetime

import pytest

from proxy.config.settings import Settings
from proxy.core.registry.records import Encryption
from proxy.model.reference import RepositoryName
from tests.support.metadata import remember
from tests.unit.http.aws.conftest import ECR, Bench, Boto, Client

ACCOUNT = "000000000000"
OTHER = "999999999999"
EXCLUDING = {
    "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [
        {"filterType": "WILDCARD", "filter": "dev-*"},
        {"filterType": "WILDCARD", "filter": "a*"},
    ],
}


def unknown(name: str, registry: str = ACCOUNT) -> tuple[str, str]:
    sentence = f"The repository with name '{name}' does not exist in the registry with id '{registry}'"
    return "RepositoryNotFoundException", sentence


async def test_a_plain_repository_has_what_ecr_gives_it(api: Bench, ecr: Client) -> None:
    made = await ecr("create_repository", repositoryName="team/app")

    port = api.url.rpartition(":")[2].strip("/")
    assert made == {
        "repository": {
            "repositoryArn": f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/team/app",
            "registryId": ACCOUNT,
            "repositoryName": "team/app",
            "repositoryUri": f"localhost:{port}/team/app",
            "createdAt": datetime.fromtimestamp(api.clock.now(), UTC),
            "imageTagMutability": "MUTABLE",
            "imageScanningConfiguration": {"scanOnPush": False},
            "encryptionConfiguration": {"encryptionType": "AES256"},
        }
    }
    assert await ecr("describe_repositories", repositoryNames=["team/app"]) == {"repositories": [made["repository"]]}
    assert await ecr("delete_repository", repositoryName="team/app") == made
    assert await ecr("describe_repositories") == {"repositories": []}


async def test_a_repository_has_what_was_asked_for(api: Bench, ecr: Client) -> None:
    asked = {
        **EXCLUDING,
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/key"},
    }

    made = await ecr(
        "create_repository", repositoryName="app", registryId=ACCOUNT, tags=[{"Key": "a", "Value": "b"}], **asked
    )

    assert {name: made["repository"][name] for name in asked} == asked
    tags = await ecr("list_tags_for_resource", resourceArn=made["repository"]["repositoryArn"])
    assert tags == {"tags": [{"Key": "a", "Value": "b"}]}
    kept = await api.metadata.repository(RepositoryName("app"))
    assert kept is not None
    assert kept.details.encryption == Encryption("KMS", "alias/key")


@pytest.mark.parametrize("name", ["a", "UPPER", "a//b", "/a", "a/", "a_", "a-_b", "app\n", "x" * 256, "../a", "a:b"])
async def test_only_names_of_repositories_are_taken(boto: Boto, name: str) -> None:
    code, message = await boto("ecr", validate=False).refused("create_repository", repositoryName=name)

    assert code == "InvalidParameterException"
    assert "repository" in message


async def test_a_name_is_taken_once(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="1a/b__c.d--e")

    assert await ecr.refused("create_repository", repositoryName="1a/b__c.d--e") == (
        "RepositoryAlreadyExistsException",
        f"The repository with name '1a/b__c.d--e' already exists in the registry with id '{ACCOUNT}'",
    )


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({"imageTagMutability": "XX"}, "InvalidParameterException", "'imageTagMutability'"),
        (
            {"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"},
            "InvalidParameterException",
            "ImageTagMutabilityExclusionFilters can't be null when imageTagMutability is set as IMMUTABLE_WITH_",
        ),
        ({**EXCLUDING, "imageTagMutability": "IMMUTABLE"}, "InvalidParameterException", "must be null"),
        (
            {**EXCLUDING, "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "***"}]},
            "InvalidParameterException",
            "more than 2 *",
        ),
        ({"tags": [{"Key": "aws:a", "Value": "b"}]}, "InvalidTagParameterException", "aws:"),
        ({"tags": [{"Key": f"{n}", "Value": ""} for n in range(51)]}, "TooManyTagsException", "50"),
        ({"encryptionConfiguration": {"encryptionType": "ROT13"}}, "InvalidParameterException", "encryptionType"),
        ({"registryId": OTHER}, "InvalidParameterException", "registryId"),
    ],
)
async def test_wrong_settings_make_no_repository(
    ecr: Client, parameters: dict[str, object], code: str, message: str
) -> None:
    refused = await ecr.refused("create_repository", repositoryName="app", **parameters)

    assert refused[0] == code
    assert message in refused[1]
    assert await ecr("describe_repositories") == {"repositories": []}


async def test_what_is_not_there_is_not_found_by_any_operation(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")
    scanning = {"scanOnPush": True}

    assert await ecr.refused("describe_repositories", repositoryNames=["app", "other"]) == unknown("other")
    for name, registry in (("other", ACCOUNT), ("app", OTHER)):
        where = {"repositoryName": name, "registryId": registry}
        answers = [
            await ecr.refused("describe_repositories", repositoryNames=[name], registryId=registry),
            await ecr.refused("delete_repository", **where, force=True),
            await ecr.refused("put_image_tag_mutability", **where, imageTagMutability="IMMUTABLE"),
            await ecr.refused("put_image_scanning_configuration", **where, imageScanningConfiguration=scanning),
        ]
        assert answers == [unknown(name, registry)] * 4
    assert len((await ecr("describe_repositories"))["repositories"]) == 1


async def test_a_repository_with_images_is_removed_only_by_force(api: Bench, ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")
    await remember(api.metadata, repository=RepositoryName("app"), provenance=None)

    code, message = await ecr.refused("delete_repository", repositoryName="app")
    assert code == "RepositoryNotEmptyException"
    assert message == (
        f"The repository with name 'app' in registry with id '{ACCOUNT}' cannot be deleted because it still contains "
        "images"
    )
    removed = await ecr("delete_repository", repositoryName="app", force=True)
    assert removed["repository"]["repositoryName"] == "app"
    assert await ecr.refused("describe_repositories", repositoryNames=["app"]) == unknown("app")


async def test_the_policy_of_tags_changes_and_is_echoed(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")
    named = {"registryId": ACCOUNT, "repositoryName": "app"}

    assert await ecr("put_image_tag_mutability", repositoryName="app", **EXCLUDING) == named | EXCLUDING
    turned = {**EXCLUDING, "imageTagMutabilityExclusionFilters": EXCLUDING["imageTagMutabilityExclusionFilters"][::-1]}
    assert await ecr("put_image_tag_mutability", repositoryName="app", **turned) == named | turned
    (shown,) = (await ecr("describe_repositories", repositoryNames=["app"]))["repositories"]
    assert shown["imageTagMutabilityExclusionFilters"] == turned["imageTagMutabilityExclusionFilters"]

    plain = {"imageTagMutability": "IMMUTABLE"}
    assert await ecr("put_image_tag_mutability", repositoryName="app", **plain) == named | plain
    (shown,) = (await ecr("describe_repositories", repositoryNames=["app"]))["repositories"]
    assert shown["imageTagMutability"] == "IMMUTABLE"
    assert "imageTagMutabilityExclusionFilters" not in shown

    for wrong in ({**EXCLUDING, **plain}, {"imageTagMutability": "MUTABLE_WITH_EXCLUSION"}):
        code, message = await ecr.refused("put_image_tag_mutability", repositoryName="app", **wrong)
        assert (code, "ExclusionFilters" in message) == ("InvalidParameterException", True)
    assert (await ecr("describe_repositories"))["repositories"] == [shown]


async def test_scanning_is_kept_and_echoed(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")
    scanning = {"imageScanningConfiguration": {"scanOnPush": True}}

    answer = await ecr("put_image_scanning_configuration", repositoryName="app", **scanning)

    assert answer == {"registryId": ACCOUNT, "repositoryName": "app", **scanning}
    (shown,) = (await ecr("describe_repositories"))["repositories"]
    assert shown["imageScanningConfiguration"] == {"scanOnPush": True}


async def test_pages_give_everything_once(ecr: Client) -> None:
    names = ["a1", "a2", "b/c", "b/d", "b0"]
    for name in reversed(names):
        await ecr("create_repository", repositoryName=name)

    for size in (1, 2, 5):
        pages = await ecr.pages("describe_repositories", PaginationConfig={"PageSize": size})
        assert [found["repositoryName"] for page in pages for found in page["repositories"]] == names
        assert [len(page["repositories"]) for page in pages][:-1] == [size] * ((len(names) - 1) // size)

    code, message = await ecr.refused("describe_repositories", nextToken="not ours")
    assert (code, "nextToken" in message) == ("InvalidParameterException", True)
    for extra in ({"maxResults": 1}, {"nextToken": "YQ=="}):
        code, message = await ecr.refused("describe_repositories", repositoryNames=["a1"], **extra)
        assert (code, next(iter(extra)) in message) == ("InvalidParameterException", True)
    assert (await ecr.refused("describe_repositories", registryId=OTHER))[0] == "InvalidParameterException"


class TestWithTagDefaults:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings.model_validate(
            {"registry": {"tags": [{"prefix": "prod", "mutability": "IMMUTABLE"}]}, "server": {"public_url": PUBLIC}}
        )

    async def test_the_configuration_says_what_the_repository_does_not(self, ecr: Client) -> None:
        silent = (await ecr("create_repository", repositoryName="prod/app"))["repository"]
        said = await ecr("create_repository", repositoryName="prod/web", imageTagMutability="MUTABLE")

        assert silent["imageTagMutability"] == "IMMUTABLE"
        assert said["repository"]["imageTagMutability"] == "MUTABLE"

    async def test_clients_are_told_the_public_address(self, ecr: Client) -> None:
        made = await ecr("create_repository", repositoryName="prod/app")

        assert made["repository"]["repositoryUri"] == "registry.example:8443/prod/app"


PUBLIC = "https://registry.example:8443"


class TestAsEcr:
    @pytest.fixture
    def settings(self) -> Settings:
        return ECR

    async def test_the_account_is_the_configured_one(self, ecr: Client) -> None:
        made = (await ecr("create_repository", repositoryName="app", registryId="012345678910"))["repository"]

        assert made["registryId"] == "012345678910"
        assert made["repositoryArn"] == "arn:aws:ecr:us-east-1:012345678910:repository/app"


@pytest.mark.parametrize("operation", ["create_repository", "describe_images", "get_lifecycle_policy"])
async def test_a_name_longer_than_those_of_images_is_refused_by_member(ecr: Client, operation: str) -> None:
    code, message = await ecr.refused(operation, repositoryName="a" * 256)
    assert code == "InvalidParameterException"
    assert message.startswith("Invalid parameter at 'repositoryName' failed to satisfy constraint: '")


class TestNamesThatRulesMap:
    @pytest.fixture
    def settings(self) -> Settings:
        return Settings.model_validate({"rules": [{"prefix": "hub", "upstream": "docker.io"}]})

    async def test_a_repository_is_made_only_where_pulls_lead_to(self, ecr: Client) -> None:
        code, message = await ecr.refused("create_repository", repositoryName="hub/nginx")
        assert code == "InvalidParameterException"
        assert "'repositoryName'" in message
        assert "hub/library/nginx" in message
        for name in ("hub/library/nginx", "hub/team/app", "hub", "team/app"):
            assert (await ecr("create_repository", repositoryName=name))["repository"]["repositoryName"] == name
        assert len((await ecr("describe_repositories"))["repositories"]) == 4
