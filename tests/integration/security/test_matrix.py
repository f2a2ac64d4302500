"""Every request there is, by every kind of caller: what is permitted is answered, and nothing else is.

The requests come from the tables by which they are answered: one that nobody has decided about fails here.
"""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import ServiceModel, Shape, StructureShape

from proxy.core.clock import SystemClock
from proxy.model.access import Action
from tests.conformance.product import origin, run_product
from tests.docs.matrix import Open, Row, rows
from tests.emulators.identity_provider import IdentityProvider
from tests.support.api_shapes import sample
from tests.support.certificates import Authority
from tests.support.identities import put, user_line

DIGEST = f"sha256:{'ab' * 32}"
NAMES = {
    "<name>": "team/app",
    "<tag-or-digest>": "v1",
    "<digest>": DIGEST,
    "<session>": "11111111-2222-4333-8444-555555555555",
}
SECRET = "a-secret-of-thirty-two-characters"
AWS = frozenset({"ecr", "secretsmanager", "sts"})
# One user for each action, one with all, one with none: named after what they may.
USERS: Mapping[str, tuple[Action, ...]] = {
    **{action.value.replace("_", "-"): (action,) for action in Action},
    "everything": tuple(Action),
    "nothing": (),
}


@dataclass(frozen=True)
class Asker:
    """Somebody, and how it is shown: not at all, or by something that names the user.

    ``token`` is one of this registry, ``assertion`` one of an identity provider.
    """

    user: str | None
    shown: str = "password"

    def __str__(self) -> str:
        return f"{self.user or 'anonymous'} by {self.shown}" if self.user or self.shown == "token" else "anonymous"

    @property
    def actions(self) -> tuple[Action, ...]:
        return USERS[self.user] if self.user is not None else ()


ASKERS = [
    Asker(None),
    Asker(None, "token"),
    *(Asker(user) for user in USERS),
    *(
        Asker(user, shown)
        for user in ("everything", "nothing")
        for shown in ("token", "registry password", "assertion", "certificate")
    ),
]


@dataclass
class Registry:
    """The product with these users, a client of it, and what gives users their assertions."""

    url: str
    client: aiohttp.ClientSession
    provider: IdentityProvider

    async def ask(self, row: Row, asker: Asker) -> tuple[int, str]:
        """Return status and code of the error, if it is one."""
        if row.surface in {"distribution", "administration"}:
            path = row.template
            for name, value in NAMES.items():
                path = path.replace(name, value)
            headers = await self._headers(asker)
            request = self.client.request(row.method, f"{self.url}{path}", headers=headers, data=_body(row))
        else:
            asked = _call(row, asker, self.url)
            if asker.shown == "assertion":
                asked["headers"] |= await self._headers(asker)
            request = self.client.post(f"{self.url}/", **asked)
        async with request as answer:
            text = await answer.text()
            return answer.status, _code(text)

    async def _headers(self, asker: Asker) -> dict[str, str]:
        scopes = [("scope", "repository:team/app:pull,push,delete"), ("scope", "registry:catalog:*")]
        if asker.user is None and asker.shown == "token":
            async with self.client.get(f"{self.url}/v2/token", params=scopes) as answer:
                return {"Authorization": f"Bearer {(await answer.json())['token']}"}
        if asker.user is None or asker.shown == "certificate":
            return {}
        if asker.shown == "assertion":
            return {"Authorization": f"Bearer {self.provider.mint(sub=asker.user)}"}
        if asker.shown == "registry password":
            call = Row("ecr", "POST", "GetAuthorizationToken", Open.KNOWN)
            async with self.client.post(f"{self.url}/", **_call(call, asker, self.url)) as answer:
                token = (await answer.json(content_type=None))["authorizationData"][0]["authorizationToken"]
            return {"Authorization": f"Basic {token}"}
        basic = base64.b64encode(f"{asker.user}:{SECRET}".encode()).decode()
        if asker.shown == "password":
            return {"Authorization": f"Basic {basic}"}
        headers = {"Authorization": f"Basic {basic}"}
        async with self.client.get(f"{self.url}/v2/token", params=scopes, headers=headers) as answer:
            return {"Authorization": f"Bearer {(await answer.json())['token']}"}


