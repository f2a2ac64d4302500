"""Tags, referrers and the catalog over HTTP: pages, links, filters."""

import json
from dataclasses import replace

import pytest
from aiohttp import ClientResponse
from pytest_aiohttp.plugin import AiohttpClient
from yarl import URL

from proxy.core.access.authorizer import EveryoneMay
from proxy.core.access.caller import Caller
from proxy.http.application import build_application
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.name_spans import NameSpan, join_spans, span_of_name
from proxy.model.pages import PAGE_LIMIT, REFERRERS_LIMIT
from tests.support.documents import descriptor, image
from tests.unit.http.conftest import Client, Stack

SUBJECT = Digest.of(b"subject")
NAME = "/v2/docker-hub/library/nginx"


def target(answer: ClientResponse) -> URL:
    """Return where the Link of an answer leads."""
    found, parameters = answer.headers["Link"].rsplit(";", 1)
    assert parameters.strip() == 'rel="next"'
    return URL(found.strip("<>"), encoded=True)


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
    link = target(first)
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
@pytest.mark.parametrize("path", [f"{NAME}/tags/list", f"{NAME}/referrers/{SUBJECT}", "/v2/_catalog"])
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


async def test_an_answer_about_tags_is_bounded_where_n_is_not_said(client: Client, stack: Stack) -> None:
    names = [f"v{number:05}" for number in range(PAGE_LIMIT + 1)]
    stack.upstream.tags["library/nginx"] = names
    first = await client.get(f"{NAME}/tags/list")
    assert (await first.json())["tags"] == names[:-1]
    second = await client.get(target(first))
    assert (await second.json())["tags"] == names[-1:]
    assert "Link" not in second.headers


async def test_an_unknown_repository_has_no_tags(client: Client) -> None:
    for name in ("docker-hub/library/none", "team/none"):
        answer = await client.get(f"/v2/{name}/tags/list")
        assert (answer.status, (await answer.json())["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


KIND = "application/vnd.example+json; a=b&c"


@pytest.mark.parametrize(
    ("path", "base"),
    [
        (f"{NAME}/referrers/{SUBJECT}?", f"{NAME}/referrers/{SUBJECT}"),
        (f"/docker-hub/v2/library/nginx/referrers/{SUBJECT}?", f"/docker-hub/v2/library/nginx/referrers/{SUBJECT}"),
        (f"/v2/library/nginx/referrers/{SUBJECT}?ns=docker.io&", f"/v2/library/nginx/referrers/{SUBJECT}"),
    ],
)
async def test_links_lead_through_all_referrers_of_a_type(client: Client, stack: Stack, path: str, base: str) -> None:
    listed = [Descriptor(OCI_MANIFEST, Digest.of(b"%d" % number), 1, KIND) for number in range(5)]
    stack.upstream.referrers[SUBJECT] += listed
    found: list[str] = []
    url = URL(f"{path}n=2").update_query(artifactType=KIND)
    for more in (True, True, False):
        answer = await client.get(url)
        assert (answer.status, answer.headers["OCI-Filters-Applied"]) == (200, "artifactType")
        assert answer.headers["Content-Type"] == OCI_INDEX
        found += [one["digest"] for one in json.loads(await answer.read())["manifests"]]
        assert ("Link" in answer.headers) is more
        if more:
            query = dict(url.query)
            url = target(answer)
            assert (url.path, url.is_absolute(), url.query["last"]) == (base, False, found[-1])
            assert dict(url.query) == {**query, "last": found[-1]}
    assert found == sorted(str(one.digest) for one in listed)


async def test_links_between_pages_of_all_referrers_name_no_type(client: Client, stack: Stack) -> None:
    listed = [Descriptor(OCI_MANIFEST, Digest.of(b"%d" % number), 1, KIND) for number in range(REFERRERS_LIMIT + 1)]
    stack.upstream.referrers[SUBJECT] = listed
    first = await client.get(f"{NAME}/referrers/{SUBJECT}?artifactType=a&artifactType=b")
    manifests = json.loads(await first.read())["manifests"]
    assert len(manifests) == REFERRERS_LIMIT
    assert dict(target(first).query) == {"last": manifests[-1]["digest"]}
    second = await client.get(target(first))
    assert len(json.loads(await second.read())["manifests"]) == 1
    assert "Link" not in second.headers
    assert "OCI-Filters-Applied" not in second.headers


async def test_referrers_say_all_annotations_and_the_type(client: Client, stack: Stack) -> None:
    notes = {"org.opencontainers.image.created": "2024-01-01T00:00:00Z", "\u00e9": "\U0001f600"}
    stack.upstream.referrers[SUBJECT] = [Descriptor(OCI_MANIFEST, Digest.of(b"1"), 7, KIND, notes)]
    answer = await client.get(f"{NAME}/referrers/{SUBJECT}")
    assert json.loads(await answer.read()) == {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                "mediaType": OCI_MANIFEST,
                "digest": str(Digest.of(b"1")),
                "size": 7,
                "artifactType": KIND,
                "annotations": notes,
            }
        ],
    }


