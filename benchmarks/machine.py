"""What the figures depend on, without naming whose machine it is."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """The processor, its cores, GiB of memory, and the software beneath."""

    processor: str
    cores: int
    memory: int
    system: str
    python: str

    @classmethod
    def here(cls) -> "Machine":
        """Return this machine."""
        names = (line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
        processor = next(names, platform.processor() or platform.machine()).strip()
        memory = int(_lines("/proc/meminfo")[0].split()[1]) / (1 << 20)
        cores = len(os.sched_getaffinity(0))
        system = f"{platform.system()} {platform.release().partition('-')[0]}"
        return cls(processor, cores, round(memory), system, platform.python_version())

    @property
    def label(self) -> str:
        """Return a name for files: the processor and its cores."""
        words = re.sub(r"\((R|TM)\)|@.*|\b(CPU|Processor)\b", " ", self.processor, flags=re.IGNORECASE)
        name = "-".join(re.findall(r"[a-z0-9]+", words.lower()))
        return f"{name}-{self.cores}-cores"

    def __str__(self) -> str:
        return f"{self.processor}, {self.cores} cores, {self.memory} GiB; {self.system}, Python {self.python}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
