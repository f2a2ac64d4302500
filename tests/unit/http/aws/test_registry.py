"""Operations on the registry as a whole, as boto3 sees them."""

from typing import Any

import pytest

from tests.unit.http.aws.conftest import Client

ACCOUNT = "000000000000"


async def test_replication_is_kept_as_it_was_sent(ecr: Client) -> None:
    assert await ecr("describe_registry") == {
        "registryId": ACCOUNT,
        "replicationConfiguration": {"rules": []},
    }
    rules: list[dict[str, Any]] = [
        {
            "destinations": [
                {"region": "us-west-2", "registryId": ACCOUNT},
                {"region": "us-east-1", "registryId": "999999999999"},
            ],
            "repositoryFilters": [{"filter": "prod", "filterType": "PREFIX_MATCH"}],
            "deleteReplication": {"enabled": False},
        },
        {"destinations": [{"region": "eu-west-1", "registryId": ACCOUNT}]},
    ]

    for said in (rules, []):
        configuration = {"replicationConfiguration": {"rules": said}}
        assert await ecr("put_replication_configuration", **configuration) == configuration
        assert await ecr("describe_registry") == {"registryId": ACCOUNT, **configuration}


@pytest.mark.parametrize("region", ["us-east-1", "US-EAST-2"])
async def test_wrong_destinations_are_refused(ecr: Client, region: str) -> None:
    rules = [{"destinations": [{"region": region, "registryId": ACCOUNT}]}]

    code, _ = await ecr.refused("put_replication_configuration", replicationConfiguration={"rules": rules})

    assert code == "InvalidParameterException"
    assert (await ecr("describe_registry"))["replicationConfiguration"] == {"rules": []}


async def test_settings_of_the_account_are_kept(ecr: Client) -> None:
    setting = {"name": "BLOB_MOUNTING", "value": "DISABLED"}

    assert await ecr("get_account_setting", name="BLOB_MOUNTING") == {**setting, "value": "ENABLED"}
    assert await ecr("put_account_setting", **setting) == setting
    assert await ecr("get_account_setting", name="BLOB_MOUNTING") == setting

    for operation, asked in (
        ("get_account_setting", {"name": "MOUNTING"}),
        ("put_account_setting", {"name": "MOUNTING", "value": "ENABLED"}),
        ("put_account_setting", {"name": "BLOB_MOUNTING", "value": "V1"}),
    ):
        assert (await ecr.refused(operation, **asked))[0] == "ValidationException"
