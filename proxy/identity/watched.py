"""A file of identities, in force as it was when it last had no fault."""

import asyncio
import stat
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


class WatchedFile(Generic[T]):
    """The entries of a file, by key, taken over when its content changes.

    `setting` is the key of the configuration that names it. A file at fault changes nothing: what it held before stays
    in force, the log says once why, and ``pullthrough_identity_file_ok`` is 0 until it is mended.
    """

    def __init__(
        self,
        setting: str,
        path: Path,
        grammar: LineGrammar[T],
        metrics: Metrics,
        *,
        look_every: float = LOOK_SECONDS,
    ) -> None:
        """Read nothing yet: `load` does, and is called before all else. `look_every` is in seconds."""
        self.entries: dict[str, T] = {}
        self._setting = setting
        self._path = path
        self._grammar = grammar
        self._ok = metrics.identity_file_ok.labels(setting)
        self._content: bytes | None = None
        self._fault: str | None = None
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
                if self._fault != str(error):
                    _log.error("identity.file_refused", setting=self._setting, fault=str(error))
                self._fault = str(error)
                self._ok.set(0)
                return False
            return True

    def request(self) -> None:
        """Ask `watch` to look at once, and return: what a signal handler calls, on the event loop."""
        self._watch.request()

    async def watch(self) -> None:
        """Take over what changes in the file, until cancelled."""
        await self._watch.run()

    async def _look(self) -> None:
        content = await asyncio.to_thread(read_content, self._path)
        if content != self._content:
            self.entries = await asyncio.to_thread(parse_content, self._path, content, self._grammar)
            self._content = content
            _log.info("identity.file", setting=self._setting, entries=len(self.entries))
        self._fault = None
        self._ok.set(1)
