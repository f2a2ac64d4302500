"""The upstream client: the `Upstream` port over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from aiohttp.abc import AbstractResolver

from proxy.config.settings import UpstreamSettings
from proxy.core.buckets import Sleep
from proxy.core.fills.transfer import DiscontinuityError
from proxy.core.ports import BlobBody, Clock, FetchedManifest, ManifestHead
from proxy.core.probe_ports import Access, Probe, Sample
from proxy.core.registry.secrets.ports import SecretLogins
from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import CacheRule, Remote
from proxy.telemetry.metrics import Metrics
from proxy.upstream.answers import Answer
from proxy.upstream.authentication import Authenticator
from proxy.upstream.bandwidth import Bandwidth
from proxy.upstream.blobs import Extent, ReceivedBlob, blob_query, extent_of, first_byte_query, part_query
from proxy.upstream.budgets import PullBudgets
from proxy.upstream.deadline import Deadline
from proxy.upstream.ecr import EcrPasswords
from proxy.upstream.failures import LinkRefusedError, failure_of
from proxy.upstream.guards import Guard, load_suffixes
from proxy.upstream.listings import (
    REFERRERS_EXPECTED,
    next_page,
    referrers_of,
    referrers_query,
    tags_of,
    tags_query,
)
from proxy.upstream.manifests import HEAD_EXPECTED, head_of, manifest_of, manifest_query
from proxy.upstream.pacing import Pacer
from proxy.upstream.query import Query, Weight
from proxy.upstream.redirects import Follower
from proxy.upstream.registry import Registry
from proxy.upstream.retries import Retries
from proxy.upstream.tokens import Tokens
from proxy.upstream.transports import Transports
from proxy.upstream.validation import Prober
from proxy.upstream.wire import Wire

T = TypeVar("T")

_OK, _PARTIAL, _NOT_FOUND, _UNSATISFIABLE = 200, 206, 404, 416
_ENTRIES = 1_000_000


class UpstreamClient:
    """Speak to the upstream registries of all rules; see the `Upstream` port.

    Use as an async context manager: entering prepares, leaving closes all sessions. `secrets` knows the accounts of
    rules that name a secret. `retries`, `lookup` (DNS) and `sleep` (waits for a turn) can be given for tests.
    """

    def __init__(  # noqa: PLR0913 - the last three are for tests
        self,
        settings: UpstreamSettings,
        clock: Clock,
        metrics: Metrics,
        *,
        secrets: SecretLogins | None = None,
        retries: Retries | None = None,
        lookup: AbstractResolver | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._budget = settings.budget.total_seconds()
        self._secrets = secrets
        self._retries = retries or Retries()
        self._lookup = lookup
        self._sleep = sleep
        self._bandwidth = Bandwidth(clock, sleep)
        self._budgets = PullBudgets(settings.pull_floor, clock, metrics)
        self._open = AsyncExitStack()
        self._entered: tuple[Registry, Guard] | None = None
        self._prober: Prober | None = None

    async def __aenter__(self) -> Self:
        """Prepare; connections are made when they are needed."""
        suffixes = await asyncio.to_thread(load_suffixes)
        tasks = await self._open.enter_async_context(Tasks())
        guard = Guard(self._settings, suffixes)
        transports = Transports(self._settings, self._lookup)
        self._open.push_async_callback(transports.close)
        pacer = Pacer(self._clock, self._sleep)
        follower = Follower(Wire(self._settings, self._clock, self._metrics, guard, transports, pacer), guard)
        flights = SingleFlight(tasks)
        tokens = Tokens(follower, guard, self._clock, flights, self._budget)
        passwords = EcrPasswords(self._clock, flights)
        authenticator = Authenticator(tokens, passwords, self._settings, self._clock, self._secrets)
        registry = Registry(follower, authenticator, self._budgets, self._clock)
        self._entered = registry, guard
        self._prober = Prober(follower, authenticator, registry, self._clock, self._budget)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all sessions; transfers that still run break off."""
        self._entered = self._prober = None
        await self._open.aclose()

    async def head_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> ManifestHead:
        """Ask what `reference` is, with one HEAD; see the port.

        Only where a HEAD's 404 is doubtful (a redirect led elsewhere, the answer is not a registry's) a GET follows,
        because its error document is the proof.
        """
        query = manifest_query(remote, reference, "HEAD")
        deadline = Deadline(self._budget)

        async def attempt() -> ManifestHead | None:
            async with self._registry(remote).ask(query, deadline, {*HEAD_EXPECTED, _NOT_FOUND}) as answer:
                if answer.status != _NOT_FOUND:
                    return head_of(answer, reference)
                error = await failure_of(answer, self._clock.now())
                if error.failure is UpstreamFailure.NOT_FOUND:
                    raise error
            return None

        head = await self._retries.run(attempt, deadline, retry=retry)
        if head is None:
            manifest = await self._fetch_manifest(remote, reference, deadline, retry=retry)
            head = ManifestHead(manifest.digest, manifest.media_type, len(manifest.raw))
        return head

    async def get_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> FetchedManifest:
        """Fetch a manifest of at most 8 MiB; see the port."""
        return await self._fetch_manifest(remote, reference, Deadline(self._budget), retry=retry)

    async def head_blob(self, remote: Remote, digest: Digest) -> int:
        """Return the size of a blob; where HEAD cannot tell it, a GET of one byte does."""
        deadline = Deadline(self._budget)
        query = blob_query(remote, digest, "HEAD")
        size = await self._retries.run(lambda: self._size(query, deadline), deadline, retry=True)
        if size is not None:
            return size

        async def attempt() -> int:
            async with self._registry(remote).ask(
                first_byte_query(remote, digest), deadline, {_OK, _PARTIAL}
            ) as answer:
                extent = extent_of(answer)
                if extent is None:
                    raise answer.garbage("content without a length")
                return extent.total

        return await self._retries.run(attempt, deadline, retry=True)

    @asynccontextmanager
    async def open_blob(
        self, remote: Remote, digest: Digest, start: int = 0, validator: str = "", stop: int | None = None
    ) -> AsyncIterator[BlobBody]:
        """Open a part of a blob; see the port. Opening is repeated inside the budget, the body never."""
        query = part_query(blob_query(remote, digest, "GET"), start, validator, stop)
        deadline = Deadline(self._budget)
        async with AsyncExitStack() as held:
            yield await self._retries.run(lambda: self._enter_blob(held, query, deadline, stop), deadline, retry=True)

    async def list_tags(self, remote: Remote, *, retry: bool = True) -> Sequence[str]:
        """Return all tags, in byte order, inside the budget; see the port."""
        tags = await self._pages(tags_query(remote), tags_of, (_OK,), retry=retry)
        return sorted(set(tags))  # the grammar is ASCII: the order of characters is that of bytes

    async def list_referrers(self, remote: Remote, subject: Digest, *, retry: bool = True) -> Sequence[Descriptor]:
        """Return all referrers, unfiltered, inside the budget; see the port."""
        return await self._pages(referrers_query(remote, subject), referrers_of, REFERRERS_EXPECTED, retry=retry)

    def hesitates(self, remote: Remote) -> str | None:
        """Say "budget" while fewer than `pull_floor` pulls are left; see the port."""
        return "budget" if self._budgets.is_low(remote.rule) else None

    async def probe(self, rule: CacheRule, sample: Sample | None) -> Probe:
        """Try the upstream of `rule`; see the port `UpstreamProbe`."""
        if self._prober is None:
            return Probe(None, Access.UNTESTED, error=_closed())
        return await self._prober.probe(rule, sample)

    def _registry(self, remote: Remote) -> Registry:
        return self._parts(remote)[0]

    def _parts(self, remote: Remote) -> tuple[Registry, Guard]:
        """Return the way to the registry of `remote`; raise `UpstreamError` if it must not be asked."""
        if not remote.may_fetch:
            raise UpstreamError(
                UpstreamFailure.NOT_PERMITTED, f"{remote.rule.upstream} is not asked for who may not cause it"
            )
        if self._settings.offline or remote.rule.offline:
            where = "`upstreams`" if self._settings.offline else f"rule {remote.rule.prefix}"
            raise UpstreamError(
                UpstreamFailure.OFFLINE, f"{remote.rule.upstream} is not asked: `offline` is set for {where}"
            )
        if self._entered is None:
            raise _closed()
        return self._entered

    async def _fetch_manifest(
        self, remote: Remote, reference: Tag | Digest, deadline: Deadline, *, retry: bool
    ) -> FetchedManifest:
        query = manifest_query(remote, reference, "GET")

        async def attempt() -> FetchedManifest:
            async with self._registry(remote).ask(query, deadline) as answer:
                return await manifest_of(answer, reference, self._metrics)

        return await self._retries.run(attempt, deadline, retry=retry)

    async def _size(self, query: Query, deadline: Deadline) -> int | None:
        """Return the size that a HEAD of a blob tells, or None if it exists and the HEAD could not tell."""
        try:
            async with self._registry(query.remote).ask(query, deadline) as answer:
                extent = extent_of(answer)
        except LinkRefusedError:
            return None  # the registry knows the blob; its link is good for GET only
        return extent.total if extent is not None else None

    async def _enter_blob(self, held: AsyncExitStack, query: Query, deadline: Deadline, stop: int | None) -> BlobBody:
        expected = {_OK, _PARTIAL, _UNSATISFIABLE} if "Range" in query.headers else {_OK}
        async with AsyncExitStack() as attempt:
            answer = await attempt.enter_async_context(self._registry(query.remote).ask(query, deadline, expected))
            if answer.status == _UNSATISFIABLE:
                # RFC 9110 §15.5.17: it ends before the range. What was received so far is of something else.
                raise DiscontinuityError(f"{answer.host} holds less of {query.what} than what was received before")
            extent = extent_of(answer)
            if extent is None:
                head = replace(query, method="HEAD", headers={"Accept": "*/*"}, weight=Weight.CARRIED)
                size = await self._size(head, deadline)
                if size is None:
                    raise answer.garbage("content without a length, and no length to a HEAD either")
                extent = Extent(0, size, size)
            if extent.end not in {extent.total, stop}:
                raise answer.garbage("less than was asked for")
            body = ReceivedBlob(answer, extent, self._settings, self._clock, self._metrics, self._bandwidth)
            await held.enter_async_context(attempt.pop_all())
        return body

    async def _pages(
        self, first: Query, read: Callable[[Answer], Awaitable[list[T]]], expected: Sequence[int], *, retry: bool
    ) -> list[T]:
        """Return the entries of all pages. Links are followed verbatim: `last` is opaque at some registries."""
        deadline = Deadline(self._budget)
        entries: list[T] = []
        query, seen = first, {first.url}
        while True:
            page, following = await self._retries.run(
                partial(self._page, query, read, expected, deadline), deadline, retry=retry
            )
            entries += page
            if following is None:
                return entries
            if following.url in seen:
                raise _endless(first, "pages that go round")
            if len(seen) >= self._settings.max_tag_pages or len(entries) > _ENTRIES:
                raise _endless(first, f"more than {len(seen)} pages, and `max_tag_pages` allows no more")
            seen.add(following.url)
            query = following

    async def _page(
        self, query: Query, read: Callable[[Answer], Awaitable[list[T]]], expected: Sequence[int], deadline: Deadline
    ) -> tuple[list[T], Query | None]:
        """Return the entries of one page, and the request for the next."""
        registry, guard = self._parts(query.remote)
        async with registry.ask(query, deadline, expected) as answer:
            entries = await read(answer)
            link = next_page(answer.headers.getall("Link", ()))
            following = guard.link(query.rule, answer.url, link) if link is not None else None
        return entries, replace(query, url=following) if following is not None else None


def _closed() -> UpstreamError:
    return UpstreamError(UpstreamFailure.OFFLINE, "the upstream client is closed")


def _endless(first: Query, what: str) -> UpstreamError:
    return UpstreamError(UpstreamFailure.GARBAGE, f"{first.rule.upstream} lists {first.what} in {what}")
