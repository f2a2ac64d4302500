import json
from collections.abc import Sequence

import pytest

from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.upstream.client import UpstreamClient
from proxy.upstream.listings import next_page
from tests.support.clock import FakeClock
from tests.support.upstream_registry import FakeRegistry, TokenServer, manifest_bytes
from tests.support.upstream_rules import remote_of
from tests.support.upstream_server import UpstreamServer, answering, failing, redirecting
from tests.support.virtual_hosts import Handler
from tests.unit.upstream.conftest import Opener

REGISTRY, OTHER = "registry.example.com", "other.example.org"
REMOTE = remote_of(REGISTRY)
SUBJECT = Digest.of(b"subject")


def tags(names: object, link: str | None = None) -> Handler:
    headers = {"Link": link} if link is not None else None
    return answering(200, json.dumps({"name": "x", "tags": names}).encode(), headers, content_type="application/json")


async def failure_of_tags(client: UpstreamClient) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await client.list_tags(REMOTE)
    return caught.value


async def test_all_pages_are_followed_by_their_links_to_the_letter(
    client: UpstreamClient, server: UpstreamServer, clock: FakeClock
) -> None:
    token_server = TokenServer(server, "auth.example.com", clock, "registry", {"team/app"})
    registry = FakeRegistry(server, REGISTRY, token_server, page=2)
    for tag in ("b", "a", "C", "10", "9"):
        registry.put_manifest("team/app", tag, manifest_bytes(tag))
    assert await client.list_tags(REMOTE) == ["10", "9", "C", "a", "b"]
    targets = [visit.target for visit in server.visits(REGISTRY) if visit.authorization]
    base = "/v2/team/app/tags/list"
    assert targets == [f"{base}?n=1000", f"{base}?last=2&opaque=%2F%2b", f"{base}?last=4&opaque=%2F%2b"]


@pytest.mark.parametrize("names", [None, []])
async def test_a_repository_without_tags_has_none(
    client: UpstreamClient, server: UpstreamServer, names: object
) -> None:
    server.script(REGISTRY, tags(names))
    assert await client.list_tags(REMOTE) == []


async def test_what_is_no_tag_is_dropped_and_duplicates_are_one(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, tags(["ok", "ok", "../x", "", "a" * 129, 7, None, "\u00fc"]))
    assert await client.list_tags(REMOTE) == ["ok"]


@pytest.mark.parametrize(
    "handler",
    [
        answering(200, b"<html>", content_type="text/html"),
        answering(200, b"", content_type="application/json"),
        answering(200, b"{}", content_type="application/json"),
        answering(200, b'{"tags":"a"}', content_type="application/json"),
        answering(200, b"[" * 100_000, content_type="application/json"),
        answering(404, b"<html>", content_type="text/html"),
    ],
)
async def test_anything_else_is_garbage(client: UpstreamClient, server: UpstreamServer, handler: Handler) -> None:
    server.script(REGISTRY, handler)
    assert (await failure_of_tags(client)).failure is UpstreamFailure.GARBAGE


async def test_an_unknown_repository_is_not_found(client: UpstreamClient, server: UpstreamServer) -> None:
    FakeRegistry(server, REGISTRY)
    assert (await failure_of_tags(client)).failure is UpstreamFailure.NOT_FOUND


@pytest.mark.parametrize(
    "target",
    [
        f"https://{OTHER}/v2/team/app/tags/list?last=x",
        f"https://{REGISTRY}:8443/next",
        f"http://{REGISTRY}/next",
        f"//{OTHER}/next",
        "https://169.254.169.254/latest",
        f"https://user@{REGISTRY}/next",
    ],
)
async def test_a_link_to_another_origin_gets_no_request(
    client: UpstreamClient, server: UpstreamServer, target: str
) -> None:
    server.script(REGISTRY, tags(["a"], f'<{target}>; rel="next"'))
    assert (await failure_of_tags(client)).failure is UpstreamFailure.REFUSED_TARGET
    assert len(server.journal) == 1


async def test_an_absolute_link_of_the_same_origin_is_followed(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, tags(["a"], f'<https://{REGISTRY}/v2/team/app/tags/list?p=2>; rel="next"'), times=1)
    server.script(REGISTRY, tags(["b"]))
    assert await client.list_tags(REMOTE) == ["a", "b"]


async def test_pages_behind_a_redirect_link_to_where_they_are(client: UpstreamClient, server: UpstreamServer) -> None:
    # registry.k8s.io drops the query and redirects; the pages after the first are at the other host.
    server.script(REGISTRY, redirecting(f"https://{OTHER}/v2/k8s/team/app/tags/list"))
    server.script(OTHER, tags(["a"], '</v2/k8s/team/app/tags/list?token=%2F>; rel="next"'), times=1)
    server.script(OTHER, tags(["b"]))
    assert await client.list_tags(REMOTE) == ["a", "b"]
    assert len(server.visits(REGISTRY)) == 1
    assert server.visits(OTHER)[-1].target == "/v2/k8s/team/app/tags/list?token=%2F"


