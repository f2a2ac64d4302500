"""What a program and the processes that it started use, as the kernel counts it."""

import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GONE = (FileNotFoundError, ProcessLookupError)
_POLL = 0.1
_IDLE = 0.003
_PATIENCE = 5.0


def processes(pid: int) -> Iterator[int]:
    """Yield a process and all below it that live."""
    yield pid
    for task in _tasks(pid):
        with suppress(*_GONE):
            for child in task.joinpath("children").read_text().split():
                yield from processes(int(child))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a program has used, to the nanosecond; that of children which ended is lost."""
    total = 0.0
    for each in processes(pid):
        with suppress(OSError):
            # The clock of another process: clock_getcpuclockid(3) makes its number from the pid like this.
            total += time.clock_gettime(~each << 3 | 2)
    return total


def settle(pid: int) -> None:
    """Wait until a program has finished what it still does after its last answer, for 5 s at most."""
    deadline = time.monotonic() + _PATIENCE
    used = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(_POLL)
        before, used = used, cpu_seconds(pid)
        if used - before < _IDLE:
            return


def forget_peak(pid: int) -> None:
    """Begin to look for the most memory anew."""
    for each in processes(pid):
        with suppress(*_GONE):
            Path(f"/proc/{each}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """Return the most memory that a program had resident since `forget_peak`, summed over its processes."""
    total = 0
    for each in processes(pid):
        with suppress(*_GONE):
            total += int(Path(f"/proc/{each}/status").read_text().partition("VmHWM:")[2].split()[0]) << 10
    return total


def socket_bytes() -> int:
    """Return the memory that the buffers of all TCP connections of the machine occupy in the kernel."""
    line = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:"))
    words = line.split()
    return int(words[words.index("mem") + 1]) * resource.getpagesize()


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except _GONE:
        return []
