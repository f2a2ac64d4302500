"""The operation by which clients get a password."""

import base64
import json
import urllib.request
from asyncio import to_thread
from typing import Any

from proxy.model.principal import ANONYMOUS
from tests.unit.http.aws.conftest import Bench, Client


async def test_the_token_is_a_password_that_the_registry_knows(api: Bench, ecr: Client) -> None:
    (found,) = (await ecr("get_authorization_token"))["authorizationData"]
    # As the AWS CLI takes it apart: one colon, or it fails.
    user, password = base64.b64decode(found["authorizationToken"]).decode().split(":")

    assert user == "AWS"
    assert api.services.passwords.verify(password) == ANONYMOUS
    assert found["expiresAt"].timestamp() == api.clock.now() + 43_200
    assert found["proxyEndpoint"] == api.url.rstrip("/").replace("127.0.0.1", "localhost")


async def test_the_time_is_a_number_on_the_wire(api: Bench) -> None:
    def ask() -> Any:  # noqa: ANN401 - JSON
        headers = {
            "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
            "Content-Type": "application/x-amz-json-1.1",
        }
        request = urllib.request.Request(api.url, b"{}", headers)  # noqa: S310 - loopback only
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())["authorizationData"][0]["expiresAt"]

    assert await to_thread(ask) == api.clock.now() + 43_200


async def test_each_registry_that_is_named_has_an_entry_and_only_this_one_is_there(api: Bench, ecr: Client) -> None:
    own = api.services.identity.account
    answer = await ecr("get_authorization_token", registryIds=[own, own])
    code, message = await ecr.refused("get_authorization_token", registryIds=[own, "999999999999"])

    assert len({one["authorizationToken"] for one in answer["authorizationData"]}) == 2
    assert (code, "'registryId'" in message) == ("InvalidParameterException", True)
