"""What a scenario measures with: content, an upstream that counts, the servers before it; all of it ends with it."""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import servers
from benchmarks.content import Content
from benchmarks.driving import Driver
from benchmarks.nginx import Asked, Journal, write_configuration
from benchmarks.options import Options
from benchmarks.servers import Contestant, write_product, write_registry
from benchmarks.sheet import Sheet
from tests.support import images, parts
from tests.support.certificates import Authority
from tests.support.docker_registry import Certificate
from tests.support.images import Image
from tests.support.parts import Part, Toolbox, UnobtainableError
from tests.support.processes import free_port

# One a server, so that each request is counted for the server that made it.
_UPSTREAM_PORTS = 8


@dataclass(frozen=True)
class Tools:
    """The programs that could be had; `missing` says why the others could not, by their names."""

    found: Mapping[str, Toolbox]
    missing: Mapping[str, str]

    @classmethod
    def obtain(cls) -> Self:
        """Look for all programs, and fetch those that are not installed."""
        found: dict[str, Toolbox] = {}
        missing: dict[str, str] = {}
        wanted: Sequence[Part] = (parts.NGINX, parts.WRK, parts.REGISTRY)
        for part in wanted:
            try:
                found[part.package] = parts.obtain(part)
            except UnobtainableError as error:
                missing[part.package] = str(error)
        return cls(found, missing)


def has_speedups() -> bool:
    """Tell whether the package of the product's extra is installed."""
    return importlib.util.find_spec("aiofastnet") is not None


