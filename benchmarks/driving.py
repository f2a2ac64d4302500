"""Drive a server: with `wrk` where answers are small, with the own load client for everything else."""

import itertools
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks import client
from benchmarks.client import ACCEPT, Ask, Done, Job
from benchmarks.servers import Contestant
from benchmarks.sheet import MeasureError
from tests.support.parts import Toolbox
from tests.support.processes import Process, run

_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_REFUSED = re.compile(r"(Non-2xx or 3xx responses: \d+|Socket errors: .*)")
_PATIENCE = 300.0
# A shorter load says nothing of what the client needs.
_SHORT = 0.3


class Driver:
    """The clients of a run; job files are kept in `folder`.

    `strain` is the largest share of a core that the own client needed: near 1 it is the client that was measured.
    """

    def __init__(self, folder: Path, wrk: Toolbox | None) -> None:
        self._folder = folder
        self._wrk = wrk
        self._numbers = itertools.count()
        self.strain = 0.0

    def requests_per_second(
        self, contestant: Contestant, path: str, *, connections: int, seconds: float, method: str = "GET"
    ) -> float:
        """Return how many requests for one path are answered a second.

        `wrk` cannot do HEAD: it waits for the body that Content-Length announces. The own client does, and stands in
        where there is no `wrk`.
        """
        if self._wrk is None or method != "GET":
            chains = [[Ask(method, path)]]
            done = self.load(contestant, chains, connections=connections, seconds=seconds)
            return done.answers / done.seconds
        # wrk takes whole seconds only.
        command = [self._wrk.program("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        said = run([*command, "-H", f"Accept: {ACCEPT}", contestant.url + path], environment=self._wrk.environment())
        refused, rate = _REFUSED.search(said), _RATE.search(said)
        if refused is not None or rate is None:
            raise MeasureError(refused[1] if refused is not None else "wrk printed no rate")
        return float(rate[1])

    def load(
        self,
        contestant: Contestant,
        chains: Sequence[Sequence[Ask]],
        *,
        connections: int = 1,
        seconds: float = 0,
        limit: float = 0,
    ) -> Done:
        """Do chains of requests as `Job` says, and return what came of it. Raises `MeasureError`."""
        work = [list(chain) for chain in chains]
        job = Job(contestant.port, work, connections, seconds, contestant.authority, limit=limit)
        with self.loading(job) as running:
            running.process.wait(_PATIENCE)
        done = running.done()
        if done.seconds > _SHORT:
            self.strain = max(self.strain, done.cpu / done.seconds)
        return done

    @contextmanager
    def loading(self, job: Job) -> Iterator["Running"]:
        """Do a job beside what the caller does."""
        file = self._folder / f"{next(self._numbers)}.job"
        file.write_text(json.dumps(asdict(job)))
        # -P: the client's own folder is no place to import from.
        command = [sys.executable, "-P", client.__file__, str(file)]
        with Process(command, file.with_suffix(".log")) as process:
            yield Running(process, file.with_suffix(".done"))


class Running:
    """A load that is under way."""

    def __init__(self, process: Process, result: Path) -> None:
        self.process = process
        self._result = result

    def done(self) -> Done:
        """Return what came of it, once the process has ended. Raises `MeasureError`."""
        if not self._result.exists():
            raise MeasureError(f"the load client failed: {self.process.output().strip()[-300:]}")
        done = client.read_done(self._result.read_text())
        if done.error:
            raise MeasureError(done.error)
        return done
