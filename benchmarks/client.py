"""A load client of few system calls: ``python -P client.py JOB`` does a job file and writes ``JOB.done`` beside it.

It runs as a process of its own and imports nothing of the project. One loop over non-blocking sockets writes requests
that were put together before, and drops bodies in the kernel (``MSG_TRUNC``) where there is no TLS, so that the
client costs a small part of what the servers cost.
"""

import json
import re
import select
import socket
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

ACCEPT = "application/vnd.oci.image.manifest.v1+json, */*"
_CHUNK = 1 << 20
_TICK = 0.02
# Without a byte from any server for this long the job has failed.
_SILENCE = 60.0
_DRIP_BUFFER = 64 << 10
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END = b"\r\n\r\n"


class Ask(NamedTuple):
    """A request; `first` and `last` are the ends of a byte range, -1 for the whole."""

    method: str
    path: str
    first: int = -1
    last: int = -1


@dataclass(frozen=True)
class Job:
    """What to do: each chain is done by one connection in order, one request after the other.

    With `seconds` chains are begun again and again until then, else each once; with `limit` none is begun after so
    many seconds. `authority` is a PEM file: speak TLS.
    `rate` is bytes a second and connection: then bodies are read so slowly, and the job ends after `seconds`.
    """

    port: int
    chains: list[list[Ask]]
    connections: int = 1
    seconds: float = 0
    authority: str = ""
    rate: float = 0
    limit: float = 0


@dataclass(frozen=True)
class Times:
    """Seconds of a kind of step, over all that were done."""

    median: float = 0
    p95: float = 0
    most: float = 0

    @classmethod
    def of(cls, values: list[float]) -> "Times":
        """Return what is told of the values."""
        ordered = sorted(values)
        if not ordered:
            return cls()
        return cls(ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))], ordered[-1])


@dataclass(frozen=True)
class Done:
    """What came of a job. `first` is the time to the first byte of a body, `whole` to the last, `chain` of a chain.

    `whole_answers` are the 200 that were answered to requests for a range, `cpu` the seconds that the client itself
    computed. `error` is empty if all went well.
    """

    seconds: float = 0
    answers: int = 0
    bytes: int = 0
    whole_answers: int = 0
    chains: int = 0
    cpu: float = 0
    first: Times = field(default_factory=Times)
    whole: Times = field(default_factory=Times)
    chain: Times = field(default_factory=Times)
    error: str = ""


class _FailedError(Exception):
    pass


class _Run:
    """The state that all connections share: which chain is next, until when, and what has been seen."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.buffer = memoryview(bytearray(_CHUNK))
        self.answers = self.bytes = self.whole_answers = 0
        self.first: list[float] = []
        self.whole: list[float] = []
        self.chain: list[float] = []
        self.started = self.computed = 0.0
        self._requests = [[(_encoded(ask, job.port), ask) for ask in chain] for chain in job.chains]
        self._next = 0

    def take(self) -> list[tuple[bytes, Ask]] | None:
        """Return the next chain, None when there is nothing left to do."""
        until = self.job.seconds or self.job.limit
        if until and time.perf_counter() - self.started > until:
            return None
        if self._next >= len(self._requests):
            if not self.job.seconds:
                return None
            self._next = 0
        self._next += 1
        return self._requests[self._next - 1]

    def done(self) -> Done:
        return Done(
            time.perf_counter() - self.started,
            self.answers,
            self.bytes,
            self.whole_answers,
            len(self.chain),
            time.process_time() - self.computed,
            Times.of(self.first),
            Times.of(self.whole),
            Times.of(self.chain),
        )


class _Connection:
    """One keep-alive connection."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._head = b""
        self._left = -1  # bytes of the body that are still to come; -1 while headers are
        self._chain: list[tuple[bytes, Ask]] = []
        self._step = 0
        self._sent = self._begun = 0.0
        self._seen = False
        self.socket = _connected(run.job)
        self._flags = 0 if run.job.authority else socket.MSG_TRUNC

    def begin(self) -> bool:
        """Send the first request of the next chain; return whether there was one."""
        chain = self._run.take()
        if chain is None:
            return False
        self._chain, self._step = chain, 0
        self._begun = time.perf_counter()
        self._send()
        return True

    def receive(self, most: int = _CHUNK) -> bool:
        """Take what has come, at most so many bytes; return whether the connection has still something to do."""
        try:
            return self._receive_body(most) if self._left >= 0 else self._receive_head()
        except (BlockingIOError, ssl.SSLWantReadError):
            return True

    def _send(self) -> None:
        self._left, self._seen = -1, False
        self._sent = time.perf_counter()
        self.socket.send(self._chain[self._step][0])  # requests are shorter than any send buffer

    def _receive_head(self) -> bool:
        data = self.socket.recv(_DRIP_BUFFER)
        if not data:
            raise _FailedError("the connection ended before an answer")
        self._head += data
        end = self._head.find(_END)
        if end < 0:
            return True
        head, rest = self._head[: end + 2], len(self._head) - end - len(_END)
        self._head = b""
        ask = self._chain[self._step][1]
        status = head[9:12]
        if status not in {b"200", b"206"}:
            raise _FailedError(f"{ask.method} {ask.path} was answered {head[:60]!r}")
        if status == b"200" and ask.first >= 0:
            self._run.whole_answers += 1
        length = _LENGTH.search(head)
        if ask.method == "HEAD":
            self._left = 0
        elif length is None:
            raise _FailedError(f"{ask.method} {ask.path}: the answer has no Content-Length")
        else:
            self._left = int(length[1])
        return self._count(rest)

    def _receive_body(self, most: int) -> bool:
        got = self.socket.recv_into(self._run.buffer, min(self._left, most), self._flags)
        if not got:
            raise _FailedError(f"the connection ended {self._left} bytes before the end of a body")
        return self._count(got)

    def _count(self, got: int) -> bool:
        run = self._run
        run.bytes += got
        self._left -= got
        if not self._seen and (got or not self._left):
            self._seen = True
            run.first.append(time.perf_counter() - self._sent)
        if self._left:
            return True
        now = time.perf_counter()
        run.answers += 1
        run.whole.append(now - self._sent)
        self._step += 1
        if self._step < len(self._chain):
            self._send()
            return True
        run.chain.append(now - self._begun)
        return self.begin()


