"""``POST /``: which service and operation a request means, and the answer in that service's protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web

from proxy.core.offloading import offload
from proxy.core.ports import RepositoryUnknownError, StorageFullError
from proxy.core.registry.administration import Administration
from proxy.http import body
from proxy.http.aws import ecr, errors, secretsmanager
from proxy.http.aws.operations import ApiCall, Operation, State
from proxy.http.aws.protocol import CONTENT_TYPE, Codec
from proxy.http.aws.sts import identity
from proxy.http.trace import TRACE
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import ANONYMOUS

_log = structlog.get_logger(__name__)

_TARGET: Final = "X-Amz-Target"
_FORM: Final = "application/x-www-form-urlencoded"
# AWS's own, that of version 1.0, what people write by hand, and what aiohttp takes no type to be.
_JSON: Final = frozenset({CONTENT_TYPE, "application/x-amz-json-1.0", "application/json", "application/octet-stream"})

_BODY_LIMIT: Final = 1 << 20
# A part of a layer is at most 20 MiB, in base64; a manifest at most 4 MiB, as a JSON string.
_LARGE: Final[Mapping[str, int]] = {"UploadLayerPart": 29 << 20, "PutImage": 17 << 20}


@dataclass(frozen=True, slots=True)
class _Service:
    """A service that speaks AWS JSON. `fault` is its name for errors of its own."""

    name: str
    codec: Codec
    operations: Mapping[str, Operation]
    fault: ApiErrorCode


class Api:
    """The AWS APIs of one registry, on one path.

    `public_url` is the origin under which clients reach the registry, None for the one that a trusted
    proxy tells, else the address that they used.
    """

    def __init__(self, services: Administration, public_url: str | None = None) -> None:
        """Load the models of the services; blocks for some tenths of a second."""
        self._services = services
        self._public_url = public_url
        known = (
            _Service("ecr", Codec("ecr"), ecr.OPERATIONS, ApiErrorCode.ServerException),
            _Service(
                "secretsmanager",
                Codec("secretsmanager"),
                secretsmanager.OPERATIONS,
                ApiErrorCode.InternalServiceError,
            ),
        )
        self._known = {service.codec.target_prefix: service for service in known}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever goes wrong, in the protocol that it speaks."""
        trace, call, targets = request[TRACE], self._call(request), request.headers.getall(_TARGET, [])
        query = not targets and request.content_type == _FORM
        trace.kind = "sts" if query else "aws"
        try:
            if query:
                return identity.answer(call, await _read(request, _BODY_LIMIT) or request.query_string.encode())
            return await self._answer(request, call, targets)
        except (ApiError, ProxyError) as raised:
            # Of the body itself, a `ProxyError` says that it is encoded, or stalled.
            error = errors.translate(raised, identity.FAULT) if isinstance(raised, ProxyError) else raised
        trace.error, trace.debug = error.code.name, error.debug
        return identity.render(error, call) if query else errors.render(error, call.request_id)

    async def invoke(self, call: ApiCall, target: str, document: bytes) -> bytes:
        """Return the body of the answer to the operation that `target` names; raises nothing but `ApiError`.

        A fault of this program is told to the log, never to the client.
        """
        service, name = self._find(target)
        try:
            return await _perform(service, name, call, document)
        except ApiError:
            raise
        except (ProxyError, StorageFullError, RepositoryUnknownError) as error:
            raise errors.translate(error, service.fault, service.codec.exceptions(name)) from error
        except Exception as error:
            _log.exception("request.failed", kind=service.name, reference=name, request_id=call.request_id)
            raise ApiError(service.fault) from error

    async def _answer(self, request: web.Request, call: ApiCall, targets: list[str]) -> web.Response:
        if len(targets) != 1:
            raise ApiError(
                ApiErrorCode.UnknownOperationException,
                f"the request names {'no operation' if not targets else 'several operations'} ({_TARGET})",
            )
        service, name = self._find(targets[0])
        trace = request[TRACE]
        trace.kind, trace.reference = service.name, name
        if request.content_type not in _JSON:
            raise ApiError(
                ApiErrorCode.SerializationException, f"the body is no JSON by its Content-Type: send {CONTENT_TYPE}"
            )
        document = await _read(request, _LARGE.get(name, _BODY_LIMIT))
        headers = {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": call.request_id}
        return web.Response(body=await self.invoke(call, targets[0], document), headers=headers)

    def _find(self, target: str) -> tuple[_Service, str]:
        prefix, _, name = target.partition(".")
        service = self._known.get(prefix)
        if service is None:
            raise ApiError(ApiErrorCode.UnknownOperationException)
        service.codec.operation(name)
        return service, name

    def _call(self, request: web.Request) -> ApiCall:
        endpoint = self._public_url or request[TRACE].origin
        if endpoint is None:
            # Docker takes registries on localhost to be without TLS.
            name = request.transport.get_extra_info("sockname") if request.transport is not None else None
            endpoint = f"{request.scheme}://localhost:{name[1]}" if isinstance(name, tuple) else "http://localhost"
        # The id that the log knows the request by.
        return ApiCall(self._services, self._services.identity, endpoint, ANONYMOUS, request[TRACE].request_id)


async def _perform(service: _Service, name: str, call: ApiCall, document: bytes) -> bytes:
    operation = service.operations.get(name)
    if operation is None:
        raise ApiError(ApiErrorCode.UnsupportedOperationException, f"this registry does not offer {name}")
    if operation.state is State.REFUSED:
        # Whatever is asked of it. Some patterns of such operations take forever on some texts.
        return service.codec.encode(name, await operation.handler(call, {}))
    given = await offload(len(document), service.codec.decode, name, document)
    return service.codec.encode(name, await operation.handler(call, given))


async def _read(request: web.Request, limit: int) -> bytes:
    """Return the body; `ApiError` or `ProxyError` where it is larger than `limit` or not what it seems."""
    body.require_identity(request)
    too_large = ApiError(ApiErrorCode.InvalidParameterException, f"the body is larger than {limit} bytes")
    return await body.read(request, limit, ErrorCode.UNAVAILABLE, too_large)
