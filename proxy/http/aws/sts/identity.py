"""AWS STS, as far as SDKs and Terraform ask who they are: a query in, XML out (the ``query`` protocol)."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from aiohttp import web

from proxy.http.aws.operations import ApiCall
from proxy.model.api_errors import ApiError, ApiErrorCode

OPERATION: Final = "sts:GetCallerIdentity"
"""The only operation, as policies and the audit trail name it. Whoever is known may ask it."""

FAULT: Final = ApiErrorCode.InternalFailure

# The query protocol has names of its own for what JSON services answer.
_NAMES: Final[Mapping[ApiErrorCode, ApiErrorCode]] = {
    ApiErrorCode.AccessDeniedException: ApiErrorCode.AccessDenied,
    ApiErrorCode.IncompleteSignatureException: ApiErrorCode.IncompleteSignature,
    ApiErrorCode.InvalidSignatureException: ApiErrorCode.SignatureDoesNotMatch,
    ApiErrorCode.MissingAuthenticationTokenException: ApiErrorCode.MissingAuthenticationToken,
    ApiErrorCode.ThrottlingException: ApiErrorCode.Throttling,
    ApiErrorCode.UnrecognizedClientException: ApiErrorCode.InvalidClientTokenId,
}

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
    identity, account = call.identity, call.identity.account
    arn = identity.user_arn(call.principal) if call.principal else identity.root_arn
    result = _element("Arn", arn) + _element("UserId", call.principal or account) + _element("Account", account)
    return _xml(200, "GetCallerIdentityResponse", f"<GetCallerIdentityResult>{result}</GetCallerIdentityResult>", call)


def render(error: ApiError, call: ApiCall) -> web.Response:
    """Return an error as the query protocol does."""
    code = _NAMES.get(error.code, error.code)
    message = error.message if error.message != error.code.message else code.message
    blamed = "Receiver" if code.status >= _SERVER_SIDE else "Sender"
    told = _element("Type", blamed) + _element("Code", code.name) + _element("Message", message)
    request_id = _element("RequestId", call.request_id)
    return _respond(code.status, "ErrorResponse", f"<Error>{told}</Error>{request_id}", call)


def _xml(status: int, root: str, inner: str, call: ApiCall) -> web.Response:
    metadata = f"<ResponseMetadata>{_element('RequestId', call.request_id)}</ResponseMetadata>"
    return _respond(status, root, inner + metadata, call)


def _respond(status: int, root: str, inner: str, call: ApiCall) -> web.Response:
    body = f'<{root} xmlns="{_NAMESPACE}">{inner}</{root}>'
    headers = {"Content-Type": "text/xml", "x-amzn-RequestId": call.request_id}
    return web.Response(status=status, body=body.encode(), headers=headers)


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"
