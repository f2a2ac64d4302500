"""``POST /``, and presigned ``GET /``: which service and operation is meant, and the answer in its protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web

from proxy.core.access.caller import Caller
from proxy.core.offloading import Offloader
from proxy.core.ports import RepositoryUnknownError, StorageFullError
from proxy.core.registry.administration import Administration
from proxy.core.translation import FetchRefusedError
from proxy.http import body
from proxy.http.aws import ecr, errors, secretsmanager
from proxy.http.aws.access import FIRST_PULL, REFUSALS, Guard, note
from proxy.http.aws.claims import is_presigned, is_signed
from proxy.http.aws.operations import ApiCall, Operation, State
from proxy.http.aws.protocol import CONTENT_TYPE, Codec
from proxy.http.aws.sts import identity
from proxy.http.forwarded import is_host
from proxy.http.trace import TRACE, OtherKind, Trace, Withheld
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.hosts import is_loopback

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

    name: OtherKind
    codec: Codec
    operations: Mapping[str, Operation]
    fault: ApiErrorCode


class Api:
    """The AWS APIs of one registry, on one path.

    `public_url` is the origin under which clients reach the registry, None for the one that a trusted
    proxy tells, else the address that they used. Without a `guard` nobody is asked who they are, and everyone may do
    everything.
    """

    def __init__(
        self,
        services: Administration,
        offloader: Offloader,
        public_url: str | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Load the models of the services; blocks for some tenths of a second."""
        self._services = services
        self._offloader = offloader
        self._public_url = public_url
        self._guard = guard
        known = (
            _Service(OtherKind.ECR, Codec("ecr"), ecr.OPERATIONS, ApiErrorCode.ServerException),
            _Service(
                OtherKind.SECRETS_MANAGER,
                Codec("secretsmanager"),
                secretsmanager.OPERATIONS,
                ApiErrorCode.InternalServiceError,
            ),
        )
        self._known = {service.codec.target_prefix: service for service in known}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whatever goes wrong, in the protocol that it speaks."""
        trace, call, targets = request[TRACE], self._call(request), request.headers.getall(_TARGET, [])
        asked = request.content_type == _FORM or request.method == hdrs.METH_GET or is_presigned(request)
        query = asked and not targets
        trace.kind = OtherKind.STS if query else OtherKind.AWS
        try:
            return await (self._answer_query(request, call) if query else self._answer(request, call, targets))
        except (ApiError, ProxyError) as raised:
            # Of the body itself, a `ProxyError` says that it is encoded, or stalled.
            error = errors.translate(raised, identity.FAULT) if isinstance(raised, ProxyError) else raised
        trace.error, trace.debug = error.code.name, error.debug
        trace.refused = trace.refused or error.code in REFUSALS
        return identity.render(error, call) if query else errors.render(error, call.request_id)

    async def answer_presigned(self, request: web.Request) -> web.StreamResponse:
        """Answer a request by GET, which only a signature makes one to an API; raise `ProxyError` for any other."""
        if self._guard is None or not is_signed(request):
            raise ProxyError(ErrorCode.NOT_FOUND)
        return await self.answer(request)

    async def invoke(self, call: ApiCall, target: str, document: bytes, trace: Trace | None = None) -> bytes:
        """Return the body of the answer to the operation that `target` names; raises nothing but `ApiError`.

        The caller of `call` is known already, and is held to what policies grant. A fault of this program is told to
        the log, never to the client.
        """
        service, name = self._find(target)
        trace = trace or Trace(call.request_id, 0.0)
        try:
            return await self._perform(service, name, call, document, trace)
        except ApiError as error:
            trace.refused = isinstance(error.__cause__, FetchRefusedError)
            raise
        except (ProxyError, StorageFullError, RepositoryUnknownError) as error:
            trace.refused = isinstance(error, FetchRefusedError)
            raise errors.translate(error, service.fault, service.codec.exceptions(name)) from error
        except Exception as error:
            _log.exception("request.failed", kind=service.name, reference=name, request_id=call.request_id)
            raise ApiError(service.fault) from error

    async def _answer_query(self, request: web.Request, call: ApiCall) -> web.Response:
        request[TRACE].operation, query = identity.OPERATION, request.rel_url.raw_query_string.encode()
        call, document = await self._receive(request, call, "sts", _BODY_LIMIT)
        return identity.answer(call, document or query)

    async def _answer(self, request: web.Request, call: ApiCall, targets: list[str]) -> web.Response:
        if len(targets) != 1:
            raise ApiError(
                ApiErrorCode.UnknownOperationException,
                f"the request names {'no operation' if not targets else 'several operations'} ({_TARGET})",
            )
        service, name = self._find(targets[0])
        trace = request[TRACE]
        trace.kind, trace.reference, trace.operation = service.name, name, f"{service.name}:{name}"
        if request.content_type not in _JSON:
            raise ApiError(
                ApiErrorCode.SerializationException, f"the body is no JSON by its Content-Type: send {CONTENT_TYPE}"
            )
        call, document = await self._receive(request, call, service.name, _LARGE.get(name, _BODY_LIMIT))
        headers = {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": call.request_id}
        return web.Response(body=await self.invoke(call, targets[0], document, trace), headers=headers)

    async def _receive(self, request: web.Request, call: ApiCall, service: str, limit: int) -> tuple[ApiCall, bytes]:
        """Return the body, and the call with its caller: what can be refused without the body is refused before it."""
        if self._guard is None:
            return call, await _read(request, limit)
        shown = self._guard.examine(request, service)
        document = await _read(request, limit)
        return replace(call, caller=await self._guard.identify(request, shown, document)), document

    async def _perform(self, service: _Service, name: str, call: ApiCall, document: bytes, trace: Trace) -> bytes:
        operation, known_as = service.operations.get(name), f"{service.name}:{name}"
        if operation is None:
            raise ApiError(ApiErrorCode.UnsupportedOperationException, f"this registry does not offer {name}")
        if operation.state is State.REFUSED:
            # Whatever is asked of it. Some patterns of such operations take forever on some texts.
            return service.codec.encode(name, await operation.handler(call, {}))
        given = await self._offloader.run(len(document), service.codec.decode, name, document)
        note(trace, known_as, operation, given)
        await call.services.rules.refresh()
        if self._guard is not None:
            call = await self._guard.authorize(call, known_as, operation, given, trace)
        answer = await operation.handler(call, given)
        if call.withheld:
            trace.withheld = Withheld(FIRST_PULL, trace.repository or trace.name, ", ".join(call.withheld))
        return service.codec.encode(name, answer)

    def _find(self, target: str) -> tuple[_Service, str]:
        prefix, _, name = target.partition(".")
        service = self._known.get(prefix)
        if service is None:
            raise ApiError(ApiErrorCode.UnknownOperationException)
        service.codec.operation(name)
        return service, name

    def _call(self, request: web.Request) -> ApiCall:
        endpoint = self._public_url or request[TRACE].origin or _asked(request)
        # The id that the log knows the request by.
        return ApiCall(self._services, self._services.identity, endpoint, Caller(), request[TRACE].request_id)


def _asked(request: web.Request) -> str:
    """Return the origin by which the client came, on this machine as ``localhost``.

    Docker takes registries of that name to be without TLS.
    """
    host = request.headers.get(hdrs.HOST, "")
    if is_host(host) and not _is_this_machine(urlsplit(f"//{host}").hostname or ""):
        return f"{request.scheme}://{host}"
    name = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return f"{request.scheme}://localhost:{name[1]}" if isinstance(name, tuple) else "http://localhost"


def _is_this_machine(host: str) -> bool:
    return is_loopback(host) or host.endswith(".localhost")  # RFC 6761 §6.3


async def _read(request: web.Request, limit: int) -> bytes:
    """Return the body; `ApiError` or `ProxyError` where it is larger than `limit` or not what it seems."""
    body.require_identity(request)
    too_large = ApiError(ApiErrorCode.InvalidParameterException, f"the body is larger than {limit} bytes")
    return await body.read(request, limit, ErrorCode.UNAVAILABLE, too_large)