class Stage:
    """The stage of one scenario in a folder of its own.

    Content is added before `upstream` is first asked for. A server that cannot be had is left out, and named in the
    sheet. Use as a context manager: leaving it ends every process that was started.
    """

    def __init__(self, folder: Path, tools: Tools, options: Options, sheet: Sheet) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.options = options
        self.content = Content(folder / "content")
        self.driver = Driver(folder, tools.found.get("wrk"))
        self._tools = tools
        self._sheet = sheet
        self._stack = ExitStack()
        self._ports: list[int] = []
        self._journal = Journal(folder / "asked.log")

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self._stack.close()

    @cached_property
    def certificate(self) -> Certificate:
        """Return the certificate of all servers that speak TLS."""
        return Authority(self.folder / "tls").issue()

    def upstream_port(self) -> int:
        """Return a port of the upstream that nobody asks yet; the upstream is started by the first call."""
        if not self._journal.file.exists():
            self._ports = [free_port() for _ in range(_UPSTREAM_PORTS)]
            file = write_configuration(self.folder / "upstream", self.content, self._ports, journal=self._journal.file)
            self._start(Contestant("upstream", self._ports[0], *self._nginx(file)))
        return self._ports.pop()

    def asked(self, contestant: Contestant) -> list[Asked]:
        """Return what the upstream was asked for this server since the last call, whoever it was for."""
        return self._journal.since(contestant.upstream)

    def far(self, port: int) -> int:
        """Return a port that leads to a port of the upstream over the slow link."""
        far = free_port()
        values = (far, port, self.options.rtt, self.options.rate)
        command = [sys.executable, "-m", "benchmarks.shaper", *map(str, values)]
        self._start(Contestant("shaper", far, command, self.folder / f"shaper-{far}.log"))
        return far

    def product(
        self,
        name: str = servers.OURS,
        *,
        rule: Mapping[str, Any] | None = None,
        tls: bool = False,
        far: bool = False,
    ) -> Contestant:
        """Return the product before the upstream, not started."""
        folder, port, upstream = self._place(name)
        command = write_product(
            folder,
            port,
            f"http://127.0.0.1:{self.far(upstream) if far else upstream}",
            rule=rule,
            certificate=self.certificate if tls else None,
        )
        environment = dict(os.environ)
        if self.options.workers is not None:
            environment["PULLTHROUGH_SERVER__WORKERS"] = str(self.options.workers)
        if name == servers.OURS_BARE:
            environment["PYTHONPATH"] = str(self._without_speedups())
        authority = str(self.certificate.authority) if tls else ""
        prefix = f"{servers.PREFIX}/"
        return Contestant(name, port, command, folder / "log", environment, prefix, upstream, authority)

    def products(self, *, tls: bool = False) -> list[Contestant]:
        """Return the product, and where the speedups are installed also without them; all run."""
        names = [servers.OURS, *([servers.OURS_BARE] if has_speedups() else [])]
        return self.started(*(self.product(name, tls=tls) for name in names))

    def proxies(self, *, far: bool = False) -> list[Contestant]:
        """Return the registries that pull through from the upstream; they run."""
        return self.started(*self.registries(proxy=True, far=far))

    def plain(self, image: Image, *, tls: bool = False) -> list[Contestant]:
        """Return the registries that hold an image as ``bench:1`` themselves; they run."""
        running = self.started(*self.registries(proxy=False))
        holding = []
        for contestant in running:
            try:
                images.push(image, contestant.url, "bench", "1")
            except OSError as error:
                self._sheet.fail(f"push for {self._sheet.scenario}", contestant.name, contestant.ended() or str(error))
            else:
                holding.append(contestant)
        if not tls:
            return holding
        for contestant in holding:
            contestant.stop()
        names = {contestant.name for contestant in holding}
        return self.started(*(each for each in self.registries(proxy=False, tls=True) if each.name in names))

    def registries(self, *, proxy: bool, tls: bool = False, far: bool = False) -> list[Contestant]:
        """Return docker-registry, and distribution where one is named, not started.

        Called again without `proxy` it gives others over the same store.
        """
        programs = {}
        debian = self._tools.found.get("docker-registry")
        if debian is None:
            self._miss(servers.PROXY if proxy else servers.PLAIN, "docker-registry")
        else:
            programs[servers.PROXY if proxy else servers.PLAIN] = debian.program("docker-registry")
        if self.options.distribution is not None:
            programs[servers.DISTRIBUTION_PROXY if proxy else servers.DISTRIBUTION] = self.options.distribution
        made = []
        for name, program in programs.items():
            folder, port, upstream = self._place(name, asks=proxy)
            command = write_registry(
                program,
                folder,
                port,
                proxy_of=f"http://127.0.0.1:{self.far(upstream) if far else upstream}" if proxy else None,
                certificate=self.certificate if tls else None,
            )
            environment = debian.environment() if debian is not None else None
            authority = str(self.certificate.authority) if tls else ""
            made.append(Contestant(name, port, command, folder / "log", environment, "", upstream, authority))
        return made

    def nginx(self, *, tls: bool = False) -> list[Contestant]:
        """Return nginx over the content itself; it runs."""
        folder, port, _ = self._place(servers.NGINX, asks=False)
        file = write_configuration(
            folder,
            self.content,
            [port],
            workers=self.options.workers or 1,
            certificate=self.certificate if tls else None,
        )
        authority = str(self.certificate.authority) if tls else ""
        return self.started(Contestant(servers.NGINX, port, *self._nginx(file), authority=authority))

    def aiohttp(self) -> list[Contestant]:
        """Return bare aiohttp over the content's repository ``bench``; it runs."""
        folder, port, _ = self._place(servers.AIOHTTP, asks=False)
        command = [sys.executable, "-m", "benchmarks.bare", str(port), str(self.content.root)]
        return self.started(Contestant(servers.AIOHTTP, port, command, folder / "log"))

    def started(self, *contestants: Contestant) -> list[Contestant]:
        """Start servers, and return those that did."""
        running = []
        for contestant in contestants:
            try:
                self._start(contestant)
            except (AssertionError, OSError) as error:
                reason = contestant.ended() or (str(error).strip().splitlines() or [repr(error)])[-1]
                self._sheet.fail(f"start for {self._sheet.scenario}", contestant.name, reason)
            else:
                running.append(contestant)
        return running

    def _start(self, contestant: Contestant) -> None:
        self._stack.callback(contestant.stop)
        contestant.start()

    def _place(self, name: str, *, asks: bool = True) -> tuple[Path, int, int]:
        folder = self.folder / name.translate({ord(" "): "-", ord(","): None, ord(":"): None})
        folder.mkdir(exist_ok=True)
        return folder, free_port(), self.upstream_port() if asks else 0

    def _nginx(self, file: Path) -> tuple[list[str], Path, Mapping[str, str]]:
        toolbox = self._tools.found["nginx"]
        command = [toolbox.program("nginx"), "-p", str(file.parent), "-c", str(file), "-e", f"{file.parent}/error.log"]
        return command, file.with_name("log"), toolbox.environment()

    def _miss(self, name: str, program: str) -> None:
        self._sheet.fail(f"start for {self._sheet.scenario}", name, self._tools.missing[program])

    def _without_speedups(self) -> Path:
        """Return a folder that hides the package of the extra from Python."""
        folder = self.folder / "hidden"
        folder.mkdir(exist_ok=True)
        (folder / "aiofastnet.py").write_text('raise ImportError("hidden for the comparison")\n')
        return folder
