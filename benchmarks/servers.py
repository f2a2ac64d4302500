"""The servers that are compared: the product and its peers, each a process that a scenario starts and ends."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support.docker_registry import Certificate
from tests.support.processes import Process, listens

OURS = "pullthrough"
OURS_BARE = "pullthrough without speedups"
OURS_PARALLEL = "pullthrough, parallel_ranges: 4"
PLAIN = "docker-registry"
PROXY = "docker-registry proxy"
DISTRIBUTION = "distribution"
DISTRIBUTION_PROXY = "distribution proxy"
NGINX = "nginx"
AIOHTTP = "bare aiohttp"

PROXIES = (PROXY, DISTRIBUTION_PROXY)
PREFIX = "up"


@dataclass
class Contestant:
    """A server on `port`: `prefix` stands before names of the upstream, whose port `upstream` it alone asks.

    `authority` is a PEM file if it speaks TLS.
    """

    name: str
    port: int
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    prefix: str = ""
    upstream: int = 0
    authority: str = ""
    process: Process | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Return the process id; the server was started."""
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.process.pid

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def path(self, kind: str, reference: str, repository: str = "bench") -> str:
        """Return the path of a manifest or blob."""
        return f"/v2/{self.prefix}{repository}/{kind}/{reference}"

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
        self.process = Process(self.command, self.log, environment=self.environment)

    def start(self) -> None:
        """Start the process and wait until it listens. Raises AssertionError with what it said if it does not."""
        self.launch()
        if self.process is not None:
            self.process.wait_until(lambda: listens(self.port), "it listens")

    def stop(self) -> None:
        """End the process, if it runs."""
        if self.process is not None:
            self.process.stop()

    def ended(self) -> str:
        """Return how the process ended with the last line that it wrote, nothing if it runs."""
        if self.process is None or self.process.status is None:
            return ""
        last = (self.process.output().strip().splitlines() or ["nothing"])[-1]
        return f"it ended with {self.process.status}, saying: {last[:200]}"


def write_product(
    folder: Path,
    port: int,
    upstream: str,
    *,
    rule: Mapping[str, Any] | None = None,
    certificate: Certificate | None = None,
) -> Sequence[str]:
    """Write a configuration of the product with one rule, everything else at its default; return the command."""
    folder.mkdir(parents=True, exist_ok=True)
    server: dict[str, object] = {"port": port}
    if certificate is not None:
        server["tls"] = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
    document = {
        "server": server,
        "storage": {"path": str(folder / "store")},
        "rules": [{"prefix": PREFIX, "upstream": upstream, **(rule or {})}],
    }
    file = folder / "pullthrough.yaml"
    file.write_text(yaml.safe_dump(document))
    return [sys.executable, "-m", "proxy", "serve", "--config", str(file)]


def write_registry(
    program: str, folder: Path, port: int, *, proxy_of: str | None = None, certificate: Certificate | None = None
) -> Sequence[str]:
    """Write a configuration of docker-registry, or of distribution, which takes the same; return the command."""
    folder.mkdir(parents=True, exist_ok=True)
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if certificate is not None:
        http["tls"] = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
    document: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "http": http,
    }
    if proxy_of is not None:
        document["proxy"] = {"remoteurl": proxy_of}
    file = folder / "config.yml"
    file.write_text(yaml.safe_dump(document))
    return [program, "serve", str(file)]
