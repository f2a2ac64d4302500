"""The token endpoint: who is given which token, by which request, and who none."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from proxy.config.settings import ServerSettings
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.rates import Rates
from proxy.http.application import build_application
from proxy.http.oci import needs
from proxy.http.oci.endpoints import ENDPOINTS
from proxy.model.access import Action
from proxy.model.principal import Principal
from tests.unit.http.access.conftest import Guarded, basic, bearer, token_of
from tests.unit.http.conftest import Client

PULL = {Action.PULL, Action.FIRST_PULL}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def holder(guarded: Guarded, token: str) -> Caller:
    caller = guarded.tokens.verify(token)
    assert caller is not None
    return caller


def rights(caller: Caller) -> dict[str, set[Action]]:
    return {name: set(actions) for name, actions in (caller.scopes or {}).items()}


async def given(
    client: Client,
    guarded: Guarded,
    *,
    method: str = "GET",
    path: str = "/v2/token",
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> Caller:
    answer = await client.request(method, path, headers=headers, params=params, data=data)
    assert answer.status == 200, await answer.text()
    return holder(guarded, (await answer.json())["token"])


async def test_the_answer_is_what_every_client_reads(guarded: Guarded) -> None:
    client = await guarded.client()
    answer = await client.get("/v2/token")
    document = await answer.json()
    assert document == {
        "token": document["token"],
        "access_token": document["token"],
        "expires_in": 300,
        "issued_at": datetime.fromtimestamp(guarded.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.getall("Content-Type") == ["application/json"]
    head = await client.head("/v2/token")
    assert (head.status, await head.read()) == (200, b"")


async def test_anybody_is_given_what_anybody_may(guarded: Guarded) -> None:
    client = await guarded.client()
    scopes = ["repository:quay/a:pull,push", "repository:team/app:pull,push", "repository:public/b:*"]
    caller = holder(guarded, await token_of(client, *scopes))
    assert (caller.anonymous, caller.scheme) == (True, Scheme.NONE)
    assert rights(caller) == {"quay/a": PULL, "public/b": PULL}


@pytest.mark.parametrize(
    ("user", "granted"),
    [
        ("alice", {"team/app": PULL | {Action.PUSH}, "quay/a": PULL}),
        ("bob", {"quay/a": PULL}),
        ("root", {"team/app": PULL | {Action.PUSH, Action.DELETE}, "quay/a": PULL}),
    ],
)
async def test_users_are_given_what_they_may(guarded: Guarded, user: str, granted: dict[str, set[Action]]) -> None:
    client = await guarded.client()
    scopes = ["repository:team/app:pull,push,delete", "repository:quay/a:pull"]
    caller = holder(guarded, await token_of(client, *scopes, user=user))
    assert (caller.principal, caller.scheme, rights(caller)) == (user, Scheme.PASSWORD, granted)


async def test_passwords_of_the_registry_and_tokens_of_providers_are_taken(guarded: Guarded) -> None:
    client = await guarded.client()
    password = guarded.passwords.issue(Principal("alice"))
    aws = await given(client, guarded, headers=basic("AWS", password.text))
    assert (aws.principal, aws.scheme) == ("alice", Scheme.REGISTRY_PASSWORD)
    by_name = await given(client, guarded, headers=basic("ci", "a.good.assertion"))
    by_bearer = await given(client, guarded, headers=bearer("a.good.assertion"))
    for caller in (by_name, by_bearer):
        assert (caller.principal, caller.scheme) == ("ci:team/app", Scheme.OIDC)


async def test_a_form_may_hold_user_and_password(guarded: Guarded) -> None:
    client = await guarded.client()
    form = {
        "grant_type": "password",
        "username": "alice",
        "password": "secret",
        "service": f"{client.host}:{client.port}",
        "client_id": "containerd-client",
        "access_type": "offline",
        "scope": "repository:team/app:pull,push repository:quay/a:pull",
    }
    caller = await given(client, guarded, method="POST", data=form)
    assert (caller.principal, caller.scheme) == ("alice", Scheme.PASSWORD)
    assert rights(caller) == {"team/app": PULL | {Action.PUSH}, "quay/a": PULL}
    # Fields of containerd's hosts.toml go with it.
    also = await given(client, guarded, method="POST", data=form, headers=basic("bob", "wrong"))
    assert also.principal == "alice"


async def test_a_form_without_a_grant_is_answered_as_a_query(guarded: Guarded) -> None:
    client = await guarded.client()
    caller = await given(
        client, guarded, method="POST", data={"scope": "repository:team/app:pull"}, headers=basic("alice")
    )
    assert (caller.principal, rights(caller)) == ("alice", {"team/app": PULL})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("grant_type=refresh_token&refresh_token=x", "invalid_grant"),
        ("grant_type=client_credentials", "unsupported_grant_type"),
        ("grant_type=", "unsupported_grant_type"),
        ("grant_type=password", "invalid_request"),
        ("grant_type=password&username=alice", "invalid_request"),
        ("grant_type=password&username=alice&username=bob&password=secret", "invalid_request"),
        ("grant_type=password&grant_type=password&username=alice&password=secret", "invalid_request"),
        ("service=elsewhere.example", "invalid_request"),
        ("service=a&service=b", "invalid_request"),
        ("username=%ff", "invalid_request"),
        ("&".join(f"a{number}=b" for number in range(100)), "invalid_request"),
        ("a=" + "b" * 100_000, "invalid_request"),
    ],
)
async def test_forms_that_are_none_are_refused_as_oauth_has_it(guarded: Guarded, body: str, reason: str) -> None:
    client = await guarded.client()
    answer = await client.post("/v2/token", data=body, headers=FORM)
    document = await answer.json()
    assert (answer.status, document["error"], bool(document["error_description"])) == (400, reason, True)
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_body_that_is_no_form_is_refused(guarded: Guarded) -> None:
    client = await guarded.client()
    answer = await client.post("/v2/token", json={"grant_type": "password"})
    assert (answer.status, (await answer.json())["error"]) == (400, "invalid_request")


async def test_a_token_is_for_this_service_only(guarded: Guarded) -> None:
    client = await guarded.client()
    for service, status in ((f"{client.host}:{client.port}", 200), ("elsewhere.example", 400), ("", 400)):
        answer = await client.get("/v2/token", params={"service": service})
        assert answer.status == status
    public = await guarded.client(server=ServerSettings(port=0, public_url="https://registry.example"))
    for service, status in (("registry.example", 200), ("registry.example:443", 400), ("elsewhere.example", 400)):
        assert (await public.get("/v2/token", params={"service": service})).status == status


@pytest.mark.parametrize(
    "headers",
    [basic("alice", "wrong"), basic("nobody"), {"Authorization": "Digest x"}, {"Authorization": ""}, bearer("x.y.z")],
)
async def test_wrong_credentials_are_refused_with_the_challenge_for_right_ones(
    guarded: Guarded, headers: dict[str, str]
) -> None:
    client = await guarded.client()
    answer = await client.get("/v2/token", headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == f'Basic realm="http://{client.host}:{client.port}/"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await answer.json())["errors"][0]["code"] == "UNAUTHORIZED"


async def test_wrong_credentials_in_a_form_are_refused_alike(guarded: Guarded) -> None:
    client = await guarded.client()
    for user in ("alice", "a:b", "nobody"):
        form = {"grant_type": "password", "username": user, "password": "wrong"}
        answer = await client.post("/v2/token", data=form)
        assert (answer.status, answer.headers["Cache-Control"]) == (401, "no-store")


async def test_wrong_passwords_are_limited(guarded: Guarded) -> None:
    client = await guarded.client()
    statuses = [(await client.get("/v2/token", headers=basic("alice", f"guess{n}"))).status for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


@pytest.mark.parametrize(("mirror", "path"), [("quay", "/v2/token"), (None, "/quay/v2/token")])
async def test_at_a_mirror_credentials_of_nobody_count_as_none_however_often_they_come(
    guarded: Guarded, mirror: str | None, path: str
) -> None:
    client = await guarded.client(mirror=mirror)
    parameters = {"scope": "repository:a:pull", "account": "hubuser"}
    for number in range(6):
        headers = basic(f"hubuser{number}", "dckr_pat_secret")
        caller = await given(client, guarded, path=path, params=parameters, headers=headers)
        assert (caller.anonymous, rights(caller)) == (True, {"quay/a": PULL})
    form = {"grant_type": "password", "username": "hub:user", "password": "x", "scope": "repository:a:pull"}
    assert (await given(client, guarded, path=path, method="POST", data=form)).anonymous
    assert (await given(client, guarded, path=path, headers={"Authorization": "nonsense"})).anonymous


async def test_at_a_mirror_users_are_known(guarded: Guarded) -> None:
    client = await guarded.client(mirror="docker-hub")
    caller = holder(guarded, await token_of(client, "repository:nginx:pull", user="root"))
    assert (caller.principal, rights(caller)) == ("root", {"docker-hub/library/nginx": PULL})


@pytest.mark.parametrize(("mirror", "path"), [(None, "/v2/token"), ("quay", "/v2/token")])
async def test_a_token_gets_no_other_token(guarded: Guarded, mirror: str | None, path: str) -> None:
    client = await guarded.client(mirror=mirror)
    token = await token_of(client, "repository:team/app:pull", user="alice")
    answer = await client.get(path, params={"scope": "repository:team/app:pull"}, headers=bearer(token))
    assert answer.status == 401


async def test_an_expired_password_of_the_registry_is_told_so(guarded: Guarded) -> None:
    client = await guarded.client()
    password = guarded.passwords.issue(Principal("alice"))
    guarded.clock.advance(13 * 3600)
    answer = await client.get("/v2/token", headers=basic("AWS", password.text))
    assert answer.status == 403
    [error] = (await answer.json())["errors"]
    assert error["message"] == "Your authorization token has expired. Reauthenticate and try again."


async def test_requests_for_tokens_count_for_their_caller(guarded: Guarded) -> None:
    rates = Rates(1, 2, guarded.clock, guarded.stack.services.metrics)
    client = await guarded.client(rates=rates)
    form = {"grant_type": "password", "username": "alice", "password": "secret"}
    assert (await client.get("/v2/token", headers=basic("alice"))).status == 200
    assert (await client.post("/v2/token", data=form)).status == 200
    assert (await client.post("/v2/token", data=form)).status == 429
    assert (await client.get("/v2/token", headers=basic("bob"))).status == 200


@pytest.mark.parametrize("path", ["/v2/token", "/quay/v2/token"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
async def test_without_authentication_and_with_ecr_there_is_no_such_endpoint(
    guarded: Guarded, path: str, method: str
) -> None:
    off = await guarded.make(build_application(guarded.stack.services, mirror=None))
    for client in (off, await guarded.client(ecr=True)):
        answer = await client.request(method, path, headers=basic("alice"))
        assert answer.status == 404
        assert "WWW-Authenticate" not in answer.headers


def test_tokens_are_granted_by_every_operation_of_the_endpoints() -> None:
    routes = [route for endpoint in ENDPOINTS.values() for route in endpoint.methods.values()]
    used = {(route.need.action, route.need.operation) for route in routes if route.need is not None}
    known = {(action, operation) for action, names in needs.OPERATIONS.items() for operation in names}
    assert used | {(needs.FIRST_PULL.action, needs.FIRST_PULL.operation)} == known


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods_are_refused_with_those_that_are_not(guarded: Guarded, method: str) -> None:
    answer = await (await guarded.client()).request(method, "/v2/token")
    assert answer.status == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
