"""Ask upstream registries in the manner of the product."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

import structlog

from proxy.core.freshness import jitter
from proxy.core.negative import Asked, Refusals
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.ports import Clock, FetchedManifest, ManifestHead, Upstream
from proxy.core.single_flight import SingleFlight
from proxy.core.tasks import Tasks
from proxy.core.translation import Missing, translate
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError, UpstreamError, UpstreamFailure
from proxy.model.manifest import Manifest, parse_manifest
from proxy.model.reference import Tag
from proxy.model.rule import Remote
from proxy.telemetry.metrics import Metrics

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Upstreams:
    """Stand between the services and the `Upstream` port.

    No request is made where a rule is offline, nor for callers who may not cause one; refusals are answered from memory
    for a moment; what is asked at the same time is asked once. The methods that ask raise `UpstreamError`, as the port
    does.
    """

    def __init__(
        self, port: Upstream, tasks: Tasks, clock: Clock, policy: Policy, metrics: Metrics, offloader: Offloader
    ) -> None:
        self.port = port
        self.tasks = tasks
        self.clock = clock
        self.policy = policy
        self._metrics = metrics
        self._offloader = offloader
        self._refusals = Refusals(clock, policy.negative_ttl)
        self._flights = SingleFlight(tasks)
        self._begun: dict[Hashable, float] = {}

    async def head_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> ManifestHead:
        """Ask what `reference` is, as `Upstream.head_manifest`."""
        return await self._ask(
            remote, Asked.MANIFEST, str(reference), lambda: self.port.head_manifest(remote, reference, retry=retry)
        )

    async def get_manifest(
        self, remote: Remote, reference: Tag | Digest, *, retry: bool
    ) -> tuple[FetchedManifest, Manifest]:
        """Fetch and read a manifest; one that is invalid, or is not the one asked for, is GARBAGE."""
        fetched = await self._ask(
            remote, Asked.MANIFEST, str(reference), lambda: self.port.get_manifest(remote, reference, retry=retry)
        )
        if isinstance(reference, Digest) and fetched.digest != reference:
            self._metrics.verify_failures.labels(remote.rule.prefix).inc()
            raise UpstreamError(
                UpstreamFailure.GARBAGE, f"{remote.rule.upstream} sent another manifest than the one asked for"
            )
        if not fetched.media_type:
            raise UpstreamError(UpstreamFailure.GARBAGE, f"{remote.rule.upstream} sent a manifest without its type")
        try:
            size = len(fetched.raw)
            return fetched, await self._offloader.run(size, parse_manifest, fetched.raw, fetched.media_type)
        except ProxyError as error:
            raise UpstreamError(
                UpstreamFailure.GARBAGE, f"{remote.rule.upstream} sent a manifest that is refused: {error.message}"
            ) from error

    async def head_blob(self, remote: Remote, digest: Digest) -> int:
        """Return the size of a blob that the upstream shows to hold; the same question at a time is asked once."""
        self.require_permission(remote)

        async def ask() -> int:
            return await self._ask(remote, Asked.BLOB, str(digest), lambda: self.port.head_blob(remote, digest))

        return await self.once(("blob", remote.rule.prefix, remote.provenance, digest), ask)

    async def list_tags(self, remote: Remote, *, retry: bool) -> Sequence[str]:
        """Return the upstream's tags."""
        return await self._ask(remote, Asked.LIST, "tags", lambda: self.port.list_tags(remote, retry=retry))

    async def list_referrers(self, remote: Remote, subject: Digest, *, retry: bool) -> Sequence[Descriptor]:
        """Return the upstream's referrers; UNSUPPORTED where it has no such list."""
        # Not through the memory of refusals: "not found" means here that there is no such API.
        self.permit(remote, Asked.LIST, "")
        try:
            return await self.port.list_referrers(remote, subject, retry=retry)
        except UpstreamError as error:
            if error.failure is not UpstreamFailure.NOT_FOUND:
                self.refused(remote, Asked.LIST, "", error)
            raise

    def hesitates(self, remote: Remote) -> str | None:
        """Say in one word why a kept tag is better served without a check, or None, as `Upstream.hesitates`."""
        return self.port.hesitates(remote)

    def permit(self, remote: Remote, asked: Asked, subject: str) -> None:
        """Raise the `UpstreamError` that asking would meet: no permission, offline, or a refusal of a moment ago."""
        self.require_permission(remote)
        if self.policy.is_offline(remote):
            raise UpstreamError(UpstreamFailure.OFFLINE, f"the rule {remote.rule.prefix} is set offline")
        refusal = self._refusals.recall(remote, asked, subject)
        if refusal is not None:
            raise refusal

    def require_permission(self, remote: Remote) -> None:
        """Raise `UpstreamError` NOT_PERMITTED where this caller may not have the upstream asked.

        To be called before work is shared with others (`once`, `patiently`): they may have what this one may not.
        """
        if not remote.may_fetch:
            raise UpstreamError(UpstreamFailure.NOT_PERMITTED, "this caller may not have the upstream asked")

    def refused(self, remote: Remote, asked: Asked, subject: str, error: UpstreamError) -> None:
        """Remember that the upstream refused, where that is worth remembering."""
        self._refusals.remember(remote, asked, subject, error)

    def forget(self, remote: Remote, asked: Asked, subject: str) -> None:
        """Ask again next time, whatever was refused before."""
        self._refusals.forget(remote, asked, subject)

    @property
    def landed(self) -> int:
        """Return how many shared calls have ended, for `has_landed`."""
        return self._flights.count

    def has_landed(self, key: Hashable, landed: int) -> bool:
        """Tell whether a call that was shared by `key` has ended since `landed` had.

        Who looked for what that call keeps, and did not find it, may have looked before it was kept: to be asked
        before another is begun.
        """
        return self._flights.landed(key, landed)

    async def once(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what `work` returns; all who ask for `key` at a time share one call, which outlives them."""
        return await self._flights.do(key, work)

    async def patiently(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], patience: float | None) -> T:
        """Share `work` as `once` does, but raise `UpstreamError` TIMEOUT `patience` seconds after it was begun.

        The work goes on without those who left; who comes later than that does not wait at all.
        """
        if not self._flights.flying(key):
            self._begun[key] = self.clock.monotonic()

        async def timed() -> T:
            try:
                return await work()
            finally:
                self._begun.pop(key, None)

        left = None
        if patience is not None:
            left = max(self._begun.get(key, 0.0) + patience - self.clock.monotonic(), 0)
        scope = asyncio.timeout(left)
        try:
            async with scope:
                return await self._flights.do(key, timed)
        except TimeoutError:
            if not scope.expired():
                raise
            message = "the upstream did not answer at once; the check goes on in the background"
            raise UpstreamError(UpstreamFailure.TIMEOUT, message) from None

    def flying(self, key: Hashable) -> bool:
        """Tell whether work for `key` is under way."""
        return self._flights.flying(key)

    def retry_check_after(self, key: Hashable) -> float:
        """Return for how long a failed check of `key` is not repeated, in seconds: not the same for all of them."""
        spread = zlib.crc32(repr(key).encode()) / (1 << 32)
        return jitter(self.policy.retry_check_after.total_seconds(), spread)

    def move_refused(self) -> None:
        """Count a tag that an upstream moved, and that was kept where it was."""
        self._metrics.tag_moves_refused.labels("upstream").inc()

    def bridged(self, remote: Remote, failure: str) -> None:
        """Note that a kept copy bridged a failure of the upstream."""
        self._metrics.stale_served.labels(remote.rule.prefix, failure).inc()

    def answer(self, error: UpstreamError, remote: Remote, missing: Missing) -> ProxyError:
        """Return what a client is told when no copy bridges `error`."""
        _log.info(
            "upstream.failed",
            rule=remote.rule.prefix,
            repository=remote.repository,
            failure=error.failure.value,
            message=error.message,
            debug=error.debug,
        )
        return translate(error, remote, missing, self.policy)

    async def _ask(self, remote: Remote, asked: Asked, subject: str, call: Callable[[], Awaitable[T]]) -> T:
        self.permit(remote, asked, subject)
        try:
            return await call()
        except UpstreamError as error:
            self.refused(remote, asked, subject, error)
            raise
