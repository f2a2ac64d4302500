"""The five minutes of the README, run as they are written; a local registry plays Docker Hub."""

import os
import pty
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

from tests.e2e.conftest import HUB
from tests.support import images, parts
from tests.support.clients import Docker
from tests.support.docker_registry import Certificate, DockerRegistry
from tests.support.processes import free_port

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
# What differs from one run to the next: digests, sizes, times, ids of requests and layers.
_VARIABLE = (
    (re.compile(r"sha256:[0-9a-f]{64}"), "sha256:#"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "#"),
    (re.compile(r"(?<=Content-Length: )\d+"), "#"),
    (re.compile(r"(?<=size: )\d+"), "#"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"), "#"),
    (re.compile(r"(?<=Date: ).*"), "#"),
    (re.compile(r"(?<=X-Request-ID: )\S+"), "#"),
)
# What docker shows of a layer under way depends on how quick it was.
_UNDER_WAY = re.compile(
    r": (Pulling fs layer|Preparing|Waiting|Downloading|Verifying Checksum|Download complete|Extracting)$"
)


@dataclass(frozen=True)
class Step:
    """One command of the tour and what it is said to print."""

    command: str
    output: str

    @property
    def serves(self) -> bool:
        return self.command.endswith("make serve")


def tour(text: str) -> list[Step]:
    """Return the commands of all console blocks, in their order."""
    steps = []
    for block in _BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            # What a shell asks for with its second prompt.
            more = list(takewhile(lambda line: line.startswith("> "), lines[1:]))
            command = [lines[0], *(line.removeprefix("> ") for line in more)]
            steps.append(Step("\n".join(command), "\n".join(lines[len(command) :])))
    return steps


def comparable(output: str) -> list[str]:
    """Return the lines of an output without what differs from run to run."""
    for pattern, replacement in _VARIABLE:
        output = pattern.sub(replacement, output)
    lines = [" ".join(line.split()) for line in output.replace("\r", "").splitlines()]
    return [line for line in lines if line and _UNDER_WAY.search(line) is None]


@contextmanager
def at_a_terminal(command: str, environment: Mapping[str, str]) -> Iterator["Terminal"]:
    """Run `command` as a person does, at a terminal; end it with Ctrl-C."""
    near, far = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command],
        cwd=ROOT,
        env=dict(environment),
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
    )
    os.close(far)
    terminal = Terminal(near)
    try:
        yield terminal
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        terminal.close()


class Terminal:
    """What a program shows on its terminal; read all the time, or the program would wait for its reader."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._ended = False
        self._raw = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._raw.decode(errors="replace"))

    def wait_for(self, text: str, seconds: float = 300) -> None:
        """Wait until `text` was shown."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or text in self.shown, seconds)
            assert text in self.shown, f"{text!r} was not shown:\n{self.shown}"

    def close(self) -> None:
        """Let go of the terminal of a program that has ended."""
        self._reader.join()
        os.close(self._descriptor)

    def _read(self) -> None:
        # The last program that leaves the terminal makes it an error to read on (pty(7): EIO).
        with suppress(OSError):
            while data := os.read(self._descriptor, 1 << 16):
                with self._changed:
                    self._raw += data
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@pytest.fixture
def busybox(certificate: Certificate, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry that plays Docker Hub and holds ``library/busybox``."""
    toolbox = parts.require(parts.REGISTRY)
    image = images.build([images.tree(deb) for deb in parts.fetch(["busybox-static"])])
    open_registry = DockerRegistry(toolbox, tmp_path / "hub", tmp_path / "open")
    open_registry.start()
    images.push(image, open_registry.url, "library/busybox", "latest")
    open_registry.stop()
    registry = DockerRegistry(toolbox, tmp_path / "hub", tmp_path / "closed", certificate=certificate)
    registry.start()
    yield registry
    registry.stop()


def test_the_tour_of_the_readme_works_as_written(
    busybox: DockerRegistry, certificate: Certificate, tmp_path: Path
) -> None:
    ports = {"5000": str(free_port()), "5001": str(free_port())}
    text = re.sub(r"\b500[01]\b", lambda found: ports[found[0]], (ROOT / "README.md").read_text())
    mirrors = f'[{{"port": {ports["5001"]}, "rule": "docker-hub"}}]'
    with Docker(parts.require(parts.DOCKER, root=True), tmp_path / "docker") as docker:
        environment = {
            **docker.environment(),
            "HOME": str(tmp_path),
            "TERM": "xterm",
            "PULLTHROUGH_SERVER__PORT": ports["5000"],
            "PULLTHROUGH_MIRRORS": mirrors,
            "PULLTHROUGH_STORAGE__PATH": str(tmp_path / "data"),
            "PULLTHROUGH_UPSTREAMS__CONNECT_TO": f'{{"{HUB}": "{busybox.address}"}}',
            "PULLTHROUGH_UPSTREAMS__CA_FILE": str(certificate.authority),
        }
        steps = tour(text)
        serving = [place for place, step in enumerate(steps) if step.serves]
        assert serving[0] == 0
        for begin, end in zip(serving, [*serving[1:], len(steps)], strict=True):
            with at_a_terminal(steps[begin].command, environment) as terminal:
                terminal.wait_for("docker pull")
                terminal.wait_for("open ")
                shown = comparable(terminal.shown)
                assert [line for line in comparable(steps[begin].output) if line not in shown] == []
                for step in steps[begin + 1 : end]:
                    said = subprocess.run(
                        ["bash", "-c", step.command],
                        cwd=ROOT,
                        env=environment,
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    assert comparable(said.stdout + said.stderr) == comparable(step.output), step.command
                    assert (said.returncode != 0) == (said.stderr != ""), step.command
