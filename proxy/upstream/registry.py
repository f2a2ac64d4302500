"""Requests to a registry: authorized, redirected, and every answer but the expected ones turned into an error."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from proxy.core.ports import Clock
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.upstream.answers import Answer
from proxy.upstream.authentication import Authenticator
from proxy.upstream.challenge import parse_challenges
from proxy.upstream.deadline import Deadline
from proxy.upstream.failures import failure_of
from proxy.upstream.origins import origin_of, origin_of_rule
from proxy.upstream.query import Query
from proxy.upstream.redirects import Follower

_OK = 200
_UNAUTHORIZED = 401
_ROUNDS = 5  # remembered, without, kept token of another request, without, new token


class Registry:
    """Ask upstream registries."""

    def __init__(self, follower: Follower, authenticator: Authenticator, clock: Clock) -> None:
        self._follower = follower
        self._authenticator = authenticator
        self._clock = clock

    @asynccontextmanager
    async def ask(self, query: Query, deadline: Deadline, expected: Collection[int] = (_OK,)) -> AsyncIterator[Answer]:
        """Yield the answer to `query` if its status is one of `expected`; raise `UpstreamError` otherwise."""
        async with self._authorized(query, deadline) as answer:
            if answer.status not in expected:
                raise await failure_of(answer, self._clock.now())
            yield answer

    @asynccontextmanager
    async def _authorized(self, query: Query, deadline: Deadline) -> AsyncIterator[Answer]:
        remote = query.remote
        own = origin_of(query.url) == origin_of_rule(query.rule)
        grant = await self._authenticator.remembered(remote, deadline) if own else None
        for _ in range(_ROUNDS):
            header = grant.header if grant is not None else None
            async with self._follower.send(query, header, deadline) as answer:
                # Only the registry that the operator named is answered; never a host that it led to.
                if answer.status != _UNAUTHORIZED or not answer.own or not own:
                    yield answer
                    return
                challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", ()))
                await answer.drain()
            if grant is None:
                grant = await self._authenticator.grant(remote, challenges, deadline)
            else:
                # What was remembered is forgotten, and the registry asked anew without Authorization: a challenge
                # to a bad token may name another token server (nvcr.io does).
                self._authenticator.refused(remote, grant)
                grant = None
        raise UpstreamError(UpstreamFailure.DENIED, f"{query.rule.upstream} goes on asking for authentication")
