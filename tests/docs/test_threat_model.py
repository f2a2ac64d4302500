"""The threat model names tests that exist, and surfaces as they are."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| threat"))
]


def names_of_tests() -> set[str]:
    found = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(node.name)
    return found


def test_every_threat_is_answered_and_shown() -> None:
    named = {name for row in ROWS for name in re.findall(r"`(test_\w+)`", row[3])}
    assert sorted(named - names_of_tests()) == []
    assert all(row[2] and re.search(r"`test_\w+`", row[3]) for row in ROWS)


def test_every_letter_of_stride_is_there_and_no_other() -> None:
    letters = {letter for row in ROWS for letter in row[1].split()}
    assert letters == set("STRIDE")
