"""The token endpoint: who shows credentials, or none, is given a token to use instead.

Distribution's token authentication, in its form with a query and in that of OAuth 2.0 (RFC 6749).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from aiohttp import hdrs, web

from proxy.core.access.caller import Caller
from proxy.core.access.scopes import grant_scopes, parse_scopes
from proxy.http import body
from proxy.http.access.admission import admit, admit_user
from proxy.http.access.challenge import same_service, service_of
from proxy.http.access.ports import Authentication
from proxy.http.oci.call import Call
from proxy.http.oci.needs import OPERATIONS
from proxy.http.trace import TRACE
from proxy.model.errors import ErrorCode, ProxyError

_FORM: Final = "application/x-www-form-urlencoded"
_BODY_LIMIT: Final = 64 << 10
_FIELDS: Final = 64

_Parameters = Mapping[str, Sequence[str]]


class _RefusedError(Exception):
    """A request that is none, as RFC 6749 §5.2 names the reason."""

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason


async def get(call: Call) -> web.StreamResponse:
    """Answer with a token for what the query asks for, as far as the caller may have it."""
    query = call.request.query
    return await _answer(call, {name: query.getall(name) for name in query})


async def post(call: Call) -> web.StreamResponse:
    """Answer as `get`, to a form, which may hold user name and password (``grant_type=password``)."""
    try:
        form = await _read(call.request)
    except _RefusedError as refused:
        return _refuse(call, refused)
    return await _answer(call, form)


async def _answer(call: Call, parameters: _Parameters) -> web.Response:
    authentication = call.services.authentication
    if authentication is None or not authentication.gives_tokens:
        raise ProxyError(ErrorCode.NOT_FOUND)
    service = service_of(authentication.origin(call.request, mirror=call.mirror is not None))
    try:
        _check_service(_only(parameters, "service"), service, call.request.scheme)
        caller = await _identify(call, authentication, parameters)
    except _RefusedError as refused:
        return _refuse(call, refused)
    if caller.token:
        # Otherwise a token would be good forever, to whoever got hold of it once.
        raise ProxyError(ErrorCode.UNAUTHORIZED, "a token gets no other one: show what it was given for")
    asked = parse_scopes(parameters.get("scope", ()), service)
    mirror = call.mirror or call.target.prefix or None
    rules, authorizer = await call.services.rules.latest(), call.services.authorizer
    token = authentication.issue(caller, await grant_scopes(asked, caller, rules, mirror, authorizer, OPERATIONS))
    issued = datetime.fromtimestamp(token.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Clients read one name or the other.
    document = {"token": token.text, "access_token": token.text, "expires_in": token.expires_in, "issued_at": issued}
    return _render(200, document)


async def _identify(call: Call, authentication: Authentication, parameters: _Parameters) -> Caller:
    request, mirror = call.request, call.at_mirror
    grant = _only(parameters, "grant_type") if request.method == hdrs.METH_POST else None
    match grant:
        case None:
            return await admit(request, mirror=mirror)
        case "password":
            user, password = _only(parameters, "username"), _only(parameters, "password")
            if user is None or password is None:
                raise _RefusedError("invalid_request", "grant_type=password takes username and password")
            return await admit_user(request, authentication, user, password, mirror=mirror)
        case "refresh_token":
            raise _RefusedError("invalid_grant", "this registry gives no refresh tokens: show user name and password")
        case _:
            raise _RefusedError("unsupported_grant_type", "grant_type may be password")


def _check_service(given: str | None, own: str, scheme: str) -> None:
    if given is not None and not same_service(given, own, scheme):
        raise _RefusedError("invalid_request", f"the tokens of this endpoint are for the service {own}, and no other")


def _only(parameters: _Parameters, name: str) -> str | None:
    values = parameters.get(name, ())
    if len(values) > 1:
        # RFC 6749 §3.2.
        raise _RefusedError("invalid_request", f"{name} may be given once")
    return values[0] if values else None


async def _read(request: web.Request) -> _Parameters:
    if request.content_type != _FORM:
        raise _RefusedError("invalid_request", f"the body is a form by its Content-Type: {_FORM}")
    body.require_identity(request)
    too_large = _RefusedError("invalid_request", f"the form is larger than {_BODY_LIMIT} bytes")
    data = await body.read(request, _BODY_LIMIT, ErrorCode.UNAVAILABLE, too_large)
    try:
        return parse_qs(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
    except ValueError:
        raise _RefusedError("invalid_request", "the body is no form in UTF-8, or has too many fields") from None


def _refuse(call: Call, refused: _RefusedError) -> web.Response:
    call.request[TRACE].error = refused.reason
    return _render(400, {"error": refused.reason, "error_description": str(refused)})


def _render(status: int, document: Mapping[str, object]) -> web.Response:
    # RFC 6749 §5.1: what holds a token is kept nowhere.
    headers = {hdrs.CONTENT_TYPE: "application/json", hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(status=status, body=json.dumps(document).encode(), headers=headers)
