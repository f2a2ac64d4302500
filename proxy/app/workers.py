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
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from proxy.app.core import StartupError, open_core
from proxy.app.server import Place, Post, Running, run_until_told
from proxy.config.settings import Settings
from proxy.http.listening import Sockets, StartError, bind
from proxy.telemetry.logging import configure_logging

_log = structlog.get_logger(__name__)

# A loop that has not turned for so long will not again.
_HUNG_SECONDS: Final = 60
# Beyond the drain, for what follows it.
_GRACE_SECONDS: Final = 5.0
_NOT_STARTED: Final = 1


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
    folder, supervisor = Path(tempfile.mkdtemp(prefix="pullthrough-")), os.getpid()
    crew = _Crew(Post(settings, config_path, log), sockets, folder, greet)
    try:
        _Supervisor(_Application(crew), sockets).run()
    except SystemExit as leaving:  # the arbiter's way to end, and each worker's
        return leaving.code if isinstance(leaving.code, int) else 0
    finally:
        if os.getpid() == supervisor:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


async def _prepare(settings: Settings) -> Sockets:
    """Bind what all workers accept from; before that, tell once what would keep each of them from its store."""
    async with open_core(settings):
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
            "pre_fork": _give_slot,
            "timeout": _HUNG_SECONDS,
            "graceful_timeout": int(server.drain_timeout.total_seconds() + _GRACE_SECONDS),
            "control_socket_disable": True,
        }
        for key, value in settings.items():
            self.cfg.set(key, value)

    def load(self) -> None:
        """Load nothing: a worker builds what it serves after it was forked."""


class _Supervisor(Arbiter):  # type: ignore[misc] # gunicorn is untyped
    """gunicorn's arbiter, over sockets that are bound already."""

    def __init__(self, application: _Application, sockets: Sockets) -> None:
        super().__init__(application)
        self.LISTENERS = [one for bound in sockets.values() for one in bound]
        self.WORKERS: dict[int, _Worker] = {}

    def handle_hup(self) -> None:
        """Let the workers reload: all that may change without a restart does, and no transfer ends."""
        self.kill_workers(signal.SIGHUP)

    def handle_int(self) -> None:
        """End as on SIGTERM; a second one ends the drain."""
        self.handle_term()

    def handle_usr1(self) -> None:
        """Do nothing: there are no log files to open anew."""

    def handle_usr2(self) -> None:
        """Put new workers in the place of all; what the old ones are at goes on to its end."""
        for _ in range(self.num_workers):
            self.spawn_worker()
        self.manage_workers()


class _Worker(Worker):  # type: ignore[misc] # gunicorn is untyped
    """A process that serves, as gunicorn wants it."""

    slot = 0
    """A number that no other running worker has; set before the fork."""

    def init_signals(self) -> None:
        """Leave to the loop what ends a worker, and to the arbiter what concerns all (Ctrl-C reaches every process)."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
            signal.signal(number, signal.SIG_IGN)

    def run(self) -> None:
        """Serve until told to end, and leave the process."""
        self.booted = False
        crew: _Crew = self.app.crew
        place = Place(crew.sockets, crew.folder, self.slot, self._beat)
        try:
            run_until_told(replace(crew.post, place=place), self._listening)
        except StartupError as error:
            _log.error("worker.not_started", worker=self.slot, fault=str(error))
            first = self.age <= crew.post.settings.server.workers
            # With this code the arbiter ends all; a later worker is tried again, beside those that serve.
            sys.exit(Arbiter.WORKER_BOOT_ERROR if first else _NOT_STARTED)
        sys.exit(0)

    def _listening(self, running: Running) -> None:
        self.booted = True
        if self.age == 1:
            self.app.crew.greet(running)

    def _beat(self) -> None:
        self.notify()
        if os.getppid() != self.ppid:
            # Nobody would start this process again, or tell it of anything.
            _log.error("worker.orphaned", worker=self.slot)
            os.kill(os.getpid(), signal.SIGTERM)


class _Log(Logger):  # type: ignore[misc] # gunicorn is untyped
    """gunicorn's log, through ours."""

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn's configuration
        """Hand on everything; our handlers and levels decide."""
        self.cfg = cfg
        self.error_log.propagate = True


def _give_slot(arbiter: _Supervisor, worker: _Worker) -> None:
    taken = {other.slot for other in arbiter.WORKERS.values()}
    worker.slot = next(number for number in range(len(taken) + 1) if number not in taken)
