"""The product as its users run it: a process with a configuration file, and its log."""

import json
import os
import select
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import yaml

from proxy.storage.layout import Layout
from tests.support.processes import Process, free_port

PROGRAM = (sys.executable, "-m", "proxy")

WORKERS = int(os.environ.get("TEST_WORKERS", "1"))
"""How many processes serve where a test does not say: those of real clients run with several, too."""


class Pullthrough:
    """A server over the store `store`, on ports that stay its own through restarts.

    `settings` are sections of the configuration file; they are added to what every server of the tests needs.
    Use as a context manager to start and stop it.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        store: Path | None = None,
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.mirror = free_port()
        self.layout = Layout(store or folder / "store")
        self.file = folder / "pullthrough.yaml"
        self._log = folder / "log"
        self._wrapper = tuple(wrapper)
        self._environment = environment
        self._process: Process | None = None
        document: dict[str, Any] = {
            "server": {"port": self.port, "workers": WORKERS},
            "storage": {"path": str(self.layout.root), "min_free": 0},
            "log": {"format": "json"},
        }
        for section, values in settings.items():
            document[section] = {**document.get(section, {}), **values} if isinstance(values, Mapping) else values
        if any(rule["prefix"] == "docker-hub" for rule in document.get("rules", ())):
            document["mirrors"] = [{"port": self.mirror, "rule": "docker-hub"}]
        self.file.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def process(self) -> Process:
        assert self._process is not None, "the server was started"
        return self._process

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        command = [*self._wrapper, *PROGRAM, "serve", "--config", str(self.file)]
        self._process = Process(command, self._log, environment=self._environment)
        self._process.wait_until(self._is_ready, "it is ready")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End the server as a crash of the machine does: all its processes at once (SIGKILL)."""
        pid = self.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if self.process.status is None else []
        self.process.kill()
        for worker in workers:
            with suppress(ProcessLookupError):
                process = os.pidfd_open(int(worker))
                try:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [])
                finally:
                    os.close(process)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of this name in the log, over all starts; a line cut off by a kill is left out."""
        lines = [line for line in self._log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for line in lines if (event := json.loads(line)).get("event") == name]

    def answered(self, **fields: object) -> list[dict[str, Any]]:
        """Return the request log: every answer whose event has these fields."""
        events = self.events("request.answered")
        return [event for event in events if all(event.get(key) == value for key, value in fields.items())]

    def references(self) -> set[str]:
        """Return the tags and digests whose content was sent: also to clients that hung up with the last byte (499)."""
        sent = (event for event in self.answered() if event["status"] in {200, 206, 499} and event["bytes"])
        return {event["reference"] for event in sent if event["reference"]}

    def stored(self) -> dict[str, Path]:
        """Return the files of complete blobs by the digest that their name claims."""
        files = (path for path in self.layout.blobs.glob("*/*/*") if path.is_file())
        return {f"{path.parts[-3]}:{path.name}": path for path in files}

    def partials(self) -> dict[str, int]:
        """Return the sizes of unfinished blobs by their digests."""
        found = self.layout.fills.glob("*/*/*.part")
        return {f"{path.parts[-3]}:{path.stem}": path.stat().st_size for path in found}

    def uploads(self) -> dict[Path, int]:
        """Return the sizes of the files of uploads under way, and of what is written before it has a name."""
        sizes = {}
        for folder in (self.layout.sessions, self.layout.uploads):
            for path in folder.glob("*"):
                with suppress(FileNotFoundError):  # it was finished meanwhile
                    sizes[path] = path.stat().st_size
        return sizes

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):  # noqa: S310 - loopback only
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
