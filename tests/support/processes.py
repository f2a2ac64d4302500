"""Programs that the tests start and end themselves, each by its own process id."""

import errno
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

_FIRST_PORT: Final = 15_000
_PORTS: Final = 15_000


class Process:
    """A running program whose output goes to a file.

    Use as a context manager, or call `stop`. Nothing else on the machine is ever signalled.
    """

    def __init__(self, command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.command = tuple(command)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return what the program has written so far."""
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
        """Return once `condition` holds; raise AssertionError with the last output if the program ends first."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.status is not None or time.monotonic() > deadline:
                ended = f"ended with {self.status}" if self.status is not None else f"took over {seconds} s"
                last = "\n".join(self.output().splitlines()[-30:])
                raise AssertionError(f"{self.command[0]}: {ended} before {what}:\n{last}")
            time.sleep(0.02)

    def terminate(self) -> None:
        """Ask the program to end (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End the program at once (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> int:
        """Return the exit status; raise subprocess.TimeoutExpired if the program still runs after `seconds`."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        """End the program: by SIGTERM, by SIGKILL if that has no effect."""
        if self.status is None:
            self.terminate()
            try:
                self.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on.

    It is below those that Linux gives to connections: none that is opened before the port is used can take it.
    """
    while True:
        port = _FIRST_PORT + secrets.randbelow(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port


def listens(port: int) -> bool:
    """Tell whether something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    given: str | None = None,
    seconds: float = 120,
) -> str:
    """Return what a program prints, `given` a text to read; raise AssertionError with all that it said if it fails."""
    done = subprocess.run(
        command, env=environment, input=given, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def open_descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one entry a descriptor, not paths