async def test_page_of_no_referrers_has_no_link(client: Client) -> None:
    answer = await client.get(f"{NAME}/referrers/{SUBJECT}?n=0")
    assert (answer.status, json.loads(await answer.read())["manifests"]) == (200, [])
    assert "Link" not in answer.headers


async def test_referrers_of_what_is_no_digest_are_refused(client: Client) -> None:
    for text in ("latest", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"):
        answer = await client.get(f"{NAME}/referrers/{text}")
        assert (answer.status, (await answer.json())["errors"][0]["code"]) == (400, "DIGEST_INVALID")


async def test_an_unknown_repository_has_no_referrers(client: Client) -> None:
    answer = await client.get(f"/v2/team/none/referrers/{SUBJECT}?artifactType=a/b")
    assert (answer.status, json.loads(await answer.read())["manifests"]) == (200, [])
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


async def test_pushed_referrers_are_listed_until_they_are_deleted(client: Client) -> None:
    name = "/v2/team/app"
    for content in (b"{}", b"layer"):
        pushed = await client.post(f"{name}/blobs/uploads/?digest={Digest.of(content)}", data=content)
        assert pushed.status == 201
    expected = {}
    for kind in ("a/b", "c/d"):
        raw = image(b"{}", b"layer", artifactType=kind, subject=descriptor(b"subject", OCI_MANIFEST))
        answer = await client.put(
            f"{name}/manifests/{Digest.of(raw)}", data=raw, headers={"Content-Type": OCI_MANIFEST}
        )
        assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(SUBJECT))
        expected[kind] = str(Digest.of(raw))

    async def listed(query: str = "") -> set[str]:
        answer = await client.get(f"{name}/referrers/{SUBJECT}{query}")
        return {one["digest"] for one in json.loads(await answer.read())["manifests"]}

    assert await listed() == set(expected.values())
    assert await listed("?artifactType=a/b") == {expected["a/b"]}
    assert (await client.delete(f"{name}/manifests/{expected['a/b']}")).status == 202
    assert await listed() == {expected["c/d"]}


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


class Narrow(EveryoneMay):
    """Says that there is one name to look at."""

    async def spans(self, caller: Caller, operation: str = "") -> tuple[NameSpan, ...]:
        del caller, operation
        return join_spans([span_of_name("quay/b")])


async def test_the_catalog_looks_only_where_something_may_be_seen(stack: Stack, aiohttp_client: AiohttpClient) -> None:
    client = await aiohttp_client(build_application(replace(stack.services, authorizer=Narrow()), mirror=None))
    for name in ("a", "b", "c"):
        stack.upstream.hold(name, b'{"schemaVersion":2,"manifests":[]}', OCI_INDEX, "latest")
        assert (await client.get(f"/v2/quay/{name}/manifests/latest")).status == 200
    assert await (await client.get("/v2/_catalog")).json() == {"repositories": ["quay/b"]}
