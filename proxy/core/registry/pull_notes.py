"""When images were last pulled: noted in memory as clients pull, and written down now and then."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol

import structlog

from proxy.core.ports import Clock, StorageFullError
from proxy.core.registry.ports import Images
from proxy.core.registry.records import PullNote
from proxy.core.repeating import repeat
from proxy.core.rules import Resolution
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName

_log = structlog.get_logger(__name__)

WRITE_EVERY: Final = timedelta(seconds=5)

_LIMIT: Final = 50_000
"""Images that may wait to be written; the longest unpulled go first."""

_BATCH: Final = 500
"""Notes that are written in one transaction: pulls and pushes wait for it."""


class PullWatcher(Protocol):
    """Who wants to know what clients pull; both methods return at once."""

    def manifest_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Note that a client got a manifest."""

    def blob_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Note that a client gets a blob from its beginning to its end, as far as it wants to read."""


class PullNotes:
    """Gather when manifests were pulled, an image once however often it is pulled, and write that in the background.

    A process that is killed loses the last seconds of it.
    """

    def __init__(self, images: Images, clock: Clock, *, every: timedelta = WRITE_EVERY, limit: int = _LIMIT) -> None:
        self._images = images
        self._clock = clock
        self._every = every.total_seconds()
        self._limit = limit
        self._waiting: OrderedDict[tuple[RepositoryName, Digest], float] = OrderedDict()
        self._writing = asyncio.Lock()

    def manifest_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Note that a client got the manifest now."""
        key = resolution.repository, digest
        self._waiting[key] = self._clock.now()
        self._waiting.move_to_end(key)
        if len(self._waiting) > self._limit:
            self._waiting.popitem(last=False)

    def blob_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Pass over: an image is pulled by its manifest."""

    async def run(self) -> None:
        """Write what is noted, again and again; never returns."""
        await repeat(self.write, self._every, failed="pulls.not_noted")

    async def write(self) -> None:
        """Write all that is noted by now. What cannot be written is kept for the next time.

        To be called once more at the end, when no more pulls come.
        """
        async with self._writing:
            for _ in range(-(-len(self._waiting) // _BATCH)):
                if not await self._write_batch():
                    return

    async def _write_batch(self) -> bool:
        batch = [self._waiting.popitem(last=False) for _ in range(min(_BATCH, len(self._waiting)))]
        notes = [PullNote(repository, digest, at) for (repository, digest), at in batch]
        try:
            await self._images.note_pulls(notes)
        except StorageFullError as error:
            _log.warning("pulls.not_noted", images=len(notes), error=str(error))
        except BaseException:
            self._put_back(notes)
            raise
        else:
            return True
        self._put_back(notes)
        return False

    def _put_back(self, notes: Sequence[PullNote]) -> None:
        for note in reversed(notes):
            key = (note.repository, note.digest)
            # It may have been pulled again meanwhile, and there may be no room for older pulls.
            if key not in self._waiting and len(self._waiting) < self._limit:
                self._waiting[key] = note.at
                self._waiting.move_to_end(key, last=False)


class PullWatchers:
    """Tell several who want to know what clients pull."""

    def __init__(self, *watchers: PullWatcher) -> None:
        self._watchers = watchers

    def manifest_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Tell all that a client got the manifest."""
        for watcher in self._watchers:
            watcher.manifest_pulled(resolution, digest)

    def blob_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Tell all that a client gets the whole blob."""
        for watcher in self._watchers:
            watcher.blob_pulled(resolution, digest)
