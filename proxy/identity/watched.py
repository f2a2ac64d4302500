"""A file of identities, in force as it was when it last had no fault."""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from proxy.config.identity_files import IdentityFileError, parse_content, read_content
from proxy.core.repeating import LOOK_SECONDS, Watch
from proxy.model.line_grammar import LineGrammar
from proxy.telemetry.metrics import Metrics

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_OTHERS: Final = stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a file came to: its `fault`, or else its `content`, of so many entries, which is in force now.

    `first` is the look at the start, `changed` tells that another content was in force before.
    """

    setting: str
    path: Path
    content: bytes = field(default=b"", repr=False)
    entries: int = 0
    fault: str | None = None
    first: bool = False
    changed: bool = False


class WatchedFile(Generic[T]):
    """The entries of a file, by key, taken over when its content changes.

    `setting` is the key of the configuration that names it. A file at fault changes nothing: what it held before stays
    in force, the log says once why, and ``pullthrough_identity_file_ok`` is 0 until it is mended. `tell` is told of
    each look that found something else than the one before.
    """

    def __init__(
        self,
        setting: str,
        path: Path,
        grammar: LineGrammar[T],
        metrics: Metrics,
        *,
        look_every: float = LOOK_SECONDS,
        tell: Callable[[Look], Awaitable[None]] | None = None,
    ) -> None:
        """Read nothing yet: `load` does, and is called before all else. `look_every` is in seconds."""
        self.entries: dict[str, T] = {}
        self._setting = setting
        self._path = path
        self._grammar = grammar
        self._ok = metrics.identity_file_ok.labels(setting)
        self._content: bytes | None = None
        self._fault: str | None = None
        self._tell = tell
        self._watch = Watch(self.renew, look_every)
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> None:
        """Take the file into force, or raise `IdentityFileError`; warn where others than its owner may read it."""
        await self._look()
        mode = await asyncio.to_thread(lambda: self._path.stat().st_mode)
        if mode & _OTHERS:
            remedy = f"chmod 600 {self._path}"
            _log.warning("identity.readable_by_others", setting=self._setting, path=str(self._path), remedy=remedy)

    async def renew(self) -> bool:
        """Take the file into force if it has changed; tell whether what it has is in force now."""
        async with self._one_at_a_time:
            try:
                await self._look()
            except IdentityFileError as error:
                known, self._fault = self._fault == str(error), str(error)
                self._ok.set(0)
                if not known:
                    _log.error("identity.file_refused", setting=self._setting, fault=str(error))
                    await self._told(Look(self._setting, self._path, fault=str(error)))
                return False
            return True

    def request(self) -> None:
        """Ask `watch` to look at once, and return: what a signal handler calls, on the event loop."""
        self._watch.request()

    async def watch(self) -> None:
        """Take over what changes in the file, until cancelled."""
        await self._watch.run()

    async def _look(self) -> None:
        content, before, mended = await asyncio.to_thread(read_content, self._path), self._content, self._fault
        if content != before:
            self.entries = await asyncio.to_thread(parse_content, self._path, content, self._grammar)
            self._content = content
            _log.info("identity.file", setting=self._setting, entries=len(self.entries))
        self._fault = None
        self._ok.set(1)
        if content != before or mended is not None:
            first = before is None
            changed = content != before and not first
            entries = len(self.entries)
            await self._told(Look(self._setting, self._path, content, entries, first=first, changed=changed))

    async def _told(self, look: Look) -> None:
        if self._tell is not None:
            await self._tell(look)
