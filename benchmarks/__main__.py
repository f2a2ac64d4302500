"""Compare the product with its peers: ``python -m benchmarks [SCENARIO...]``; docs/performance.md tells the method."""

import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from benchmarks.budgets import judged
from benchmarks.machine import Machine
from benchmarks.options import Options, parse
from benchmarks.report import Outcome, report
from benchmarks.scenarios import SCENARIOS
from benchmarks.sheet import FAILURES, Sheet
from benchmarks.stage import Stage, Tools, has_speedups


def main() -> None:
    """Run the chosen scenarios one after the other, and report; whatever was started ends with the run."""
    options = parse(sys.argv[1:], SCENARIOS)
    signal.signal(signal.SIGTERM, _leave)
    tools = Tools.obtain()
    if "nginx" not in tools.found:
        sys.exit(f"no upstream to measure with: {tools.missing['nginx']}")
    sheet = Sheet(options.rounds)
    for name, reason in tools.missing.items():
        sheet.fail("all", name, reason)
    with tempfile.TemporaryDirectory(prefix="pullthrough-bench-", ignore_cleanup_errors=True) as name:
        seconds = measure(Path(name), tools, options, sheet)
    verdicts = [
        each for each in judged(sheet, options.rows, speedups=has_speedups()) if each.measured or not options.scenarios
    ]
    outcome = Outcome(datetime.now(UTC).date().isoformat(), Machine.here(), options, sheet, verdicts, seconds)
    for file in report(outcome):
        print(file, file=sys.stderr)


def measure(folder: Path, tools: Tools, options: Options, sheet: Sheet) -> dict[str, float]:
    """Fill the sheet, and return how long each scenario took; one that fails as a whole is named in the sheet."""
    seconds: dict[str, float] = {}
    for name in options.scenarios or SCENARIOS:
        print(f"{name}:", file=sys.stderr)
        begun = time.perf_counter()
        sheet.scenario = name
        try:
            with Stage(folder / name, tools, options, sheet) as stage:
                SCENARIOS[name](stage, sheet)
                sheet.strains[name] = stage.driver.strain
        except FAILURES as error:
            sheet.fail(f"the scenario {name}", "all", (str(error).strip().splitlines() or [repr(error)])[-1])
        shutil.rmtree(folder / name, ignore_errors=True)
        seconds[name] = time.perf_counter() - begun
    return seconds


def _leave(number: int, _: FrameType | None) -> None:
    """End by an exception, so that every process that was started is ended."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