async def test_pages_that_go_round_are_garbage(client: UpstreamClient, server: UpstreamServer) -> None:
    server.script(REGISTRY, tags(["a"], '</v2/team/app/tags/list?n=1000>; rel="next"'))
    assert (await failure_of_tags(client)).failure is UpstreamFailure.GARBAGE
    assert len(server.journal) == 1


async def test_a_list_longer_than_allowed_is_an_error_that_says_so(server: UpstreamServer, connect: Opener) -> None:
    client = await connect(max_tag_pages=3)
    registry = FakeRegistry(server, REGISTRY, page=1)
    for number in range(4):
        registry.put_manifest("team/app", f"v{number}", manifest_bytes())
    error = await failure_of_tags(client)
    assert error.failure is UpstreamFailure.GARBAGE
    assert "`max_tag_pages`" in error.message
    del registry.repositories["team/app"]["v3"]
    assert len(await client.list_tags(REMOTE)) == 3


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        (['</a?b=%2F>; rel="next"'], "/a?b=%2F"),
        (["</a>; rel=next"], "/a"),
        (['</first>; rel="first", </a,b>; title="x, y"; rel="prev next"'], "/a,b"),
        (["</first>; rel=first", "</a>;REL=NEXT"], "/a"),
        (['</a>; rel="nextish"'], None),
        (["</a>"], None),
        ([], None),
        (["garbage; rel=next"], None),
    ],
)
def test_links_are_read_however_they_are_written(headers: Sequence[str], target: str | None) -> None:
    assert next_page(headers) == target


ENTRY = {
    "mediaType": OCI_MANIFEST,
    "digest": str(Digest.of(b"referrer")),
    "size": 7,
    "artifactType": "application/sbom",
    "annotations": {"a": "b"},
}


class TestReferrers:
    async def test_all_descriptors_of_all_pages_come_unfiltered(
        self, client: UpstreamClient, server: UpstreamServer
    ) -> None:
        second = {"mediaType": OCI_MANIFEST, "digest": "sha256:short", "size": 7}
        page = json.dumps({"schemaVersion": 2, "manifests": [second, {"size": 1}, 7]}).encode()
        server.script(REGISTRY, answering(200, page, content_type=OCI_INDEX), containing="p=2")
        first = json.dumps({"schemaVersion": 2, "manifests": [ENTRY]}).encode()
        link = {"Link": f'</v2/team/app/referrers/{SUBJECT}?p=2>; rel="next"'}
        server.script(REGISTRY, answering(200, first, link, content_type=OCI_INDEX))
        found = await client.list_referrers(REMOTE, SUBJECT)
        assert found == [Descriptor(OCI_MANIFEST, Digest.of(b"referrer"), 7, "application/sbom", {"a": "b"})]
        assert server.journal[0].target == f"/v2/team/app/referrers/{SUBJECT}"
        assert server.journal[0].headers["Accept"] == OCI_INDEX

    async def test_no_referrers_are_an_empty_list(self, client: UpstreamClient, server: UpstreamServer) -> None:
        FakeRegistry(server, REGISTRY)
        assert await client.list_referrers(REMOTE, SUBJECT) == []

    @pytest.mark.parametrize(
        ("handler", "failure"),
        [
            (answering(404, b"404 page not found", content_type="text/plain"), UpstreamFailure.UNSUPPORTED),
            (failing(404, "NAME_UNKNOWN"), UpstreamFailure.UNSUPPORTED),
            (answering(405), UpstreamFailure.UNSUPPORTED),
            (answering(501), UpstreamFailure.UNSUPPORTED),
            (redirecting("https://other.example.org/-/v2/packages", 303), UpstreamFailure.UNSUPPORTED),
            (failing(400, "MANIFEST_INVALID"), UpstreamFailure.UNSUPPORTED),
            (failing(400, "NAME_INVALID"), UpstreamFailure.GARBAGE),
            (answering(200, b"<html>", content_type="text/html"), UpstreamFailure.GARBAGE),
            (answering(200, b"{}", content_type=OCI_INDEX), UpstreamFailure.GARBAGE),
            (failing(403, "DENIED"), UpstreamFailure.DENIED),
            (answering(503), UpstreamFailure.SERVER_ERROR),
        ],
    )
    async def test_a_registry_without_the_api_is_told_from_one_that_fails(
        self, client: UpstreamClient, server: UpstreamServer, handler: Handler, failure: UpstreamFailure
    ) -> None:
        server.script(REGISTRY, handler)
        with pytest.raises(UpstreamError) as caught:
            await client.list_referrers(REMOTE, SUBJECT)
        assert caught.value.failure is failure
        assert not server.visits(OTHER)
