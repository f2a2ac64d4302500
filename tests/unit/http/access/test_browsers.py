"""What browsers ask for on behalf of pages: those of other origins get nothing done."""

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from proxy.http.application import build_application
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from tests.unit.http.access.conftest import Guarded, basic
from tests.unit.http.conftest import Stack

INDEX = b'{"schemaVersion":2,"manifests":[]}'
BLOB = b"from a page"
MANIFEST = "/v2/quay/a/manifests/latest"
PUSH = f"/v2/team/app/blobs/uploads/?digest={Digest.of(BLOB)}"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("mirror", [None, "quay"])
async def test_a_page_of_another_origin_has_nothing_fetched_and_nothing_pushed(
    stack: Stack, aiohttp_client: AiohttpClient, site: str, mirror: str | None
) -> None:
    stack.upstream.hold("a", INDEX, OCI_INDEX, "latest")
    client = await aiohttp_client(build_application(stack.services, mirror=mirror))
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    path = MANIFEST.replace("quay/", "") if mirror else MANIFEST
    for method, asked, body in (("GET", path, None), ("HEAD", path, None), ("POST", PUSH, BLOB)):
        answer = await client.request(method, asked, headers=headers, data=body)
        assert answer.status == 403
    assert stack.upstream.requests == []
    assert (await client.get(path)).status == 200


async def test_passwords_that_a_browser_adds_do_not_help_a_page(guarded: Guarded) -> None:
    client = await guarded.client()
    page = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"}
    answer = await client.post(PUSH, headers=basic("alice") | page, data=BLOB)
    assert (answer.status, (await answer.json())["errors"][0]["code"]) == (403, "DENIED")
    assert (await client.get(f"/v2/team/app/blobs/{Digest.of(BLOB)}", headers=basic("alice"))).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"},
    ],
)
async def test_people_and_pages_of_the_same_origin_are_answered(
    stack: Stack, aiohttp_client: AiohttpClient, headers: dict[str, str]
) -> None:
    stack.upstream.hold("a", INDEX, OCI_INDEX, "latest")
    client = await aiohttp_client(build_application(stack.services, mirror=None))
    assert (await client.get(MANIFEST, headers=headers)).status == 200
