"""One HTTP request on the wire: limits, breaker, time limits, metrics, log."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
import structlog
from yarl import URL

from proxy.config.settings import UpstreamSettings
from proxy.core.ports import Clock
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.telemetry.metrics import Metrics
from proxy.upstream.answers import Answer
from proxy.upstream.deadline import Deadline
from proxy.upstream.failures import connection_failure
from proxy.upstream.guards import Guard
from proxy.upstream.limits import Breakers, ConnectionLimits
from proxy.upstream.origins import authority_of, host_of, origin_of, origin_of_rule
from proxy.upstream.pacing import Pacer
from proxy.upstream.query import Kind, Query
from proxy.upstream.resolver import RefusedAddressError
from proxy.upstream.transports import Transports

_log = structlog.get_logger(__name__)

_SERVER_ERRORS = 500
_NOT_IMPLEMENTED = 501


@dataclass(slots=True)
class _Note:
    status: str = "cancelled"


class Wire:
    """Make single requests. All failures below HTTP come out as `UpstreamError`."""

    def __init__(
        self,
        settings: UpstreamSettings,
        clock: Clock,
        metrics: Metrics,
        guard: Guard,
        transports: Transports,
        pacer: Pacer,
    ) -> None:
        self._header_timeout = settings.header_timeout.total_seconds()
        self._clock = clock
        self._metrics = metrics
        self._guard = guard
        self._transports = transports
        self._pacer = pacer
        self._limits = ConnectionLimits()
        self._breakers = Breakers(settings, clock, metrics)

    @asynccontextmanager
    async def exchange(
        self, query: Query, url: URL, authorization: str | None, deadline: Deadline
    ) -> AsyncIterator[Answer]:
        """Request `url`, follow nothing, and hold the connection until the context is left."""
        rule = query.rule
        own = origin_of(url) == origin_of_rule(rule)
        session = await self._transports.session(
            rule, None if own else self._guard.policy(rule), certified=own or query.kind is Kind.TOKEN
        )
        if own:
            await self._pacer.admit(query, deadline, self._limits.expected_wait(rule, authority_of(url)))
        async with self._limits.connection(rule, authority_of(url), query.weight, deadline):
            response = await self._request(session, query, url, authorization, deadline)
            async with response:
                answer = Answer(query, url, response, deadline)
                answer.check_encoding()
                yield answer

    async def _request(
        self, session: aiohttp.ClientSession, query: Query, url: URL, authorization: str | None, deadline: Deadline
    ) -> aiohttp.ClientResponse:
        headers = dict(query.headers)
        if authorization is not None:
            headers["Authorization"] = authorization
        if query.tagged_by not in {"", host_of(url)}:
            headers.pop("If-Range", None)
        with (
            self._breakers.attempt(authority_of(url), query.rule.proxy or "") as attempt,
            self._noted(query, url) as note,
        ):
            try:
                async with deadline.within(self._header_timeout):
                    response = await session.request(
                        query.method,
                        url,
                        headers=headers,
                        data=query.form,
                        allow_redirects=False,
                        proxy=query.rule.proxy,
                    )
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                failure = self._failure(error, query, url)
                note.status = failure.failure.value
                if failure.failure in {UpstreamFailure.UNREACHABLE, UpstreamFailure.TIMEOUT}:
                    attempt.failed()
                raise failure from None
            note.status = str(response.status)
            if response.status >= _SERVER_ERRORS and response.status != _NOT_IMPLEMENTED:
                attempt.failed()
            else:
                attempt.succeeded()
            return response

    @contextmanager
    def _noted(self, query: Query, url: URL) -> Iterator[_Note]:
        """Count and log the exchange inside the context, whatever becomes of it."""
        note = _Note()
        started = self._clock.monotonic()
        try:
            yield note
        finally:
            self._metrics.upstream_requests.labels(query.rule.prefix, query.kind.value, note.status).inc()
            _log.debug(
                "upstream.answered",
                rule=query.rule.prefix,
                kind=query.kind.value,
                method=query.method,
                host=authority_of(url),
                status=note.status,
                ms=round((self._clock.monotonic() - started) * 1000, 1),
            )

    def _failure(self, error: Exception, query: Query, url: URL) -> UpstreamError:
        if isinstance(error, aiohttp.ClientConnectorDNSError) and isinstance(error.os_error, RefusedAddressError):
            return self._guard.refused_address(query.rule, url)
        return connection_failure(error, query, host_of(url))