def perform(job: Job) -> Done:
    """Do the job; what fails is told in `Done.error`."""
    run = _Run(job)
    try:
        connections = [_Connection(run) for _ in range(job.connections)]
        run.started, run.computed = time.perf_counter(), time.process_time()
        busy = [connection for connection in connections if connection.begin()]
        if job.rate:
            _drip(run, busy)
        else:
            _race(busy)
    except (_FailedError, OSError) as error:
        return Done(error=str(error) or repr(error))
    return run.done()


def _race(busy: list[_Connection]) -> None:
    poll = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in busy}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    while by_number:
        events = poll.poll(_SILENCE)
        if not events:
            raise _FailedError(f"no byte for {_SILENCE:.0f} s")
        for number, _ in events:
            if not by_number[number].receive():
                poll.unregister(number)
                by_number.pop(number).socket.close()


def _drip(run: _Run, busy: list[_Connection]) -> None:
    bite = max(1, int(run.job.rate * _TICK))
    ticks = int(run.job.seconds / _TICK)
    for tick in range(ticks):
        busy = [connection for connection in busy if connection.receive(bite)]
        time.sleep(max(0.0, run.started + (tick + 1) * _TICK - time.perf_counter()))


def _connected(job: Job) -> socket.socket:
    plain = socket.socket()
    if job.rate:
        # Before connecting: what waits here unread would be counted as the server's memory.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _DRIP_BUFFER)
    plain.connect(("127.0.0.1", job.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = plain
    if job.authority:
        context = ssl.create_default_context(cafile=job.authority)
        connection = context.wrap_socket(plain, server_hostname="localhost")
    connection.settimeout(0)
    return connection


def _encoded(ask: Ask, port: int) -> bytes:
    ranged = f"Range: bytes={ask.first}-{ask.last}\r\n" if ask.first >= 0 else ""
    head = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {ACCEPT}\r\n{ranged}\r\n"
    return head.encode()


def read_done(text: str) -> Done:
    """Return what a result file tells."""
    document = json.loads(text)
    times = {name: Times(**document.pop(name)) for name in ("first", "whole", "chain")}
    return Done(**{**document, **times})


def main() -> None:
    """Do the job that the named file describes."""
    file = Path(sys.argv[1])
    document = json.loads(file.read_text())
    document["chains"] = [[Ask(*ask) for ask in chain] for chain in document["chains"]]
    result = json.dumps(asdict(perform(Job(**document))))
    file.with_suffix(".done").write_text(result)


if __name__ == "__main__":
    main()
