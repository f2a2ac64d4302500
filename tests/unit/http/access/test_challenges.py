"""The answer 401: exactly as clients of either character expect it, and nothing of a client's in it unchecked."""

from urllib.parse import urlsplit

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.settings import ServerSettings
from proxy.http.access.challenge import Challenges, Demand, same_service
from proxy.http.trace import TRACE, Trace
from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.upstream.challenge import Challenge, parse_challenges
from tests.unit.http.access.conftest import Guarded, basic, bearer, token_of
from tests.unit.http.conftest import Client
from tests.unit.http.raw import exchange

DIGEST = Digest.of(b"x")


def address(client: Client) -> str:
    return f"{client.host}:{client.port}"


async def challenge(client: Client, path: str, method: str = "GET", **headers: str) -> Challenge:
    answer = await client.request(method, path, headers=headers)
    assert answer.status == 401
    assert answer.headers["Cache-Control"] == "no-store"
    [found] = parse_challenges(answer.headers.getall("WWW-Authenticate"))
    return found


async def test_the_ping_asks_for_a_token(guarded: Guarded) -> None:
    client = await guarded.client()
    answer = await client.get("/v2/")
    origin = f"http://{address(client)}"
    assert answer.headers.getall("WWW-Authenticate") == [
        f'Bearer realm="{origin}/v2/token",service="{address(client)}"'
    ]
    assert answer.headers["Docker-Distribution-API-Version"] == "registry/2.0"
    assert (await answer.json())["errors"] == [
        {"code": "UNAUTHORIZED", "message": "authentication required", "detail": {}}
    ]


@pytest.mark.parametrize("path", ["/v2/", "/v2/team/app/manifests/1", "/v2/_catalog", "/v2/quay/a/tags/list"])
async def test_a_registry_like_ecr_asks_for_a_password_as_ecr_does(guarded: Guarded, path: str) -> None:
    client = await guarded.client(ecr=True)
    for headers in ({}, basic("alice", "wrong"), bearer("x")):
        answer = await client.get(path, headers=headers)
        assert answer.status == 401
        assert answer.headers.getall("WWW-Authenticate") == [
            f'Basic realm="http://{address(client)}/",service="ecr.amazonaws.com"'
        ]
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        assert answer.headers["Content-Length"] == "15"
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert await answer.read() == b"Not Authorized\n"


async def test_the_ping_of_a_registry_like_ecr_has_no_content(guarded: Guarded) -> None:
    client = await guarded.client(ecr=True)
    answer = await client.get("/v2/", headers=basic("bob"))
    assert (answer.status, await answer.read()) == (200, b"")
    assert answer.headers["Content-Length"] == "0"
    assert "Content-Type" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v2/team/app/manifests/1", "repository:team/app:pull"),
        ("HEAD", "/v2/team/app/manifests/1", "repository:team/app:pull"),
        ("PUT", "/v2/team/app/manifests/1", "repository:team/app:pull,push"),
        ("DELETE", "/v2/team/app/manifests/1", "repository:team/app:delete"),
        ("GET", f"/v2/team/app/blobs/{DIGEST}", "repository:team/app:pull"),
        ("DELETE", f"/v2/team/app/blobs/{DIGEST}", "repository:team/app:delete"),
        ("GET", "/v2/team/app/tags/list", "repository:team/app:pull"),
        ("GET", f"/v2/team/app/referrers/{DIGEST}", "repository:team/app:pull"),
        ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
        ("PATCH", "/v2/team/app/blobs/uploads/0f3c", "repository:team/app:pull,push"),
        ("GET", "/v2/team/app/blobs/uploads/0f3c", "repository:team/app:pull,push"),
        # Names of clients where the token endpoint knows them, and the registry's own where it does not.
        ("GET", "/v2/docker-hub/nginx/manifests/1", "repository:docker-hub/nginx:pull"),
        ("GET", "/v2/nginx/manifests/1?ns=docker.io", "repository:docker-hub/library/nginx:pull"),
        ("GET", "/v2/nginx/manifests/1?ns=unknown.test", "repository:nginx:pull"),
        ("GET", "/docker-hub/v2/nginx/manifests/1", "repository:nginx:pull"),
        ("GET", "/unknown/v2/nginx/manifests/1", "repository:nginx:pull"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ],
)
async def test_a_challenge_says_which_scope_a_token_must_have(
    guarded: Guarded, method: str, path: str, scope: str
) -> None:
    client = await guarded.client(grants=())
    found = await challenge(client, path, method)
    base = path.partition("/v2")[0]
    assert found == Challenge(
        "bearer", {"realm": f"http://{address(client)}{base}/v2/token", "service": address(client), "scope": scope}
    )


async def test_a_listener_of_a_mirror_asks_at_its_own_address(guarded: Guarded) -> None:
    server = ServerSettings(port=0, public_url="https://registry.example")
    client = await guarded.client(mirror="docker-hub", server=server, grants=())
    found = await challenge(client, "/v2/nginx/manifests/1")
    assert (found.realm, found.scope) == (f"http://{address(client)}/v2/token", "repository:nginx:pull")
    main = await guarded.client(server=server, grants=())
    for path in ("/v2/", "/docker-hub/v2/"):
        found = await challenge(main, path)
        assert (found.realm, found.service) == (f"https://registry.example{path}token", "registry.example")


async def test_what_a_trusted_proxy_tells_is_the_origin_and_what_others_tell_is_not(guarded: Guarded) -> None:
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}
    trusting = await guarded.client(server=ServerSettings(port=0, trusted_proxies=("127.0.0.0/8",)))
    assert (await challenge(trusting, "/v2/", **told)).realm == "https://registry.example/v2/token"
    plain = await guarded.client()
    assert (await challenge(plain, "/v2/", **told)).realm == f"http://{address(plain)}/v2/token"


