"""The configuration taken over by a running server: when its file changes, or on SIGHUP."""

import asyncio
import json
import stat as file_modes
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from proxy.config.checks import check_together
from proxy.config.faults import ConfigurationError, Fault
from proxy.config.loader import Check, load_settings
from proxy.config.section import Section
from proxy.config.settings import LIVE, Settings
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.5
_SETTLED_SECONDS: Final = 0.05
"""How long a file is left alone that was written a moment ago: the clock of files goes in steps of milliseconds."""


class _State(NamedTuple):
    """What tells a file that was changed, or exchanged for another, from what it was."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    def is_settled(self) -> bool:
        """Tell whether a change from now on would show. What is from the future was stamped by another clock."""
        return not 0 <= time.time() - self.changed / 1e9 < _SETTLED_SECONDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to: what is in force now, the keys that changed, those that wait for a restart, the faults."""

    settings: Settings
    taken: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def state(self) -> bytes:
        """Return what tells this outcome from others, the same in every process that runs on the same file."""
        if self.faults:
            return "\n".join(self.faults).encode()
        document = self.settings.model_dump(mode="json")
        live = [_found(document, key.split(".")) for key in LIVE]
        return json.dumps([live, self.waiting], sort_keys=True).encode()


Tell = Callable[[Outcome], Awaitable[None]]
"""Is told of every reload, before the next one begins."""


class Reloader:
    """Keep a server's settings those of its file, as far as they can change while it runs.

    `apply` is called on the event loop, with complete and checked settings, when a key below `LIVE` changed; it must
    not fail and not wait. Every other key keeps the value it had at the start, and each reload that finds another one
    in the file says so. A file that is not valid changes nothing. ``pullthrough_config_last_reload_ok`` is 1 while
    the server runs on exactly what the file says.
    """

    def __init__(  # noqa: PLR0913 - the composition root hands in each part
        self,
        path: Path,
        settings: Settings,
        apply: Callable[[Settings], None],
        metrics: Metrics,
        environ: Mapping[str, str],
        check: Check | None = None,
        *,
        tell: Tell | None = None,
    ) -> None:
        """Begin with `settings` in force, as they were loaded from `path` and `environ`."""
        self.current = settings
        self.look_every = _LOOK_SECONDS
        """Seconds between two looks of `watch` at the file."""
        self._path = path
        self._apply = apply
        self._metrics = metrics
        self._environ = environ
        self._check = check
        self._tell = tell
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    def request(self) -> None:
        """Ask `run` for a reload, and return at once: what a signal handler calls, on the event loop."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever the file changes or a reload is requested, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watch(), name="watch the configuration")
            group.create_task(self._serve_requests(), name="reload the configuration on request")

    async def reload(self) -> bool:
        """Load the file and take over what can be; tell whether the server now runs on exactly what it says."""
        async with self._one_at_a_time:
            outcome = await self._reload()
            if self._tell is not None:
                await self._tell(outcome)
            return not outcome.faults and not outcome.waiting

    async def _reload(self) -> Outcome:
        try:
            wanted = await asyncio.to_thread(load_again, self._path, self._environ, self._check)
            settled = settle(self.current, wanted, self._path, self._check)
        except ConfigurationError as error:
            for fault in error.faults:
                _log.error("config.fault", fault=str(fault))
            _log.error("config.reload_failed", path=str(self._path), faults=len(error.faults))
            self._metrics.reload_ok.set(0)
            return Outcome(self.current, faults=tuple(map(str, error.faults)))
        taken = list(changed_keys(self.current, settled))
        refused = list(changed_keys(settled, wanted))
        if taken:
            self._apply(settled)
            self.current = settled
            _log.info("config.reloaded", path=str(self._path), changed=taken)
        if refused:
            _log.warning("config.restart_needed", path=str(self._path), keys=refused)
        self._metrics.reload_ok.set(0 if refused else 1)
        return Outcome(settled, tuple(taken), tuple(refused))

    async def watch(self) -> None:
        """Reload at once, as the file may have changed since it was read, then whenever it changes, until cancelled.

        Return where it is no file that can be read again.
        """
        # Looking costs nothing to speak of. The kernel tells of folders only, since editors and Kubernetes replace
        # files: it would wake this process for each line of a log beside the file. And it tells of no network disk.
        seen: _State | str | None = None
        while (found := await asyncio.to_thread(_look, self._path)) is not None:
            if found != seen and (isinstance(found, str) or found.is_settled()):
                seen = found
                await self.reload()
            await asyncio.sleep(self.look_every)

    async def _serve_requests(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()


def load_again(path: Path, environ: Mapping[str, str], check: Check | None = None) -> Settings:
    """Return what `load_settings` does. Raises `ConfigurationError` also for a pipe: what came by it has been read."""
    if _look(path) is None:
        problem = "is a pipe, which can be read only once: restart the server to change its configuration"
        raise ConfigurationError([Fault(str(path), (), problem)])
    return load_settings(path, environ, check)


def _look(path: Path) -> _State | str | None:
    """Return how the file is that a path, with its links, leads to now, or why there is none; None for a pipe."""
    try:
        found = path.stat()
    except OSError as error:
        return str(error)
    if not (file_modes.S_ISREG(found.st_mode) or file_modes.S_ISDIR(found.st_mode)):
        return None
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def settle(running: Settings, wanted: Settings, path: Path, check: Check | None = None) -> Settings:
    """Return the live keys of `wanted`, which was loaded from `path`, with the others as they are running.

    Raises `ConfigurationError` where they do not fit together.
    """
    settled = merge_live(running, wanted)
    faults = [
        Fault(str(path), key, f"{problem} (after a restart it would fit)") for key, problem in check_together(settled)
    ]
    if not faults and check is not None:
        try:
            check(settled)
        except ValueError as error:
            faults.append(Fault(str(path), ("rules",), str(error)))
    if faults:
        raise ConfigurationError(faults)
    return settled


def merge_live(running: Settings, wanted: Settings) -> Settings:
    """Return `running` with every key below `LIVE` as `wanted` has it."""
    merged: Section = running
    for key in LIVE:
        merged = _with(merged, wanted, key.split("."))
    if not isinstance(merged, Settings):
        raise TypeError("merging sections never changes their type")
    return merged


def changed_keys(before: Section, after: Section, prefix: str = "") -> Iterator[str]:
    """Yield the keys whose values differ, lists as a whole: ``log.level``, ``rules``."""
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, Section) and isinstance(new, Section):
            yield from changed_keys(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name}"


def _with(running: Section, wanted: Section, way: list[str]) -> Section:
    name, *rest = way
    old, new = getattr(running, name), getattr(wanted, name)
    if rest and isinstance(old, Section) and isinstance(new, Section):
        new = _with(old, new, rest)
    elif rest:
        # A section that comes or goes as a whole (`auth`) takes a restart, whatever is live inside it.
        new = old
    return running.model_copy(update={name: new})


def _found(value: Any, way: list[str]) -> Any:  # noqa: ANN401 - JSON
    for name in way:
        value = value.get(name) if isinstance(value, dict) else None
    return value
