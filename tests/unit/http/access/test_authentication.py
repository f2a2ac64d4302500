"""Who a caller is taken for, what follows from it on every endpoint, and what nobody is told."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from proxy.config.auth import GrantSettings
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.rates import Rates
from proxy.model.access import Action
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName
from tests.unit.http.access.conftest import OPEN, Guarded, basic, bearer, token_of
from tests.unit.http.conftest import Client

INDEX = b'{"schemaVersion":2,"manifests":[]}'
DIGEST = Digest.of(INDEX)
BLOB = f"/v2/quay/a/blobs/{DIGEST}"


@pytest.fixture(autouse=True)
def content(guarded: Guarded) -> None:
    for name in ("a", "library/nginx"):
        guarded.stack.upstream.hold(name, INDEX, OCI_INDEX, "latest")
        guarded.stack.upstream.hold_blob(INDEX)
        guarded.stack.upstream.tags[name] = ["latest"]


async def code(client: Client, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> int | str:
    """Return the status of an answer, or the code of its error."""
    answer = await client.request(method, path, headers=headers or {})
    if answer.status < 400:
        return answer.status
    found: str = (await answer.json())["errors"][0]["code"]
    return found


@pytest.mark.parametrize("path", ["/v2/", "/v2", "/quay/v2/", "/unknown/v2/"])
async def test_the_ping_refuses_who_shows_nothing_and_nobody_else(guarded: Guarded, path: str) -> None:
    client = await guarded.client()
    assert await code(client, path) == "UNAUTHORIZED"
    for headers in (
        basic("bob"),
        basic("AWS", guarded.passwords.issue(Principal("alice")).text),
        bearer("a.good.assertion"),
        bearer(await token_of(client)),
        bearer(await token_of(client, user="bob")),
    ):
        assert await code(client, path, headers) == 200


async def test_what_anybody_may_pull_takes_no_token(guarded: Guarded) -> None:
    client = await guarded.client()
    assert await code(client, "/v2/quay/a/manifests/latest") == 200
    assert await code(client, BLOB) == 200
    mirror = await guarded.client(mirror="quay")
    assert await code(mirror, "/v2/a/manifests/latest") == 200


async def test_credentials_are_taken_directly_too(guarded: Guarded) -> None:
    client = await guarded.client()
    for headers in (basic("root"), bearer(await token_of(client, "repository:docker-hub/nginx:pull", user="root"))):
        assert await code(client, "/v2/docker-hub/nginx/manifests/latest", headers) == 200
        assert await code(client, "/v2/docker-hub/library/nginx/manifests/latest", headers) == 200
        assert await code(client, "/v2/nginx/manifests/latest?ns=docker.io", headers) == 200
        assert await code(client, "/docker-hub/v2/nginx/manifests/latest", headers) == 200


async def test_wrong_credentials_are_not_anonymous_ones(guarded: Guarded) -> None:
    client = await guarded.client()
    for headers in (basic("alice", "wrong"), bearer("x.y.z"), {"Authorization": "Basic !"}):
        assert await code(client, "/v2/quay/a/manifests/latest", headers) == "UNAUTHORIZED"


async def test_at_a_mirror_they_are(guarded: Guarded) -> None:
    mirror, main = await guarded.client(mirror="quay"), await guarded.client()
    for headers in (basic("hubuser", "hubpassword"), bearer("x.y.z"), {"Authorization": "Basic !"}):
        assert await code(mirror, "/v2/a/manifests/latest", headers) == 200
        assert await code(main, "/quay/v2/a/manifests/latest", headers) == 200


async def test_what_dockerd_sends_for_docker_hub_is_told_to_no_log_and_no_upstream(guarded: Guarded) -> None:
    mirror = await guarded.client(mirror="quay")
    with capture_logs() as events:
        headers = basic("hubuser", "dckr_pat_secret")
        answer = await mirror.get(
            "/v2/token", params={"scope": "repository:a:pull", "account": "hubuser"}, headers=headers
        )
        token = (await answer.json())["token"]
        assert await code(mirror, "/v2/a/manifests/latest", bearer(token)) == 200
    said = repr([events, guarded.stack.upstream.requests])
    assert not any(
        secret in said for secret in ("hubuser", "dckr_pat_secret", headers["Authorization"].split()[1], token)
    )


@pytest.mark.parametrize("tail", ["manifests/latest", "tags/list", f"blobs/{DIGEST}", f"referrers/{DIGEST}"])
async def test_who_has_no_rights_is_told_nothing_of_what_there_is(guarded: Guarded, tail: str) -> None:
    client = await guarded.client(grants=())
    paths = [
        f"/v2/quay/a/{tail}",  # there
        f"/v2/quay/b/{tail}",  # not there
        f"/v2/team/app/{tail}",
        f"/v2/a/{tail}?ns=quay.io",
        f"/v2/a/{tail}?ns=unknown.test",
        f"/quay/v2/a/{tail}",
        f"/unknown/v2/a/{tail}",
        f"/quay/v2/a/{tail}?ns=docker.io",
    ]
    assert {await code(client, path) for path in paths} == {"UNAUTHORIZED"}
    assert {await code(client, path, basic("alice")) for path in paths} == {"DENIED"}
    said = {(await (await client.get(path, headers=basic("alice"))).json())["errors"][0]["message"] for path in paths}
    assert len(said) == 1
    assert guarded.stack.upstream.requests == []


@pytest.mark.parametrize(
    "path",
    ["/v2/a/manifests/latest?ns=unknown.test", "/unknown/v2/a/manifests/latest"],
)
async def test_who_may_do_everything_is_told_that_there_is_no_such_rule(guarded: Guarded, path: str) -> None:
    client = await guarded.client()
    for headers in (basic("root"), bearer(await token_of(client, "repository:a:pull", user="root"))):
        assert await code(client, path, headers) == "NAME_UNKNOWN"


async def test_writing_to_a_mirror_tells_nothing_of_rules_either(guarded: Guarded) -> None:
    client = await guarded.client()
    for path in ("/quay/v2/a/blobs/uploads/", "/unknown/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/?ns=unknown.test"):
        assert await code(client, path, method="POST") == "UNSUPPORTED"


async def test_a_token_is_never_more_than_its_holder_may_now(guarded: Guarded) -> None:
    client = await guarded.client()
    token = await token_of(client, "repository:quay/a:pull", user="root")
    later = await guarded.client(grants=[GrantSettings(principals=("alice",), actions=(Action.PULL,))])
    assert await code(later, "/v2/quay/a/manifests/latest", bearer(token)) == "DENIED"


async def test_a_user_who_is_removed_has_no_token_any_more(guarded: Guarded) -> None:
    client = await guarded.client()
    token = await token_of(client, "repository:quay/a:pull", user="bob")
    assert await code(client, "/v2/quay/a/manifests/latest", bearer(token)) == 200
    del guarded.users.passwords["bob"]
    assert await code(client, "/v2/quay/a/manifests/latest", bearer(token)) == "UNAUTHORIZED"
    mirror = await guarded.client(mirror="quay")
    assert await code(mirror, "/v2/a/manifests/latest", bearer(token)) == "UNAUTHORIZED"


async def test_the_catalog_takes_a_token_for_it(guarded: Guarded) -> None:
    client = await guarded.client()
    assert await code(client, "/v2/quay/a/manifests/latest") == 200
    for user in (None, "alice"):
        token = await token_of(client, "registry:catalog:*", user=user)
        answer = await client.get("/v2/_catalog", headers=bearer(token))
        assert (answer.status, await answer.json()) == (200, {"repositories": ["quay/a"]})
        other = await token_of(client, "repository:quay/a:pull", user=user)
        answer = await client.get("/v2/_catalog", headers=bearer(other))
        assert answer.status == 401
        assert 'scope="registry:catalog:*",error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert await code(client, "/v2/_catalog", basic("bob")) == 200
    assert await code(client, "/v2/_catalog") == 200


def ticket(guarded: Guarded, principal: str = "root", scheme: Scheme = Scheme.TICKET) -> str:
    scopes = {RepositoryName("docker-hub/library/nginx"): frozenset({Action.PULL, Action.FIRST_PULL})}
    caller = Caller(Principal(principal), scheme)
    return guarded.tokens.issue(caller, scopes, timedelta(hours=1)).text


PRIVATE = f"/v2/docker-hub/library/nginx/blobs/{DIGEST}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("ecr", [False, True])
async def test_a_ticket_opens_one_repository_to_who_reads_blobs(guarded: Guarded, method: str, ecr: bool) -> None:  # noqa: FBT001 - a parameter
    client = await guarded.client(ecr=ecr)
    good = f"?ticket={ticket(guarded)}"
    for headers in ({}, basic("alice", "wrong")):
        assert (await client.request(method, f"{PRIVATE}{good}", headers=headers)).status == 200
    assert (await client.request(method, f"{BLOB}{good}")).status == 403


async def test_a_ticket_is_good_for_nothing_else(guarded: Guarded) -> None:
    client = await guarded.client()
    text = ticket(guarded)
    assert await code(client, f"/v2/docker-hub/library/nginx/manifests/latest?ticket={text}") == "UNAUTHORIZED"
    assert await code(client, f"{PRIVATE}?ticket={text}", method="DELETE") == "UNAUTHORIZED"
    assert await code(client, f"/v2/?ticket={text}") == "UNAUTHORIZED"
    assert await code(client, PRIVATE, bearer(text)) == "UNAUTHORIZED"
    assert await code(client, PRIVATE, basic("AWS", text)) == "UNAUTHORIZED"
    assert (await client.get("/v2/token", headers=bearer(text))).status == 401


async def test_a_ticket_that_is_none_is_refused_without_a_question(guarded: Guarded) -> None:
    nginx = GrantSettings(principals=("bob", "root"), actions=("pull", "first_pull"), repositories=("docker-hub/**",))
    client = await guarded.client(grants=[nginx])
    expired = ticket(guarded)
    guarded.clock.advance(3600)
    gone = ticket(guarded, "bob")
    assert await code(client, f"{PRIVATE}?ticket={gone}") == 200
    del guarded.users.passwords["bob"]
    good, token = ticket(guarded), ticket(guarded, scheme=Scheme.PASSWORD)
    for query in (f"ticket={expired}", f"ticket={gone}", "ticket=", f"ticket={good}&ticket={good}", f"ticket={token}"):
        answer = await client.get(f"{PRIVATE}?{query}", headers=basic("root"))
        assert (answer.status, "WWW-Authenticate" in answer.headers) == (403, False)
    assert await code(client, f"{PRIVATE}?ticket={good}") == 200


async def test_a_certificate_counts_where_no_other_credentials_do(guarded: Guarded) -> None:
    guarded.certificate = "root"
    main, mirror = await guarded.client(), await guarded.client(mirror="docker-hub")
    assert await code(main, "/v2/") == 200
    assert await code(main, "/v2/docker-hub/nginx/manifests/latest") == 200
    assert await code(main, "/v2/docker-hub/nginx/manifests/latest", basic("bob")) == "DENIED"
    assert await code(main, "/v2/docker-hub/nginx/manifests/latest", basic("bob", "wrong")) == "UNAUTHORIZED"
    assert await code(mirror, "/v2/nginx/manifests/latest", basic("hubuser", "wrong")) == 200
    caller = guarded.tokens.verify(await token_of(main, "repository:quay/a:pull"))
    assert caller is not None
    assert (caller.principal, caller.scheme) == ("root", Scheme.CERTIFICATE)


async def test_nobody_is_anonymous_where_the_registry_is_like_ecr(guarded: Guarded) -> None:
    client = await guarded.client(ecr=True, grants=[OPEN, GrantSettings(principals=("*",), actions=(Action.PULL,))])
    assert (await client.get("/v2/quay/a/manifests/latest")).status == 401
    mirror = await guarded.client(ecr=True, mirror="quay", grants=[OPEN])
    assert (await mirror.get("/v2/a/manifests/latest", headers=basic("hubuser", "x"))).status == 401
    password = guarded.passwords.issue(Principal("alice")).text
    assert (await client.get("/v2/", headers=basic("AWS", password))).status == 200
    guarded.clock.advance(12 * 3600 + 1)
    answer = await client.get("/v2/", headers=basic("AWS", password))
    [error] = (await answer.json())["errors"]
    assert (answer.status, error["code"]) == (403, "DENIED")
    assert error["message"] == "Your authorization token has expired. Reauthenticate and try again."


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "UNAUTHORIZED"),
        (basic("alice", "wrong"), "UNAUTHORIZED"),
        (basic("alice"), "DENIED"),
        (basic("root"), 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_metrics_are_for_those_who_may_read_them(
    guarded: Guarded, headers: dict[str, str], expected: str | int, method: str
) -> None:
    client = await guarded.client()
    answer = await client.request(method, "/metrics", headers=headers)
    assert answer.status == {"UNAUTHORIZED": 401, "DENIED": 403, 200: 200}[expected]
    if answer.status == 401:
        assert answer.headers["WWW-Authenticate"] == f'Basic realm="http://{client.host}:{client.port}/"'
    if method == "GET" and answer.status != 200:
        assert (await answer.json())["errors"][0]["code"] == expected


async def test_anybody_may_read_metrics_where_a_policy_says_so(guarded: Guarded) -> None:
    client = await guarded.client(grants=[GrantSettings(principals=("anonymous",), actions=(Action.METRICS,))])
    assert (await client.get("/metrics")).status == 200
    assert (await client.get("/metrics", headers=basic("alice", "wrong"))).status == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_asks_nobody(guarded: Guarded, path: str) -> None:
    client = await guarded.client(grants=())
    assert (await client.get(path)).status == 200


async def test_requests_count_for_who_makes_them(guarded: Guarded) -> None:
    rates = Rates(1, 2, guarded.clock, guarded.stack.services.metrics)
    client = await guarded.client(rates=rates)
    assert [await code(client, "/v2/", basic("bob")) for _ in range(3)] == [200, 200, "TOOMANYREQUESTS"]
    assert await code(client, "/metrics", basic("bob")) == "TOOMANYREQUESTS"
    assert await code(client, "/v2/", basic("alice")) == 200
    assert [await code(client, "/v2/quay/a/tags/list") for _ in range(3)] == [200, 200, "TOOMANYREQUESTS"]


@pytest.mark.parametrize("headers", [basic("alice", "wrong"), bearer("x.y.z"), {"Authorization": "Basic !"}])
async def test_refused_credentials_count_for_the_address_they_come_from(
    guarded: Guarded, headers: dict[str, str]
) -> None:
    rates = Rates(1, 2, guarded.clock, guarded.stack.services.metrics)
    client = await guarded.client(rates=rates)
    assert await code(client, "/v2/", headers) == "UNAUTHORIZED"
    assert await code(client, "/metrics", headers) == "UNAUTHORIZED"
    assert await code(client, "/v2/quay/a/tags/list", headers) == "TOOMANYREQUESTS"
    assert await code(client, "/v2/token", headers) == "TOOMANYREQUESTS"
    form = {"grant_type": "password", "username": "alice", "password": "wrong"}
    assert (await client.post("/v2/token", data=form)).status == 429
    assert await code(client, "/v2/", bearer("a.good.assertion")) == 200


@pytest.mark.parametrize("path", [BLOB, f"/v2/quay/a/manifests/{DIGEST}", "/v2/quay/a/manifests/latest"])
async def test_what_somebody_gets_is_kept_for_nobody_else(guarded: Guarded, path: str) -> None:
    client = await guarded.client()
    ticket = guarded.tokens.issue(
        Caller(Principal("root"), Scheme.TICKET),
        {RepositoryName("quay/a"): frozenset({Action.PULL})},
        timedelta(hours=1),
    )
    shown = [(path, basic("root")), (path, bearer(await token_of(client, "repository:quay/a:pull", user="root")))]
    shown += [(f"{path}?ticket={ticket.text}", {})] if path == BLOB else []
    for each, headers in shown:
        for method in ("GET", "HEAD"):
            answer = await client.request(method, each, headers=headers)
            assert answer.headers["Cache-Control"].startswith("private, ")
    # What everybody may have may be kept for everybody.
    assert "private" not in (await client.get(path)).headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/",
        "/v2/_catalog",
        "/v2/quay/a/tags/list",
        f"/v2/quay/a/referrers/{DIGEST}",
        "/v2/quay/a/manifests/none",
        "/v2/secret/a/tags/list",
        "/metrics",
    ],
)
async def test_lists_and_errors_that_somebody_gets_are_kept_for_nobody_else(guarded: Guarded, path: str) -> None:
    # Caches in front of a registry that do not mind Authorization mind this.
    client = await guarded.client()
    for user in ("root", "bob"):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, path, headers=basic(user))
            assert answer.headers.get("Cache-Control", "").startswith(("private", "no-store"))


async def test_the_log_says_who_it_was(guarded: Guarded) -> None:
    client = await guarded.client()
    with capture_logs() as events:
        await client.get("/v2/", headers=basic("alice"))
        await client.get("/v2/quay/a/tags/list")
        await client.get("/v2/", headers=basic("alice", "wrong"))
    answered = [event for event in events if event["event"] == "request.answered"]
    assert [(event["principal"], event["status"]) for event in answered] == [("alice", 200), (None, 200), (None, 401)]


async def test_a_password_is_computed_once_for_many_requests(guarded: Guarded) -> None:
    client = await guarded.client()
    for _ in range(20):
        assert await code(client, "/v2/team/app/tags/list", basic("alice")) == "NAME_UNKNOWN"
    assert guarded.users.asked == ["alice"]
