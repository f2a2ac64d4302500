"""Debian's docker-registry as an upstream that is no part of ours, with a journal of what it was asked."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.parts import REGISTRY, Toolbox
from tests.support.processes import Process, free_port, listens

_LINE = re.compile(
    r'"(?P<method>[A-Z]+) (?P<path>/v2/\S*) HTTP/1\.[01]" (?P<status>\d{3}) (?P<size>\d+) "[^"]*" "(?P<agent>[^"]*)"'
)


@dataclass(frozen=True)
class Asked:
    """One line of the access log: `size` is the number of bytes of the answer's body."""

    method: str
    path: str
    status: int
    size: int
    agent: str


@dataclass(frozen=True)
class Certificate:
    """A server's certificate with its key, and the authority that clients have to trust; all PEM files."""

    certificate: Path
    key: Path
    authority: Path


class DockerRegistry:
    """A docker-registry over the folder `storage`, on a port that stays its own through stops and starts."""

    def __init__(
        self,
        toolbox: Toolbox,
        storage: Path,
        folder: Path,
        *,
        certificate: Certificate | None = None,
        proxy_of: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._toolbox = toolbox
        self._folder = folder
        self._process: Process | None = None
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.port}"},
        }
        if certificate is not None:
            tls = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
            settings["http"] = {"addr": f"127.0.0.1:{self.port}", "tls": tls}
        if proxy_of is not None:
            settings["proxy"] = {"remoteurl": proxy_of}
        (folder / "config.yml").write_text(yaml.safe_dump(settings))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the registry runs"
        return self._process.pid

    def start(self) -> None:
        command = [self._toolbox.program(REGISTRY.programs[0]), "serve", str(self._folder / "config.yml")]
        self._process = Process(command, self._folder / "log", environment=self._toolbox.environment())
        self._process.wait_until(lambda: listens(self.port), "it listens")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def journal(self) -> list[Asked]:
        """Return every request that was answered, over all starts, in the order of their ends."""
        lines = _LINE.finditer((self._folder / "log").read_text(errors="replace"))
        return [
            Asked(line["method"], line["path"], int(line["status"]), int(line["size"]), line["agent"]) for line in lines
        ]

    def blob_gets(self, agent: str = "") -> Counter[str]:
        """Return how often each blob was asked for with GET, by clients whose name begins with `agent`."""
        asked = (each for each in self.journal() if each.method == "GET" and each.agent.startswith(agent))
        paths = (each.path.partition("?")[0] for each in asked)
        return Counter(path.rpartition("/")[2] for path in paths if "/blobs/sha256:" in path)
