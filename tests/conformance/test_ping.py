"""The version check (end-1), and a repository in which there is nothing yet."""

import pytest

from tests.conformance.conftest import REPOSITORY
from tests.conformance.reading import referrers
from tests.conformance.registry import Registry, digest_of


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_registry_speaks_this_api(registry: Registry, path: str) -> None:
    answer = (await registry.get(path)).expect(200)
    assert answer.json == {}
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    head = (await registry.head(path)).expect(200)
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]


async def test_the_tags_of_a_repository_that_nobody_pushed_to_are_unknown(registry: Registry) -> None:
    (await registry.get(f"/v2/{REPOSITORY}/tags/list")).expect_error(404, "NAME_UNKNOWN")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_nothing_refers_to_what_nobody_pushed(registry: Registry, algorithm: str) -> None:
    assert await referrers(registry, REPOSITORY, digest_of(b"nothing", algorithm)) == []
    assert await referrers(registry, REPOSITORY, digest_of(b"nothing", algorithm), "application/vnd.example") == []
