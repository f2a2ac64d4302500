"""A repository that is a cache: it answers as its upstream would, and takes nothing from clients."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from proxy.model.reference import referrers_tag
from tests.conformance.data_sets import DATA_SETS, DataSet, artifacts_with_subject, image, index_with_subject
from tests.conformance.product import origin, run_product
from tests.conformance.pushing import push, put_manifest
from tests.conformance.reading import expect_blob, expect_manifest, expect_referrers, expect_tags, referrers
from tests.conformance.registry import OCTETS, Registry, digest_of
from tests.conformance.upstream import without_referrers

PREFIX = "cached"
UPSTREAM = "conformance/one"
REPOSITORY = f"{PREFIX}/{UPSTREAM}"
ABSENT = digest_of(b"absent")

each_layout = pytest.mark.parametrize(
    ("layout", "repository"), [("prefix", UPSTREAM), ("mirror", UPSTREAM), ("name", REPOSITORY)]
)


@pytest.fixture
def sections() -> dict[str, Any]:
    return {"registry": {"sparse_indexes": True}}


@pytest.fixture(params=["referrers API", "fallback tag"])
async def upstream(
    request: pytest.FixtureRequest, registry: Registry, session: aiohttp.ClientSession
) -> AsyncIterator[str]:
    """The URL of the upstream, which holds what is pushed to `registry`."""
    if request.param == "referrers API":
        yield registry.base
    else:
        async with without_referrers(session, registry.base) as url:
            yield url


@pytest.fixture
async def layouts(upstream: str, session: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[dict[str, Registry]]:
    """The product in front of the upstream: each way to its repositories, by how they are written there."""
    sections = {
        # Tags are asked for upstream each time, so that a test may go on pushing.
        "rules": [{"prefix": PREFIX, "upstream": upstream, "revalidate_after": 0, "complete": False}],
        "upstreams": {"listing_ttl": 0},
        "mirrors": [{"port": 0, "rule": PREFIX}],
    }
    async with run_product(tmp_path / "cache", sections) as server:
        main = origin(server.address)
        yield {
            "name": Registry(session, main),
            "prefix": Registry(session, f"{main}/{PREFIX}"),
            "mirror": Registry(session, origin(server.mirror_addresses[PREFIX])),
        }


@pytest.fixture
def cache(layouts: dict[str, Registry]) -> Registry:
    return layouts["name"]


async def push_upstream(registry: Registry, data: DataSet) -> None:
    """Push upstream, with the tags by which clients find referrers where there is no API."""
    await push(registry, UPSTREAM, data)
    for subject, found in data.referrers.items():
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(found.values())}
        tag = referrers_tag(Digest.parse(subject))
        (await put_manifest(registry, UPSTREAM, tag, json.dumps(document).encode())).expect(201)


async def expect_data(cache: Registry, repository: str, data: DataSet) -> None:
    await expect_tags(cache, repository, *data.tags)
    for tag, digest in data.tags.items():
        # A cache knows tags by the canonical digest, whichever its upstream tells.
        await expect_manifest(cache, repository, tag, data.manifests[digest])
    for digest, manifest in data.manifests.items():
        await expect_manifest(cache, repository, digest, manifest)
    for blob in data.each_blob():
        await expect_blob(cache, repository, blob)
    for subject, expected in data.referrers.items():
        await expect_referrers(cache, repository, subject, expected)


@pytest.mark.parametrize("name", DATA_SETS)
async def test_what_upstream_holds_is_pulled_unchanged_cold_and_warm(
    registry: Registry, cache: Registry, name: str
) -> None:
    data = DATA_SETS[name]()
    await push_upstream(registry, data)
    for _ in ("cold", "warm"):
        await expect_data(cache, REPOSITORY, data)


@each_layout
@pytest.mark.parametrize("data_set", [artifacts_with_subject, index_with_subject])
async def test_each_layout_leads_to_the_same(
    registry: Registry, layouts: dict[str, Registry], layout: str, repository: str, data_set: Callable[[], DataSet]
) -> None:
    data = data_set()
    await push_upstream(registry, data)
    await expect_data(layouts[layout], repository, data)


async def test_what_upstream_does_not_hold_is_not_there(registry: Registry, cache: Registry) -> None:
    await push_upstream(registry, image())
    for reference in (ABSENT, digest_of(b"absent", "sha512"), "missing-tag", ".INVALID_NAME"):
        target = f"/v2/{REPOSITORY}/manifests/{reference}"
        (await cache.get(target)).expect_error(404, "MANIFEST_UNKNOWN")
        assert (await cache.head(target)).status == 404
    target = f"/v2/{REPOSITORY}/blobs/{ABSENT}"
    (await cache.get(target)).expect_error(404, "BLOB_UNKNOWN")
    assert (await cache.head(target)).status == 404
    (await cache.get(f"/v2/{PREFIX}/no/such/tags/list")).expect_error(404, "NAME_UNKNOWN")
    assert await referrers(cache, REPOSITORY, ABSENT) == []
    for kind in ("manifests", "blobs", "referrers"):
        (await cache.get(f"/v2/{REPOSITORY}/{kind}/sha256:baddigeststring")).expect_error(400, "DIGEST_INVALID")


@pytest.mark.parametrize("upstream", ["referrers API"], indirect=True)
@each_layout
async def test_nothing_is_written_to_a_cache(
    registry: Registry, layouts: dict[str, Registry], layout: str, repository: str
) -> None:
    data = image()
    await push_upstream(registry, data)
    session = "blobs/uploads/00000000-0000-4000-8000-000000000000"
    for method, path in (
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={ABSENT}"),
        ("POST", f"blobs/uploads/?mount={ABSENT}&from=other"),
        ("PATCH", session),
        ("PUT", f"{session}?digest={ABSENT}"),
        ("DELETE", session),
        ("PUT", "manifests/image"),
        ("PUT", f"manifests/{ABSENT}"),
        ("DELETE", "manifests/image"),
        *(("DELETE", f"manifests/{digest}") for digest in data.manifests),
        *(("DELETE", f"blobs/{digest}") for digest in data.blobs),
    ):
        body = b"{}" if method in {"PUT", "PATCH"} else None
        answer = await layouts[layout].ask(method, f"/v2/{repository}/{path}", body, headers=OCTETS)
        assert method not in answer.expect_error(405, "UNSUPPORTED").headers["Allow"].split(", ")
    await expect_data(layouts[layout], repository, data)


@pytest.mark.parametrize("upstream", ["referrers API"], indirect=True)
async def test_a_push_to_a_digest_that_is_none_is_refused_as_everywhere(cache: Registry) -> None:
    answer = await cache.ask("PUT", f"/v2/{REPOSITORY}/manifests/sha256:baddigeststring", b"{}", headers=OCTETS)
    answer.expect_error(400, "DIGEST_INVALID")
