"""Redirects followed by hand: every hop is judged, Location is sent on verbatim, Authorization stays at home."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.upstream.answers import Answer
from proxy.upstream.deadline import Deadline
from proxy.upstream.guards import Guard
from proxy.upstream.origins import origin_of
from proxy.upstream.query import Kind, Query
from proxy.upstream.wire import Wire

MAX_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Follower:
    """Make requests and follow their redirects."""

    def __init__(self, wire: Wire, guard: Guard) -> None:
        self._wire = wire
        self._guard = guard

    @asynccontextmanager
    async def send(self, query: Query, authorization: str | None, deadline: Deadline) -> AsyncIterator[Answer]:
        """Request `query.url`, follow up to five redirects, and yield the answer that is none.

        `authorization` goes to the origin of `query.url` only, until the first change of origin (RFC 9110 §15.4).
        """
        url = query.url
        async with AsyncExitStack() as held:
            for _ in range(MAX_HOPS + 1):
                answer = await held.enter_async_context(self._wire.exchange(query, url, authorization, deadline))
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                judge = self._guard.realm if query.kind is Kind.TOKEN else self._guard.redirect
                target = judge(query.rule, url, answer.headers.get("Location", ""))
                if origin_of(target) != origin_of(url):
                    if not query.follow_elsewhere:
                        raise _elsewhere(answer)
                    authorization = None
                await answer.drain()
                await held.aclose()
                url = target
        raise UpstreamError(
            UpstreamFailure.GARBAGE, f"{query.rule.upstream} redirects {query.what} more than {MAX_HOPS} times"
        )


def _elsewhere(answer: Answer) -> UpstreamError:
    # ghcr.io sends referrers to a web page at github.com: it has no referrers API.
    referrers = answer.query.kind is Kind.REFERRERS
    failure = UpstreamFailure.UNSUPPORTED if referrers else UpstreamFailure.REFUSED_TARGET
    return UpstreamError(failure, f"{answer.host} redirects a request for {answer.query.what} to another host")
