"""Several processes that serve together, supervised by gunicorn's arbiter.

The arbiter holds the sockets and forks. It has no store open and no loop running while workers live, so that they
inherit nothing of the kind. A worker that ends is started again. SIGHUP is passed on: each worker reloads in place, and
no fill ends. SIGUSR2 starts new workers and lets the old ones drain; SIGTTIN and SIGTTOU add a worker or take one away.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from proxy.app.access import open_access
from proxy.app.core import StartupError, open_core
from proxy.app.server import Place, Post, Running, run_until_told
from proxy.config.faults import ConfigurationError
from proxy.config.reload import load_again, settle
from proxy.config.settings import Settings
from proxy.core.rules import RuleSet
from proxy.http.listening import Sockets, StartError, bind
from proxy.telemetry.exposition import forget
from proxy.telemetry.logging import configure_logging

_log = structlog.get_logger(__name__)

# A loop that has not turned for so long will not again.
_HUNG_SECONDS: Final = 60
# Beyond the drain, for what follows it.
_GRACE_SECONDS: Final = 5.0
# After a worker that did not come to serve: what keeps it from that will seldom be gone at once.
_RETRY_SECONDS: Final = 1.0
_NOT_STARTED: Final = 1
# A socket's path has 107 bytes at most (unix(7)): room for its name is left.
_LONGEST_FOLDER: Final = 90
# Whose handlers a worker inherits, and puts its own in the place of.
_PASSED_ON: Final = (*Arbiter.SIGNALS, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class _Crew:
    """What all workers have in common; `greet` is called once, by the first that serves."""

    post: Post
    sockets: Sockets
    folder: Path
    greet: Callable[[Running], None]


def run_workers(settings: Settings, config_path: Path, *, greet: Callable[[Running], None]) -> int:
    """Serve by `server.workers` processes until SIGTERM or SIGINT; return the exit code. Raises `StartupError`."""
    log = configure_logging(settings.log.level, settings.log.format, permanent=True)
    try:
        sockets = asyncio.run(_prepare(settings))
    except StartError as error:
        raise StartupError(str(error)) from error
    folder, supervisor = _meeting_place(), os.getpid()
    crew = _Crew(Post(settings, config_path, log), sockets, folder, greet)
    try:
        _Supervisor(_Application(crew), sockets).run()
    except SystemExit as leaving:  # the arbiter's way to end, and each worker's
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        if os.getpid() == supervisor:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def _meeting_place() -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix="pullthrough-"))
    except OSError as error:
        raise StartupError(
            f"several workers need a folder for temporary files: {error.strerror}; make room, or set TMPDIR"
        ) from error
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        folder.rmdir()
        raise StartupError(f"{folder.parent} is too long a path for sockets of several workers: set TMPDIR to another")
    return folder


async def _prepare(settings: Settings) -> Sockets:
    """Bind what all workers accept from; before that, tell once what would keep each of them from its store."""
    async with open_core(settings) as core, open_access(settings, core):
        pass
    server = settings.server
    ports: dict[str | None, int] = {None: server.port, **{mirror.rule: mirror.port for mirror in settings.mirrors}}
    return {rule: await bind(server.host, port, server.limits.send_timeout) for rule, port in ports.items()}


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn is untyped
    """What gunicorn runs: nothing of its own, all is in the workers."""

    def __init__(self, crew: _Crew) -> None:
        self.crew = crew
        super().__init__()

    def load_config(self) -> None:
        server = self.crew.post.settings.server
        settings: dict[str, Any] = {
            "workers": server.workers,
            "worker_class": _Worker,
            "logger_class": _Log,
            "pre_fork": _prepare_worker,
            "child_exit": _forget_worker,
            "timeout": _HUNG_SECONDS,
            "graceful_timeout": int(server.drain_timeout.total_seconds() + _GRACE_SECONDS),
            "control_socket_disable": True,
        }
        for key, value in settings.items():
            self.cfg.set(key, value)

    def load(self) -> None:
        """Load nothing: a worker builds what it serves after it was forked."""


class _Supervisor(Arbiter):  # type: ignore[misc] # gunicorn is untyped
    """gunicorn's arbiter, over sockets that are bound already.

    Which workers there are to be is decided here: gunicorn asks a worker to end again and again while it drains, ends
    those that serve before others have come to it, and tries in vain as fast as it can.
    """

    def __init__(self, application: _Application, sockets: Sockets) -> None:
        super().__init__(application)
        self.LISTENERS = [one for bound in sockets.values() for one in bound]
        self.WORKERS: dict[int, _Worker] = {}
        self.served = False
        """Whether a worker has come to serve."""
        self.not_before = float("-inf")
        """When the next worker may be started, on the monotonic clock."""
        self._replaced = 0  # the age of the youngest worker in whose place another is to be
        self._loaded: tuple[int, ...] | None = None

    def manage_workers(self) -> None:
        """Start the workers that are missing; end those that are too many, the oldest first, as others serve."""
        self._renew_settings()
        staying = sorted((one for one in self.WORKERS.values() if not one.leaving), key=lambda one: one.age)
        serving = [worker for worker in staying if worker.look()]
        self.served = self.served or bool(serving)
        missing = self.num_workers - sum(worker.age > self._replaced for worker in staying)
        if missing > 0 and time.monotonic() >= self.not_before:
            for _ in range(missing):
                self.spawn_worker()
        for worker in serving[: max(0, len(serving) - self.num_workers)]:
            worker.leaving = True
            self.kill_worker(worker.pid, signal.SIGTERM)

    def spawn_worker(self) -> None:
        """Start a worker, or say why not: those that there are go on, and the next round tries again."""
        # Until a worker has handlers of its own, those of the arbiter would swallow what is to end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        try:
            super().spawn_worker()
        except OSError as error:
            _log.error("worker.not_forked", error=error.strerror)
            self.not_before = time.monotonic() + _RETRY_SECONDS
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)

    def reap_workers(self) -> None:
        """Take note of the workers that have ended; raise `HaltServer` where none could begin to serve."""
        while True:
            try:
                super().reap_workers()
            except HaltServer:
                # Where others serve, and at the end, one more that could not begin changes nothing.
                if self.LISTENERS and not any(worker.look() for worker in self.WORKERS.values()):
                    raise
                self.not_before = time.monotonic() + _RETRY_SECONDS
            else:
                return

    def signal(self, sig: int, frame: Any) -> None:  # noqa: ANN401 - a frame of the interpreter, not looked at
        """Take note of a signal. SIGTERM is SIGINT: only of that, a second one ends the arbiter's drain."""
        super().signal(signal.SIGINT if sig == signal.SIGTERM else sig, frame)

    def handle_hup(self) -> None:
        """Let the workers reload: all that may change without a restart does, and no transfer ends."""
        self._loaded = None
        self.kill_workers(signal.SIGHUP)

    def handle_int(self) -> None:
        """End as on SIGTERM; a second one ends the drain."""
        self.handle_term()

    def handle_usr1(self) -> None:
        """Do nothing: there are no log files to open anew."""

    def handle_usr2(self) -> None:
        """Put new workers in the place of all; what the old ones are at goes on to its end."""
        if any(worker.age <= self._replaced and not worker.leaving for worker in self.WORKERS.values()):
            return  # they are being replaced
        self._replaced = self.worker_age
        self.manage_workers()

    def _renew_settings(self) -> None:
        """Have workers begin with what the others have taken over from the configuration since the start.

        A file at fault changes nothing for a new worker either: what was valid last stays in force.
        """
        crew = self.app.crew
        post: Post = crew.post
        try:
            status = post.path.stat()
            seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if seen == self._loaded:
                return
            self._loaded = seen
            settings = settle(post.settings, load_again(post.path, os.environ, RuleSet.of), post.path, RuleSet.of)
        except (OSError, ConfigurationError):
            return  # each worker that runs has told of it
        self.app.crew = replace(crew, post=replace(post, settings=settings))


