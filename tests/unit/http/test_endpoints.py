"""The table of endpoints: methods, layouts of mirrors, and paths that HTTP libraries would not send."""

import pytest
from pytest_aiohttp.plugin import AiohttpClient

from proxy.http.application import build_application
from proxy.http.oci.endpoints import ENDPOINTS, routes
from proxy.http.oci.paths import Kind
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from tests.unit.http.conftest import Client, Stack
from tests.unit.http.raw import exchange

INDEX = b'{"schemaVersion":2,"manifests":[]}'
DIGEST = Digest.of(INDEX)
EXAMPLES = {
    Kind.PING: "/v2/",
    Kind.CATALOG: "/v2/_catalog",
    Kind.MANIFEST: "/v2/quay/a/manifests/latest",
    Kind.BLOB: f"/v2/quay/a/blobs/{DIGEST}",
    Kind.TAGS: "/v2/quay/a/tags/list",
    Kind.REFERRERS: f"/v2/quay/a/referrers/{DIGEST}",
    Kind.UPLOADS: "/v2/quay/a/blobs/uploads/",
    Kind.UPLOAD: "/v2/quay/a/blobs/uploads/0f3c",
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")


@pytest.fixture
async def mirror(stack: Stack, aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(build_application(stack.services, mirror="quay"))


@pytest.fixture(autouse=True)
def content(stack: Stack) -> None:
    stack.upstream.hold("a", INDEX, OCI_INDEX, "latest")
    stack.upstream.hold_blob(INDEX)
    stack.upstream.tags["a"] = ["latest"]


def test_every_kind_of_path_has_an_endpoint() -> None:
    # Without authentication there is no token endpoint.
    assert set(ENDPOINTS) == set(Kind) == set(EXAMPLES) | {Kind.TOKEN}


def test_routes_are_listed() -> None:
    assert ("GET", "/v2/<name>/manifests/<tag-or-digest>") in routes()
    assert ("HEAD", "/v2/_catalog") in routes()
    assert ("PATCH", "/v2/<name>/blobs/uploads/<session>") in routes()


def test_each_request_needs_what_somebody_has_thought_about() -> None:
    # By hand: the matrix of all requests and callers is written from the table that it is to hold against.
    reads, writes = {"GET": "pull", "HEAD": "pull"}, ("GET", "HEAD", "PATCH", "PUT", "DELETE")
    assert {
        kind: {method: route.need.action for method, route in endpoint.methods.items() if route.need is not None}
        for kind, endpoint in ENDPOINTS.items()
    } == {
        Kind.PING: {},
        Kind.TOKEN: {},
        Kind.CATALOG: {},
        Kind.MANIFEST: {**reads, "PUT": "push", "DELETE": "delete"},
        Kind.BLOB: {**reads, "DELETE": "delete"},
        Kind.TAGS: reads,
        Kind.REFERRERS: reads,
        Kind.UPLOADS: {"POST": "push"},
        Kind.UPLOAD: dict.fromkeys(writes, "push"),
    }


@pytest.mark.parametrize("kind", list(Kind))
def test_head_is_answered_wherever_get_is(kind: Kind) -> None:
    assert ("HEAD" in ENDPOINTS[kind].methods) == ("GET" in ENDPOINTS[kind].methods)


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_is_read_and_written_by_one_method(kind: Kind) -> None:
    assert ENDPOINTS[kind].reads.keys().isdisjoint(ENDPOINTS[kind].writes)
    if kind is not Kind.TOKEN:  # whose POST reads, too
        assert ENDPOINTS[kind].reads.keys() <= {"GET", "HEAD"}


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if ENDPOINTS[kind].reads])
async def test_head_is_get_without_the_body(client: Client, kind: Kind) -> None:
    await (await client.get(EXAMPLES[kind])).read()  # from here on both are hits
    head, got = await client.head(EXAMPLES[kind]), await client.get(EXAMPLES[kind])
    own = {"Date", "X-Request-ID"}
    assert (head.status, got.status) == (200, 200)
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in got.headers.items() if k not in own
    }
    assert head.headers["Content-Length"] == str(len(await got.read()))


ABSENT = [(kind, method) for kind in EXAMPLES for method in METHODS if method not in ENDPOINTS[kind].methods]


@pytest.mark.parametrize(("kind", "method"), ABSENT)
async def test_what_is_not_in_the_table_is_405(client: Client, stack: Stack, kind: Kind, method: str) -> None:
    answer = await client.request(method, EXAMPLES[kind].replace("quay/a", "team/app"), data=b"x" * 1000)
    assert answer.status == 405
    assert answer.headers.getall("Allow") == [", ".join(ENDPOINTS[kind].methods)]
    if method != "HEAD":
        assert (await answer.json())["errors"][0]["code"] == "UNSUPPORTED"
    assert stack.upstream.requests == []


WRITES = [(kind, method) for kind in Kind for method in ENDPOINTS[kind].writes]


@pytest.mark.parametrize(("kind", "method"), WRITES)
@pytest.mark.parametrize("name", ["/v2/quay/a", "/v2/docker-hub/nginx"])
async def test_a_cache_takes_no_writes(client: Client, stack: Stack, name: str, kind: Kind, method: str) -> None:
    path = EXAMPLES[kind].replace("/v2/quay/a", name)
    answer = await client.request(method, path, data=b"x" * 1000)
    assert answer.status == 405
    assert answer.headers.getall("Allow") == [", ".join(ENDPOINTS[kind].reads)]
    if method != "HEAD":
        [error] = (await answer.json())["errors"]
        assert error["code"] == "UNSUPPORTED"
        assert "`push: allow` in the rule" in error["message"]
    assert stack.upstream.requests == []


