"""The AWS APIs of the whole product, which the first who calls them waits for, and nobody else."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.product import origin, run_product

TARGET = "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories"
HEADERS = {"X-Amz-Target": TARGET, "Content-Type": "application/x-amz-json-1.1"}


@pytest.mark.parametrize(
    ("auth", "status", "answer"),
    [
        ({}, 200, {"repositories": []}),
        ({"auth": {"htpasswd": "users"}}, 400, {"__type": "MissingAuthenticationTokenException"}),
    ],
    ids=["everyone", "auth"],
)
async def test_the_first_calls_of_the_api_are_answered_as_any_while_the_loop_goes_on(
    auth: dict[str, Any], status: int, answer: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "users").touch()
    sections = {name: {key: tmp_path / file for key, file in value.items()} for name, value in auth.items()}
    async with run_product(tmp_path / "registry", sections) as server, aiohttp.ClientSession() as client:

        async def call() -> tuple[int, dict[str, Any]]:
            async with client.post(f"{origin(server.address)}/", data=b"{}", headers=HEADERS) as response:
                return response.status, await response.json(content_type=None)

        for told, document in await asyncio.gather(call(), call(), call()):
            assert told == status
            assert document.items() >= answer.items()
