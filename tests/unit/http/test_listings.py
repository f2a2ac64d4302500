"""Tags, referrers and the catalog over HTTP: pages, links, filters."""

import json

import pytest
from yarl import URL

from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from tests.unit.http.conftest import Client, Stack

SUBJECT = Digest.of(b"subject")
NAME = "/v2/docker-hub/library/nginx"


@pytest.fixture(autouse=True)
def lists(stack: Stack) -> None:
    stack.upstream.tags["library/nginx"] = ["a", "b", "c", "d"]
    stack.upstream.referrers[SUBJECT] = [
        Descriptor(OCI_MANIFEST, Digest.of(b"1"), 1, "application/spdx+json"),
        Descriptor(OCI_MANIFEST, Digest.of(b"2"), 1, "application/vnd.example"),
    ]


async def test_all_tags(client: Client) -> None:
    answer = await client.get(f"{NAME}/tags/list")
    assert answer.headers.getall("Content-Type") == ["application/json"]
    assert await answer.json() == {"name": "docker-hub/library/nginx", "tags": ["a", "b", "c", "d"]}
    assert "Link" not in answer.headers


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/v2/docker-hub/library/nginx/tags/list?n=2", "/v2/docker-hub/library/nginx/tags/list"),
        ("/docker-hub/v2/library/nginx/tags/list?n=2", "/docker-hub/v2/library/nginx/tags/list"),
        ("/v2/library/nginx/tags/list?n=2&ns=docker.io", "/v2/library/nginx/tags/list"),
    ],
)
async def test_links_lead_through_all_pages_in_the_layout_of_the_request(client: Client, path: str, base: str) -> None:
    first = await client.get(path)
    assert (await first.json())["tags"] == ["a", "b"]
    target, parameters = first.headers["Link"].split(";")
    assert parameters.strip() == 'rel="next"'
    link = URL(target.strip("<>"))
    assert (link.path, link.is_absolute()) == (base, False)
    assert dict(link.query) == {**URL(path).query, "n": "2", "last": "b"}
    second = await client.get(link)
    assert (await second.json())["tags"] == ["c", "d"]
    assert "Link" not in second.headers


async def test_n_0_is_an_empty_list_without_link(client: Client) -> None:
    answer = await client.get(f"{NAME}/tags/list?n=0")
    assert (await answer.json())["tags"] == []
    assert "Link" not in answer.headers


async def test_the_last_tag_need_not_exist(client: Client) -> None:
    answer = await client.get(f"{NAME}/tags/list?last=bb")
    assert (await answer.json())["tags"] == ["c", "d"]


BAD_PAGES = ["n=-1", "n=abc", "n=", "n=1e3", "n=2147483648", "n=1&n=2", "n=+1", "n=1&last=a&last=b", "last=%00"]


@pytest.mark.parametrize("query", BAD_PAGES)
@pytest.mark.parametrize("path", [f"{NAME}/tags/list", "/v2/_catalog"])
async def test_bad_pages_are_refused_before_anything_is_asked(
    client: Client, stack: Stack, path: str, query: str
) -> None:
    answer = await client.get(URL(f"{path}?{query}", encoded=True))
    assert answer.status == 400
    assert (await answer.json())["errors"][0]["code"] == "PAGINATION_NUMBER_INVALID"
    assert stack.upstream.requests == []


async def test_referrers_are_an_index(client: Client) -> None:
    answer = await client.get(f"{NAME}/referrers/{SUBJECT}")
    assert answer.status == 200
    assert answer.headers.getall("Content-Type") == [OCI_INDEX]
    assert "OCI-Filters-Applied" not in answer.headers
    assert len(json.loads(await answer.read())["manifests"]) == 2


async def test_filtered_referrers_say_so(client: Client) -> None:
    answer = await client.get(URL(f"{NAME}/referrers/{SUBJECT}").with_query(artifactType="application/spdx+json"))
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    [descriptor] = json.loads(await answer.read())["manifests"]
    assert descriptor["artifactType"] == "application/spdx+json"


@pytest.mark.parametrize("query", ["artifactType=", "artifactType=a&artifactType=b"])
async def test_a_filter_that_is_not_applied_is_not_claimed(client: Client, query: str) -> None:
    answer = await client.get(f"{NAME}/referrers/{SUBJECT}?{query}")
    assert "OCI-Filters-Applied" not in answer.headers
    assert len(json.loads(await answer.read())["manifests"]) == 2


async def test_an_unknown_subject_has_an_empty_index(client: Client) -> None:
    answer = await client.get(f"{NAME}/referrers/{Digest.of(b'other')}")
    assert answer.status == 200
    assert json.loads(await answer.read())["manifests"] == []


async def test_referrers_of_an_upstream_that_fails_are_never_an_empty_index(client: Client, stack: Stack) -> None:
    stack.upstream.failure = UpstreamError(UpstreamFailure.UNREACHABLE, "registry-1.docker.io cannot be reached")
    answer = await client.get(f"{NAME}/referrers/{SUBJECT}")
    assert answer.status == 502


async def test_the_catalog_has_pages(client: Client, stack: Stack) -> None:
    for name in ("a", "b", "c"):
        stack.upstream.hold(name, b'{"schemaVersion":2,"manifests":[]}', OCI_INDEX, "latest")
        assert (await client.get(f"/v2/quay/{name}/manifests/latest")).status == 200
    first = await client.get("/v2/_catalog?n=2")
    assert await first.json() == {"repositories": ["quay/a", "quay/b"]}
    assert first.headers["Link"] == '</v2/_catalog?n=2&last=quay/b>; rel="next"'
    second = await client.get("/v2/_catalog?n=2&last=quay/b")
    assert await second.json() == {"repositories": ["quay/c"]}
    assert "Link" not in second.headers