@pytest.mark.parametrize(("kind", "method"), WRITES)
@pytest.mark.parametrize(
    ("name", "query"),
    [("/open/v2/a", ""), ("/v2/a", "?ns=open.test"), ("/v2/open/a", "?ns=open.test"), ("/v2/team/app", "?ns=x")],
)
async def test_no_mirror_layout_takes_writes_whatever_the_rule_permits(
    client: Client, stack: Stack, kind: Kind, method: str, name: str, query: str
) -> None:
    path = EXAMPLES[kind].replace("/v2/quay/a", name) + query
    answer = await client.request(method, path, data=b"x" * 1000)
    assert answer.status == 405
    assert answer.headers.getall("Allow") == [", ".join(ENDPOINTS[kind].reads)]
    assert stack.upstream.requests == []


async def test_the_ping_has_the_sign_that_old_clients_look_for(client: Client) -> None:
    answer = await client.get("/v2/")
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.headers.getall("Content-Type") == ["application/json"]
    assert await answer.read() == b"{}"


@pytest.mark.parametrize(("path", "status"), [("/quay/v2/", 200), ("/quay/v2", 200), ("/other/v2/", 404)])
async def test_a_prefix_is_pinged_only_where_a_rule_has_it(client: Client, path: str, status: int) -> None:
    assert (await client.get(path)).status == status


async def test_a_mirror_serves_its_rule_without_the_prefix(mirror: Client) -> None:
    answer = await mirror.get("/v2/a/manifests/latest")
    assert await answer.read() == INDEX
    assert (await mirror.get("/v2/")).status == 200


async def test_the_prefix_is_a_name_like_any_other_on_a_mirror(mirror: Client, stack: Stack) -> None:
    assert (await mirror.get("/v2/docker-hub/a/manifests/latest")).status == 404
    assert [request.split(" ")[1] for request in stack.upstream.requests] == ["docker-hub/a"]


@pytest.mark.parametrize(
    "path",
    ["/quay/v2/a/manifests/latest", "/docker-hub/v2/", "/v2/_catalog", "/v2/token", "/metrics", "/livez", "/readyz"],
)
async def test_a_mirror_has_nothing_else(mirror: Client, path: str) -> None:
    answer = await mirror.get(path)
    assert answer.status == 404
    assert (await answer.json())["errors"][0]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(("kind", "method"), WRITES)
async def test_a_mirror_takes_no_writes(stack: Stack, aiohttp_client: AiohttpClient, kind: Kind, method: str) -> None:
    mirror = await aiohttp_client(build_application(stack.services, mirror="open"))
    answer = await mirror.request(method, EXAMPLES[kind].replace("/quay/a", "/a"), data=INDEX)
    assert answer.status == 405
    assert answer.headers.getall("Allow") == [", ".join(ENDPOINTS[kind].reads)]
    assert stack.upstream.requests == []


@pytest.mark.parametrize(
    "target",
    [
        "/v2/quay/../quay/a/manifests/latest",
        "/v2/quay/a/../a/manifests/latest",
        "/v2/quay//a/manifests/latest",
        "/v2//quay/a/manifests/latest",
        "//v2/quay/a/manifests/latest",
        "/v2/quay%2Fa/manifests/latest",
        "/v2/quay%252Fa/manifests/latest",
        "/v2/quay/a%2Fmanifests%2Flatest",
        "/%76%32/quay/a/manifests/latest",
        f"/v2/quay/a/manifests/sha256%253A{DIGEST.encoded}",
        "/v2/quay/a/blobs/sha256:../../x",
        "/v2/quay/a/blobs/sha256:%2e%2e",
        "/v2/quay/a/manifests/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v2/quay/\u0430/manifests/latest",
        "/v2/quay/a/manifests/la\u0442est",
        "/v2/quay/a\\..\\b/manifests/latest",
        f"/v2/quay/{'a' * 900}/manifests/latest",
        "/%2F%2F%2F..%2F..%2F..%2Fetc%2Fpasswd",
        "/metrics/../v2/quay/a/manifests/latest",
        "/static/../../etc/passwd",
        "/",
        "http://localhost/v2/quay%2Fa/manifests/latest",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_path_tricks_reach_nothing(client: Client, stack: Stack, method: str, target: str) -> None:
    answer = await exchange((client.host, client.port or 0), f"{method} {target}")
    assert answer.status in {400, 404}
    assert stack.upstream.requests == []


@pytest.mark.parametrize(
    "target",
    [
        f"/v2/quay/a/blobs/md5:{'0' * 32}",
        f"/v2/quay/a/blobs/sha256:{'0' * 63}",
        f"/v2/quay/a/blobs/sha256:{'G' * 64}",
        f"/v2/quay/a/manifests/sha256:{DIGEST.encoded.upper()}",
        f"/v2/quay/a/blobs/sha256:{'0' * 800}",
        "/v2/quay/A/manifests/latest",
        f"/v2/quay/{'a' * 260}/manifests/latest",
    ],
)
async def test_what_is_outside_the_grammar_is_refused_with_its_reason(
    client: Client, stack: Stack, target: str
) -> None:
    answer = await exchange((client.host, client.port or 0), f"GET {target}")
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert stack.upstream.requests == []


async def test_the_absolute_form_is_accepted(client: Client) -> None:
    answer = await exchange((client.host, client.port or 0), "GET http://localhost/v2/quay/a/manifests/latest")
    assert answer.status == 200
    assert answer.body == INDEX