@pytest.mark.parametrize(
    "host",
    ['x",error="', "a b", "registry.example/path", "user@registry.example", "registry.example:port", "", "[::1", "a,b"],
)
@pytest.mark.parametrize("ecr", [False, True])
async def test_a_host_that_is_none_is_not_repeated(guarded: Guarded, host: str, ecr: bool) -> None:  # noqa: FBT001 - a parameter
    client = await guarded.client(ecr=ecr)
    answer = await exchange((client.host, client.port or 0), "GET /v2/", host=host)
    if answer.status == 400:
        return  # the parser of requests refuses it before
    assert answer.status == 401
    [found] = parse_challenges(answer.headers.getall("WWW-Authenticate"))
    assert found.realm.startswith(f"http://{address(client)}/")
    assert found.error == ""


async def test_several_hosts_are_none(guarded: Guarded) -> None:
    client = await guarded.client()
    answer = await exchange((client.host, client.port or 0), "GET /v2/", host="a.test", fields="Host: b.test\r\n")
    assert answer.status in {400, 401}
    assert b"b.test" not in answer.headers.get("WWW-Authenticate", "").encode()


@pytest.mark.parametrize("token", ["x", "a.b.c", "x" * 8_000])
async def test_a_token_of_nobody_is_told_to_be_invalid(guarded: Guarded, token: str) -> None:
    client = await guarded.client()
    for path, scope in (("/v2/", ""), ("/v2/quay/a/manifests/1", "repository:quay/a:pull")):
        found = await challenge(client, path, **bearer(token))
        assert (found.scheme, found.error, found.scope) == ("bearer", "invalid_token", scope)


async def test_an_expired_token_is_told_to_be_invalid_also_at_a_mirror(guarded: Guarded) -> None:
    main, mirror = await guarded.client(), await guarded.client(mirror="quay")
    token = await token_of(main, "repository:quay/a:pull")
    guarded.clock.advance(300)
    for client, path in ((main, "/v2/quay/a/tags/list"), (mirror, "/v2/a/tags/list"), (main, "/quay/v2/a/tags/list")):
        assert (await challenge(client, path, **bearer(token))).error == "invalid_token"


async def test_a_token_that_does_not_cover_what_its_holder_may_is_told_so(guarded: Guarded) -> None:
    client = await guarded.client()
    token = await token_of(client, "repository:team/app:pull", user="alice")
    found = await challenge(client, "/v2/team/app/blobs/uploads/", "POST", **bearer(token))
    assert (found.error, found.scope) == ("insufficient_scope", "repository:team/app:pull,push")
    found = await challenge(client, "/v2/team/other/tags/list", **bearer(token))
    assert (found.error, found.scope) == ("insufficient_scope", "repository:team/other:pull")
    anonymous = await token_of(client)
    found = await challenge(client, "/v2/quay/a/tags/list", **bearer(anonymous))
    assert (found.error, found.scope) == ("insufficient_scope", "repository:quay/a:pull")


async def test_a_good_token_of_somebody_who_may_not_is_no_fault_of_the_token(guarded: Guarded) -> None:
    client = await guarded.client()
    anonymous = await token_of(client, "repository:team/app:pull")
    found = await challenge(client, "/v2/team/app/tags/list", **bearer(anonymous))
    assert (found.error, found.scope) == ("", "repository:team/app:pull")
    bob = await token_of(client, "repository:team/app:pull", user="bob")
    answer = await client.get("/v2/team/app/tags/list", headers=bearer(bob))
    assert (answer.status, "WWW-Authenticate" in answer.headers) == (403, False)


async def test_wrong_passwords_are_asked_for_again(guarded: Guarded) -> None:
    client = await guarded.client()
    for path in ("/v2/", "/v2/quay/a/tags/list"):
        found = await challenge(client, path, **basic("alice", "wrong"))
        assert (found.scheme, found.error) == ("bearer", "")


HOSTS = st.text(max_size=40) | st.text(alphabet='ab.:[]"\\,= \r\n@/?#%12', max_size=20)


@given(host=HOSTS, basic=st.booleans())
def test_clients_read_back_every_challenge_whatever_the_host(host: str, basic: bool) -> None:  # noqa: FBT001 - drawn
    request = make_mocked_request("GET", "/v2/", headers={"Host": host})
    request[TRACE] = Trace("id", 0.0)
    demand = Demand("/docker-hub/v2", "repository:a:pull,push", "insufficient_scope")
    response = Challenges(None, basic=basic).answer(request, ProxyError(ErrorCode.UNAUTHORIZED), demand)
    text = response.headers["WWW-Authenticate"]
    assert text.isascii()
    assert text.isprintable()
    [found] = parse_challenges([text])
    assert found.realm.endswith("/" if basic else "/docker-hub/v2/token")
    assert urlsplit(found.realm).hostname
    assert (found.scope, found.error) == (("", "") if basic else (demand.scope, demand.reason))
    assert len(found.parameters) == (2 if basic else 4)


@pytest.mark.parametrize(
    ("one", "other", "scheme", "same"),
    [
        ("registry.example", "registry.example", "https", True),
        ("registry.example:443", "Registry.Example", "https", True),
        ("registry.example:443", "registry.example", "http", False),
        ("registry.example", "registry.example:80", "http", True),
        ("[::1]:5000", "[::1]:5000", "http", True),
        ("a", "b", "http", False),
        ("a:x", "a", "http", False),
        ("a@b", "b", "http", True),
    ],
)
def test_one_service_has_several_spellings(one: str, other: str, scheme: str, same: bool) -> None:  # noqa: FBT001 - a parameter
    assert same_service(one, other, scheme) is same
