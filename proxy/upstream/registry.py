"""Requests to a registry: authorized, redirected, and every answer but the expected ones turned into an error."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from proxy.core.ports import Clock
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.upstream.answers import Answer
from proxy.upstream.authentication import Authenticator, Grant
from proxy.upstream.budgets import PullBudgets
from proxy.upstream.challenge import parse_challenges
from proxy.upstream.deadline import Deadline
from proxy.upstream.failures import failure_of
from proxy.upstream.kinds import kind_of
from proxy.upstream.origins import origin_of, origin_of_rule
from proxy.upstream.query import Kind, Query
from proxy.upstream.redirects import Follower

_OK = 200
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_ROUNDS = 5  # remembered, without, kept token of another request, without, new token


class Registry:
    """Ask upstream registries."""

    def __init__(self, follower: Follower, authenticator: Authenticator, budgets: PullBudgets, clock: Clock) -> None:
        self._follower = follower
        self._authenticator = authenticator
        self._budgets = budgets
        self._clock = clock

    @asynccontextmanager
    async def ask(self, query: Query, deadline: Deadline, expected: Collection[int] = (_OK,)) -> AsyncIterator[Answer]:
        """Yield the answer to `query` if its status is one of `expected`; raise `UpstreamError` otherwise."""
        async with self._authorized(query, deadline) as answer:
            if query.kind is Kind.MANIFEST and answer.own:
                self._budgets.note(query.rule, answer.status, answer.headers)
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
                if not (answer.own and own and (answer.status == _UNAUTHORIZED or await _has_expired(answer, grant))):
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


async def _has_expired(answer: Answer, grant: Grant | None) -> bool:
    """Tell whether a 403 says that the password is too old: ECR's word for what is a 401 elsewhere."""
    if answer.status != _FORBIDDEN or grant is None or grant.fresh:
        return False
    if not kind_of(answer.query.rule.upstream).token_service:
        return False
    return any("expired" in message.lower() for message in (await answer.errors()).values())
