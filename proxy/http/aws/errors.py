"""Errors as AWS JSON 1.1 renders them."""

import json
from collections.abc import Collection, Mapping
from typing import Final

from aiohttp import web

from proxy.core.ports import RepositoryUnknownError, StorageFullError
from proxy.http.aws.protocol import CONTENT_TYPE
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ErrorCode, ProxyError

_UPSTREAM = (
    ApiErrorCode.UnableToGetUpstreamImageException,
    ApiErrorCode.UnableToGetUpstreamLayerException,
    ApiErrorCode.UnableToListUpstreamImageReferrersException,
)

# What the registry itself refuses, in the words of the API: the first of them that the operation lists.
_NAMES: Final[Mapping[ErrorCode, tuple[ApiErrorCode, ...]]] = {
    ErrorCode.BLOB_UNKNOWN: (ApiErrorCode.LayersNotFoundException,),
    ErrorCode.BLOB_UPLOAD_INVALID: (ApiErrorCode.InvalidLayerPartException,),
    ErrorCode.BLOB_UPLOAD_UNKNOWN: (ApiErrorCode.UploadNotFoundException,),
    ErrorCode.DENIED: _UPSTREAM,
    ErrorCode.MANIFEST_BLOB_UNKNOWN: (ApiErrorCode.LayersNotFoundException,),
    ErrorCode.MANIFEST_UNKNOWN: (ApiErrorCode.ImageNotFoundException,),
    ErrorCode.NAME_UNKNOWN: (ApiErrorCode.RepositoryNotFoundException,),
    ErrorCode.TOOMANYREQUESTS: _UPSTREAM,
    ErrorCode.UPSTREAM_INVALID: _UPSTREAM,
    ErrorCode.UPSTREAM_TIMEOUT: _UPSTREAM,
    ErrorCode.UPSTREAM_UNAVAILABLE: _UPSTREAM,
}

# What passes without the caller's doing: SDKs try again on 503.
_PASSING = frozenset(
    {
        ErrorCode.STORAGE_FULL,
        ErrorCode.TOOMANYREQUESTS,
        ErrorCode.UNAVAILABLE,
        ErrorCode.UPSTREAM_TIMEOUT,
        ErrorCode.UPSTREAM_UNAVAILABLE,
    }
)

_SERVER_SIDE = 500

Refusal = ProxyError | StorageFullError | RepositoryUnknownError
"""What core raises that is no `ApiError`, and that a client is told about all the same."""


def render(error: ApiError, request_id: str) -> web.Response:
    """Return the answer that tells a client of `error`: its public half.

    SDKs take the name from ``__type``; the header is what AWS sends beside it.
    """
    return web.Response(
        status=error.code.status,
        body=json.dumps({"__type": error.code.name, "message": error.message, **error.members}).encode(),
        headers={
            "Content-Type": CONTENT_TYPE,
            "x-amzn-RequestId": request_id,
            "x-amzn-ErrorType": error.code.name,
        },
    )


def translate(error: Refusal, fault: ApiErrorCode, listed: Collection[str] = ()) -> ApiError:
    """Return what an operation whose model lists the exceptions `listed` answers where the registry itself refuses.

    `fault` is the service's name for errors of its own: it tells nothing.
    """
    if isinstance(error, StorageFullError):
        return ApiError(ApiErrorCode.ServiceUnavailable, debug=str(error))
    if isinstance(error, RepositoryUnknownError):
        return ApiError(ApiErrorCode.RepositoryNotFoundException)
    for name in _NAMES.get(error.code, ()):
        if name.name in listed:
            return ApiError(name, error.message, debug=error.debug)
    if error.code in _PASSING:
        return ApiError(ApiErrorCode.ServiceUnavailable, error.message, debug=error.debug)
    if error.code is ErrorCode.UNKNOWN:
        return ApiError(fault, debug=error.debug or error.message)
    if error.code.status >= _SERVER_SIDE:
        return ApiError(fault, error.message, debug=error.debug)
    return ApiError(ApiErrorCode.InvalidParameterException, error.message, debug=error.debug)
