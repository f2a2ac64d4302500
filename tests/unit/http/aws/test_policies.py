"""Operations on policies, as boto3 sees them."""

import json

from tests.unit.http.aws.conftest import Client

ACCOUNT = "000000000000"
STATEMENT = {"Sid": "new statement", "Effect": "Allow", "Principal": "*", "Action": ["ecr:BatchGetImage"]}
TEXT = json.dumps({"Version": "2008-10-17", "Statement": [STATEMENT]}, indent=2) + "\n"
REGISTRY = json.dumps({"Version": "2012-10-17", "Statement": {**STATEMENT, "Resource": "*"}})


async def test_a_repository_policy_comes_back_unchanged(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")
    answer = {"registryId": ACCOUNT, "repositoryName": "app", "policyText": TEXT}

    assert await ecr("set_repository_policy", repositoryName="app", policyText=TEXT, force=True) == answer
    assert await ecr("get_repository_policy", repositoryName="app", registryId=ACCOUNT) == answer
    assert await ecr("delete_repository_policy", repositoryName="app") == answer
    for operation in ("get_repository_policy", "delete_repository_policy"):
        assert await ecr.refused(operation, repositoryName="app") == (
            "RepositoryPolicyNotFoundException",
            f"Repository policy does not exist for the repository with name 'app' in the registry with id '{ACCOUNT}'",
        )


async def test_policies_need_a_repository_of_this_registry(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")

    for where in ({"repositoryName": "other"}, {"repositoryName": "app", "registryId": "999999999999"}):
        for operation, parameters in (
            ("set_repository_policy", {"policyText": TEXT}),
            ("get_repository_policy", {}),
            ("delete_repository_policy", {}),
        ):
            code, message = await ecr.refused(operation, **where, **parameters)
            assert code == "RepositoryNotFoundException"
            assert f"in the registry with id '{where.get('registryId', ACCOUNT)}'" in message


async def test_the_registrys_policy_comes_back_unchanged(ecr: Client) -> None:
    answer = {"registryId": ACCOUNT, "policyText": REGISTRY}

    assert await ecr("put_registry_policy", policyText=REGISTRY) == answer
    assert await ecr("get_registry_policy") == answer
    assert await ecr("delete_registry_policy") == answer
    for operation in ("get_registry_policy", "delete_registry_policy"):
        assert await ecr.refused(operation) == (
            "RegistryPolicyNotFoundException",
            f"Registry policy does not exist in the registry with id '{ACCOUNT}'",
        )


async def test_what_is_no_policy_is_refused_in_ecrs_words(ecr: Client) -> None:
    await ecr("create_repository", repositoryName="app")

    for text in ("", "policy", "{}", REGISTRY):
        code, message = await ecr.refused("set_repository_policy", repositoryName="app", policyText=text)
        assert code == "InvalidParameterException"
        assert message.startswith(
            "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'"
        )
    code, message = await ecr.refused("put_registry_policy", policyText=TEXT)
    assert (code, "'Invalid registry policy provided'" in message) == ("InvalidParameterException", True)
    long = TEXT.ljust(10_241)
    assert (await ecr.refused("set_repository_policy", repositoryName="app", policyText=long))[0] == code
    assert (await ecr.refused("get_repository_policy", repositoryName="app"))[0] == "RepositoryPolicyNotFoundException"
