"""AWS STS, as far as SDKs and Terraform ask who they are: a query in, XML out (the ``query`` protocol)."""

from typing import Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web

from proxy.http.aws.operations import ApiCall
from proxy.model.api_errors import ApiError, ApiErrorCode

FAULT: Final = ApiErrorCode.InternalFailure

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_FIELDS = 200
_SERVER_SIDE = 500


def answer(call: ApiCall, query: bytes) -> web.Response:
    """Answer ``Action=GetCallerIdentity``; anything else is an error that says so."""
    try:
        action = parse_qs(query.decode(), max_num_fields=_FIELDS).get("Action", [""])[0]
    except ValueError as error:
        # Not text, or more fields than any operation has.
        raise ApiError(ApiErrorCode.SerializationException, "the body is no query") from error
    if not action:
        raise ApiError(ApiErrorCode.UnknownOperationException, "the request names no operation (Action)")
    if action != "GetCallerIdentity":
        raise ApiError(ApiErrorCode.UnsupportedOperationException, "this registry offers GetCallerIdentity of STS only")
    account = call.identity.account
    arn = f"arn:{call.identity.partition}:iam::{account}:" + (f"user/{call.principal}" if call.principal else "root")
    result = _element("Arn", arn) + _element("UserId", call.principal or account) + _element("Account", account)
    return _xml(200, "GetCallerIdentityResponse", f"<GetCallerIdentityResult>{result}</GetCallerIdentityResult>", call)


def render(error: ApiError, call: ApiCall) -> web.Response:
    """Return an error as the query protocol does."""
    blamed = "Receiver" if error.code.status >= _SERVER_SIDE else "Sender"
    told = _element("Type", blamed) + _element("Code", error.code.name) + _element("Message", error.message)
    request_id = _element("RequestId", call.request_id)
    return _respond(error.code.status, "ErrorResponse", f"<Error>{told}</Error>{request_id}", call)


def _xml(status: int, root: str, inner: str, call: ApiCall) -> web.Response:
    metadata = f"<ResponseMetadata>{_element('RequestId', call.request_id)}</ResponseMetadata>"
    return _respond(status, root, inner + metadata, call)


def _respond(status: int, root: str, inner: str, call: ApiCall) -> web.Response:
    body = f'<{root} xmlns="{_NAMESPACE}">{inner}</{root}>'
    headers = {"Content-Type": "text/xml", "x-amzn-RequestId": call.request_id}
    return web.Response(status=status, body=body.encode(), headers=headers)


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"