class _Worker(Worker):  # type: ignore[misc] # gunicorn is untyped
    """A process that serves, as gunicorn wants it."""

    slot = 0
    """A number that no other running worker has; set before the fork."""
    first = True
    """Whether no worker has served yet; set before the fork."""
    served = False
    """Whether the arbiter has seen it serve."""
    leaving = False
    """Whether the arbiter has asked it to end."""
    orphaned = False
    """Whether it has lost the arbiter."""

    def look(self) -> bool:
        """Tell the arbiter whether the worker has come to serve."""
        self.served = self.served or os.fstat(self.tmp.fileno()).st_size > 0
        return self.served

    def init_signals(self) -> None:
        """Leave to the loop what ends a worker, and to the arbiter what concerns all (Ctrl-C reaches every process)."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)

    def run(self) -> None:
        """Serve until told to end, and leave the process."""
        crew: _Crew = self.app.crew
        place = Place(crew.sockets, crew.folder, self.slot, self._beat)
        # With this code the arbiter ends all where nobody serves; a later worker is tried again, beside those that do.
        failed = Arbiter.WORKER_BOOT_ERROR if self.first else _NOT_STARTED
        try:
            run_until_told(replace(crew.post, place=place), self._listening)
        except StartupError as error:
            _log.error("worker.not_started", worker=self.slot, fault=str(error))
            sys.exit(failed)
        except Exception:  # noqa: BLE001 - the top of a process: nobody else can log it
            _log.exception("worker.failed", worker=self.slot)
            sys.exit(_NOT_STARTED if self.look() else failed)
        finally:
            if self.orphaned:
                shutil.rmtree(crew.folder, ignore_errors=True)
        sys.exit(0)

    def _listening(self, running: Running) -> None:
        os.ftruncate(self.tmp.fileno(), 1)  # for `look`
        if self.age == 1:
            self.app.crew.greet(running)

    def _beat(self) -> None:
        self.notify()
        if os.getppid() != self.ppid and not self.orphaned:
            # Nobody would start this process again, or tell it of anything.
            self.orphaned = True
            _log.error("worker.orphaned", worker=self.slot)
            os.kill(os.getpid(), signal.SIGTERM)


class _Log(Logger):  # type: ignore[misc] # gunicorn is untyped
    """gunicorn's log, through ours."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn's configuration
        """Hand on everything; our handlers and levels decide."""
        self.cfg = cfg
        self.error_log.propagate = True


def _prepare_worker(arbiter: _Supervisor, worker: _Worker) -> None:
    taken = {other.slot for other in arbiter.WORKERS.values()}
    worker.slot = next(number for number in range(len(taken) + 1) if number not in taken)
    worker.first = not arbiter.served
    # By this gunicorn tells what ends all from what ends this worker, where it is not we who tell it.
    worker.booted = arbiter.served
    worker.notify()  # its start may take as long as a turn of its loop later


def _forget_worker(arbiter: _Supervisor, worker: _Worker) -> None:
    if worker.leaving:
        forget(arbiter.app.crew.folder, worker.slot)
    elif not worker.served:
        arbiter.not_before = time.monotonic() + _RETRY_SECONDS