@pytest.fixture
async def registry(tmp_path: Path, asker: Asker) -> AsyncIterator[Registry]:
    put(tmp_path / "users", *(user_line(user, SECRET) for user in USERS))
    put(tmp_path / "keys", *(f"{_key(user)} {SECRET} {user}" for user in USERS))
    policies = [
        {"principals": [user, f"oidc:{user}", f"cert:{user}"], "actions": [*actions]}
        for user, actions in USERS.items()
        if actions
    ]
    auth: dict[str, object] = {"htpasswd": tmp_path / "users", "access_keys": tmp_path / "keys", "policies": policies}
    sections: dict[str, object] = {"auth": auth}
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(IdentityProvider(SystemClock()))
        auth["oidc"] = [provider.settings()]
        trusting = None
        if asker.shown == "certificate":
            authority = Authority(tmp_path / "authority")
            files = authority.issue()
            auth["client_ca"] = authority.file
            tls = {"certificate": files.certificate, "key": files.key}
            sections["server"] = {"port": 0, "drain_timeout": 0, "tls": tls}
            trusting = authority.trusting(authority.client(str(asker.user)))
        server = await stack.enter_async_context(run_product(tmp_path / "store", sections))
        connector = aiohttp.TCPConnector(ssl=trusting if trusting is not None else True)
        client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        url = origin(server.address)
        yield Registry(url if trusting is None else url.replace("http:", "https:"), client, provider)


def permitted(row: Row, asker: Asker) -> bool:
    """Tell what the table says."""
    unspoken = row.template == "/v2/token" and row.method != "POST"
    if asker.shown == "token" and (unspoken or row.needs is Action.METRICS):
        return False  # a token is good for repositories and the catalog, and gets no other token
    if asker.shown == "token" and row.needs is Open.CHALLENGED:
        return True  # who was asked, and was given it
    if asker.shown == "assertion" and row.surface in AWS:
        return False  # which are signed
    match row.needs:
        case Open.EVERYONE:
            return True
        case Open.KNOWN | Open.CHALLENGED | Open.LISTED:
            return asker.user is not None
        case _:
            return row.needs in asker.actions


def refused(row: Row, asker: Asker, status: int, code: str) -> bool:
    """Tell whether an answer is the refusal that this caller gets there."""
    if row.surface in {"distribution", "administration"}:
        expected = (401, "UNAUTHORIZED") if asker.user is None or asker.shown == "token" else (403, "DENIED")
        # HEAD has no body to tell the code in. A token that was not granted a scope can be replaced by one that was,
        # which only who may not at all is told otherwise.
        return status in {expected[0], 403 if asker.user else expected[0]} and code in {"", "UNAUTHORIZED", "DENIED"}
    codes = {"AccessDeniedException"}
    if asker.user is None:
        codes = {"MissingAuthenticationTokenException", "MissingAuthenticationToken"}
    elif asker.shown == "assertion":
        codes = {"IncompleteSignatureException", "IncompleteSignature"}
    return status in {400, 403} and code in codes


@pytest.mark.parametrize("asker", ASKERS, ids=str)
async def test_each_request_is_answered_for_those_who_may_and_refused_to_all_others(
    registry: Registry, asker: Asker
) -> None:
    wrong = []
    for row in rows():
        status, code = await registry.ask(row, asker)
        is_refusal = status in {401, 403} or code.startswith(("AccessDenied", "MissingAuth", "IncompleteSignature"))
        right = not is_refusal if permitted(row, asker) else refused(row, asker, status, code)
        if not right:
            wrong.append(f"{row.surface} {row.method} {row.template} ({row.needs}): {status} {code}")
    assert wrong == []


def test_every_kind_of_request_is_in_the_matrix() -> None:
    found = list(rows())
    assert {row.surface for row in found} == {"distribution", "administration", "ecr", "secretsmanager", "sts"}
    assert {row.needs for row in found} >= {*Open, *Action} - {Action.FIRST_PULL}


def _body(row: Row) -> bytes | None:
    return b"{}" if row.method in {"PUT", "PATCH", "POST"} and row.template != "/v2/token" else None


def _call(row: Row, asker: Asker, url: str) -> dict[str, Any]:
    if row.surface == "sts":
        headers, body = {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=GetCallerIdentity"
    else:
        model = _model(row.surface)
        headers = {
            "X-Amz-Target": f"{model.metadata['targetPrefix']}.{row.template}",
            "Content-Type": "application/x-amz-json-1.1",
        }
        body = json.dumps(_input(model.operation_model(row.template).input_shape)).encode()
    request = AWSRequest("POST", f"{url}/", headers={"Host": url.partition("://")[2], **headers}, data=body)
    if asker.user is not None and asker.shown not in {"assertion", "certificate"}:
        SigV4Auth(Credentials(_key(asker.user), SECRET), row.surface, "us-east-1").add_auth(request)
    return {"headers": {name: _text(value) for name, value in request.headers.items()}, "data": body}


def _input(shape: Shape | None) -> dict[str, Any]:
    if not isinstance(shape, StructureShape):
        return {}
    wanted = {*shape.required_members, "repositoryName"} & set(shape.members)
    return {name: sample(shape.members[name]) for name in wanted}


@cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def _key(user: str) -> str:
    return "PT" + user.upper().replace("-", "") + "0" * 16


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _code(text: str) -> str:
    if text.startswith("<"):
        return text.partition("<Code>")[2].partition("</Code>")[0]
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    if not isinstance(found, dict):
        return ""
    return str(found["errors"][0]["code"]) if "errors" in found else str(found.get("__type", ""))
