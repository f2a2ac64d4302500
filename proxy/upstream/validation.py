"""Trying an upstream: does it answer, does it take a rule's credentials, and what limit is left? Nothing is fetched."""

from collections.abc import Sequence
from dataclasses import dataclass

from yarl import URL

from proxy.core.ports import Clock
from proxy.core.probe_ports import Access, Allowance, Probe, Sample
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule, Remote
from proxy.upstream.answers import Answer
from proxy.upstream.authentication import Authenticator
from proxy.upstream.budgets import allowance_of
from proxy.upstream.challenge import Challenge, parse_challenges
from proxy.upstream.deadline import Deadline
from proxy.upstream.failures import failure_of
from proxy.upstream.manifests import HEAD_EXPECTED, head_of, manifest_query
from proxy.upstream.query import Kind, Query
from proxy.upstream.redirects import Follower
from proxy.upstream.registry import Registry

_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403
_NO_REPOSITORY = RepositoryName("")  # a login is for the whole registry


@dataclass(slots=True)
class _Seen:
    """What was seen so far."""

    latency: float | None = None
    access: Access = Access.UNTESTED
    sampled: bool = False
    allowance: Allowance | None = None
    error: UpstreamError | None = None


class Prober:
    """Try upstreams, each question once; the rest of its time budget is for redirects and tokens."""

    def __init__(
        self, follower: Follower, authenticator: Authenticator, registry: Registry, clock: Clock, budget: float
    ) -> None:
        self._follower = follower
        self._authenticator = authenticator
        self._registry = registry
        self._clock = clock
        self._budget = budget

    async def probe(self, rule: CacheRule, sample: Sample | None) -> Probe:
        """Ask for the API, log in, then HEAD the sample; see the port."""
        seen, deadline = _Seen(), Deadline(self._budget)
        try:
            await self._log_in(rule, seen, deadline)
            if sample is not None:
                seen.sampled = True
                seen.allowance = await self._head(Remote(rule, sample.repository), sample, deadline)
        except UpstreamError as error:
            if error.failure is UpstreamFailure.CREDENTIALS_REFUSED:
                seen.access = Access.REFUSED
            seen.error = error
        return Probe(seen.latency, seen.access, seen.sampled, seen.allowance, seen.error)

    async def _log_in(self, rule: CacheRule, seen: _Seen, deadline: Deadline) -> None:
        """Do what ``docker login`` does: ping, get a token without any scope, and ping with it."""
        remote = Remote(rule, _NO_REPOSITORY)
        challenges = await self._ping(remote, None, seen, deadline)
        if challenges is None:
            # They may still be asked for later, by a repository: at least they can be read.
            await self._authenticator.credential(rule, deadline)
            seen.access = Access.NOT_NEEDED
        elif rule.credentials is None:
            seen.access = Access.NONE
            if not any(challenge.scheme == "bearer" for challenge in challenges):
                raise UpstreamError(
                    UpstreamFailure.DENIED,
                    f"{rule.upstream} asks everybody for a user name and a password: "
                    f"give rule {rule.prefix} `credentials`",
                )
        else:
            grant = await self._authenticator.login(remote, challenges, deadline)
            if await self._ping(remote, grant.header, seen, deadline) is not None:
                if grant.key is None:
                    self._authenticator.refused(remote, grant)
                raise UpstreamError(
                    UpstreamFailure.CREDENTIALS_REFUSED,
                    f"{rule.upstream} refuses what its own token server gave for the `credentials` of "
                    f"rule {rule.prefix}",
                )
            seen.access = Access.WORKS

    async def _ping(
        self, remote: Remote, authorization: str | None, seen: _Seen, deadline: Deadline
    ) -> Sequence[Challenge] | None:
        """Return the challenges that ``/v2/`` answers, or None where it asks for nothing (distribution-spec end-1)."""
        url = URL(f"{remote.rule.upstream.origin}/v2/")
        started = self._clock.monotonic()
        async with self._follower.send(
            Query(remote, Kind.PING, "GET", url, "its API"), authorization, deadline
        ) as answer:
            if seen.latency is None:
                seen.latency = self._clock.monotonic() - started
            if not answer.own:
                raise UpstreamError(
                    UpstreamFailure.GARBAGE, f"{remote.rule.upstream} leads requests for its API to {answer.host}"
                )
            if answer.status == _UNAUTHORIZED:
                challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", ()))
                await answer.drain()
                return challenges
            if answer.status != _OK:
                raise await self._failure(answer)
            if "html" in answer.media_type:
                raise answer.garbage("a web page")
            await answer.drain()
        return None

    async def _failure(self, answer: Answer) -> UpstreamError:
        if answer.status == _FORBIDDEN:
            return UpstreamError(
                UpstreamFailure.DENIED,
                f"{answer.host} denies all access: it bars this machine's address (after failed logins it may, for an "
                "hour), or a firewall answers in its place",
            )
        error = await failure_of(answer, self._clock.now())
        if error.failure in {UpstreamFailure.NOT_FOUND, UpstreamFailure.UNSUPPORTED}:
            return answer.garbage(str(answer.status))
        return error

    async def _head(self, remote: Remote, sample: Sample, deadline: Deadline) -> Allowance | None:
        query = manifest_query(remote, sample.reference, "HEAD")
        async with self._registry.ask(query, deadline, HEAD_EXPECTED) as answer:
            head_of(answer, sample.reference)
            return allowance_of(answer.headers)
