"""``python -m tests.fuzz TARGET… --seconds N``: let Atheris look for inputs at which parsers break their contracts.

Each target has N seconds; without one, all are tried. Inputs at which a parser fails, or takes too long, are written to
the folder `--findings` under names that begin with the target's, and end the run with status 1.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped] # it has none

with atheris.instrument_imports(include=["proxy"]):
    from tests.fuzz.targets import SIZE, TARGETS

# Seconds after which an input counts as one at which the parser hangs, and MiB that it may cost.
_HANG = 10
_MEMORY = 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", choices=[[], *sorted(TARGETS)], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--findings", type=Path, default=Path.cwd())
    asked = parser.parse_args()
    failed = [name for name in asked.targets or sorted(TARGETS) if not _passes(name, asked.seconds, asked.findings)]
    sys.stdout.write("".join(f"{name} breaks its contract: see {asked.findings}/{name}-*\n" for name in failed))
    return 1 if failed else 0


def _passes(name: str, seconds: int, findings: Path) -> bool:
    """Fuzz in a process of its own: Atheris ends the one that it runs in."""
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(TARGETS[name].seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        child = os.fork()
        if child == 0:
            options = [
                f"-max_total_time={seconds}",
                f"-timeout={_HANG}",
                f"-rss_limit_mb={_MEMORY}",
                f"-max_len={SIZE}",
                f"-artifact_prefix={findings}/{name}-",
            ]
            atheris.Setup([sys.argv[0], *options, corpus], TARGETS[name].feed)
            atheris.Fuzz()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    sys.exit(main())
