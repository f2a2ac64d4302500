"""The way to a blob through one rule, and what walking it shows."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from proxy.core.ports import BlobBody, Upstream
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError
from proxy.model.rule import Remote


class UpstreamRoute:
    """The `BlobRoute` over an upstream repository.

    `shown` is called with the size of the blob when the upstream answers by this way: that is the proof that it
    holds the blob. `refused` is called with the error when it does not let itself be opened.
    """

    def __init__(
        self,
        port: Upstream,
        remote: Remote,
        digest: Digest,
        shown: Callable[[int], None],
        refused: Callable[[UpstreamError], None],
    ) -> None:
        self._port = port
        self._remote = remote
        self._digest = digest
        self._shown = shown
        self._refused = refused

    @property
    def name(self) -> str:
        """Name rule, repository and account: routes of one name may stand for each other."""
        provenance = self._remote.provenance
        account = f" as {provenance.account}" if provenance.account else ""
        return f"{self.rule}: {provenance.source}{account}"

    @property
    def rule(self) -> str:
        """Return the prefix of the rule."""
        return self._remote.rule.prefix

    @property
    def parallel(self) -> int:
        """Return how many connections the rule allows for one large blob."""
        return self._remote.rule.parallel_ranges

    @asynccontextmanager
    async def open(self, start: int, validator: str, stop: int | None = None) -> AsyncIterator[BlobBody]:
        """Open the bytes [`start`, `stop`) of the blob, as `Upstream.open_blob` does."""
        async with AsyncExitStack() as stack:
            try:
                body = await stack.enter_async_context(
                    self._port.open_blob(self._remote, self._digest, start, validator, stop)
                )
            except UpstreamError as error:
                self._refused(error)
                raise
            self._shown(body.total)
            yield body
