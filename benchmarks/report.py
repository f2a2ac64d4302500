"""Print the table and keep it: as text for people, as JSON for programs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.budgets import Verdict
from benchmarks.machine import Machine
from benchmarks.options import Options
from benchmarks.servers import OURS
from benchmarks.sheet import Line, Sheet, is_ours, spread

RESULTS = Path(__file__).parent / "results"
WIDTH = 170
_PART = "-part"


@dataclass(frozen=True)
class Outcome:
    """All of a run: `date` in ISO form, `seconds` by scenario."""

    date: str
    machine: Machine
    options: Options
    sheet: Sheet
    verdicts: list[Verdict]
    seconds: dict[str, float]


def report(outcome: Outcome) -> list[Path]:
    """Print the tables and write both files, whose paths are returned; a run of a part has names of its own."""
    part = "" if outcome.options.whole else _PART
    stem = f"{outcome.date}-{outcome.machine.label}{part}"
    RESULTS.mkdir(exist_ok=True)
    text, data = RESULTS / f"{stem}.txt", RESULTS / f"{stem}.json"
    with text.open("w") as file:
        for console in (Console(width=WIDTH), Console(file=file, width=WIDTH)):
            _print(console, outcome)
    data.write_text(json.dumps(_document(outcome), indent=1) + "\n")
    return [text, data]


def _print(console: Console, outcome: Outcome) -> None:
    options = outcome.options
    console.print(f"{outcome.date}, {outcome.machine}", highlight=False, soft_wrap=True)
    console.print(
        f"rounds {options.rounds}, {options.seconds} s each; workers {options.workers or 'by default'}; "
        f"{sum(outcome.seconds.values()):.0f} s in all{'; QUICK, figures mean little' if options.quick else ''}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_figures(outcome.sheet))
    console.print(_goals(outcome.verdicts))
    strains = ", ".join(f"{name} {share:.0%}" for name, share in outcome.sheet.strains.items())
    console.print(f"the load client's largest share of a core: {strains}", highlight=False, soft_wrap=True)
    for (work, name), reason in outcome.sheet.failures.items():
        console.print(f"{name}: {work}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _figures(sheet: Sheet) -> Table:
    title = f"median (least-most) of the rounds; (more), (less): is better; ratio: {OURS} / that server, by rounds"
    table = Table(title=title, title_justify="left")
    for column in ("work", "server", "figure", "unit", "ratio"):
        table.add_column(column, justify="right" if column in {"figure", "ratio"} else "left", no_wrap=True)
    work = ""
    for line in sheet.lines:
        if line.work != work:
            table.add_section()
        for number, (name, values) in enumerate(line.values.items()):
            table.add_row(
                line.work if line.work != work else "",
                name,
                spread(values, line.quantity.digits),
                f"{line.quantity.unit} ({'more' if line.quantity.more else 'less'})" if not number else "",
                _ratio(line, name),
                style="bold" if is_ours(name) else "",
            )
            work = line.work
    return table


def _ratio(line: Line, name: str) -> str:
    ratios = line.ratios(OURS, name) if name != OURS else []
    return spread(ratios, 2) if ratios else ""


def _goals(verdicts: list[Verdict]) -> Table:
    table = Table(title="goals", title_justify="left")
    for column in ("goal", "measured", "verdict"):
        table.add_column(column)
    for verdict in verdicts:
        table.add_row(verdict.goal, verdict.measured, verdict.word)
    return table


def _document(outcome: Outcome) -> dict[str, object]:
    sheet = outcome.sheet
    # A path of the machine is nobody's concern.
    options = {**asdict(outcome.options), "distribution": outcome.options.distribution is not None}
    return {
        "date": outcome.date,
        "machine": asdict(outcome.machine),
        "options": options,
        "seconds": {name: round(taken, 1) for name, taken in outcome.seconds.items()},
        "load_client": {name: round(share, 3) for name, share in sheet.strains.items()},
        "lines": [
            {
                "scenario": line.scenario,
                "work": line.work,
                "unit": line.quantity.unit,
                "more_is_better": line.quantity.more,
                "values": line.values,
            }
            for line in sheet.lines
        ],
        "failures": [{"work": work, "server": name, "reason": why} for (work, name), why in sheet.failures.items()],
        "goals": [{**asdict(verdict), "verdict": verdict.word} for verdict in outcome.verdicts],
    }
