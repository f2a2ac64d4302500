"""What every worker of a server notices by itself, such as a file that changed: one event, whoever is first."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from proxy.telemetry.audit import AuditEvent, BlockingTrail, NoAudit
from proxy.telemetry.locks import alone_with

_log = structlog.get_logger(__name__)

_NAME: Final = "noticed.json"


class Notices:
    """Tell the trail of what is noticed about topics: once, however many workers notice it.

    A topic is in a state, which the caller names by any bytes; only their digest is kept, in `folder`, which all
    workers of the server have (None: there is one process). An event is written before its state is kept: where a
    worker is killed between the two, the next one that notices writes it again, and none is lost.
    """

    def __init__(self, trail: BlockingTrail | None = None, folder: Path | None = None) -> None:
        """Know of no topic yet, unless other workers do."""
        self._trail = trail or NoAudit()
        self._folder = folder
        self._known: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()

    async def tell(self, topic: str, state: bytes, event: AuditEvent) -> None:
        """Write the event, unless it was noticed already that the topic is in this state."""
        await self._run(topic, state, event, changed=True)

    async def keep(self, topic: str, state: bytes, event: AuditEvent | None = None) -> None:
        """Note that the topic is in this state, of which there is nothing to tell.

        With an `event`, it is written where the state that was noticed last is another one: those who were to tell of
        the change are gone.
        """
        await self._run(topic, state, event, changed=False)

    async def _run(self, topic: str, state: bytes, event: AuditEvent | None, *, changed: bool) -> None:
        if isinstance(self._trail, NoAudit):
            return
        async with self._one_at_a_time:
            loop = asyncio.get_running_loop()
            await asyncio.shield(
                loop.run_in_executor(None, self._notice, topic, sha256(state).hexdigest(), event, changed)
            )

    def _notice(self, topic: str, state: str, event: AuditEvent | None, changed: bool) -> None:  # noqa: FBT001 - an executor passes no names
        written = False
        try:
            with self._alone():
                known = self._load()
                if known.get(topic) == state:
                    return
                if event is not None and (changed or topic in known):
                    self._trail.write(event)
                    written = True
                self._store({**known, topic: state})
        except OSError as error:
            # Better told by each worker than by none.
            _log.error("audit.not_shared", folder=str(self._folder), error=str(error), topic=topic)
            if event is not None and changed and not written:
                self._trail.write(event)

    def _load(self) -> Mapping[str, str]:
        if self._folder is None:
            return self._known
        try:
            found = json.loads((self._folder / _NAME).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _store(self, known: dict[str, str]) -> None:
        if self._folder is None:
            self._known = known
            return
        fresh = self._folder / f"{_NAME}.new"
        fresh.write_text(json.dumps(known), encoding="utf-8")
        fresh.replace(self._folder / _NAME)

    def _alone(self) -> AbstractContextManager[None]:
        return nullcontext() if self._folder is None else alone_with(self._folder / _NAME)
