"""Rules of the house that no linter knows."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.clients import SHIPPED

ROOT = Path(__file__).parents[2]
LONGEST = 600
SOURCES = sorted(
    path for folder in ("proxy", "tests", "benchmarks", "requirements") for path in (ROOT / folder).rglob("*.py")
)
PRODUCT = [path for path in SOURCES if path.is_relative_to(ROOT / "proxy")]
PINS = sorted((ROOT / "requirements").glob("*.txt"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_module_has_more_than_600_lines() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in SOURCES}

    assert {module: length for module, length in lengths.items() if length > LONGEST} == {}


def test_every_module_of_the_product_says_what_it_is_for() -> None:
    docstrings = {name(path): ast.get_docstring(ast.parse(path.read_text())) or "" for path in PRODUCT}

    assert [
        module for module, text in docstrings.items() if not text.partition("\n")[0].endswith((".", ":", "?"))
    ] == []


def test_what_is_switched_off_for_a_line_says_why() -> None:
    switch = re.compile(r"#\s*(?:ruff: )?(?:noqa|type: ignore)\b[^\n]*")
    found = [(name(path), comment) for path in SOURCES for comment in switch.findall(path.read_text())]

    assert [(module, comment) for module, comment in found if re.search(r"\S (-|#) \S", comment) is None] == []


@pytest.mark.parametrize("path", PINS, ids=name)
def test_every_requirement_is_pinned_with_its_hashes_and_names_no_place(path: Path) -> None:
    text = path.read_text()
    requirements = [line for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]

    assert requirements
    for requirement in requirements:
        assert re.fullmatch(r"[a-z0-9._-]+==\S+( ; [^-]+)?(\s+--hash=sha256:[0-9a-f]{64})+", requirement), requirement
    assert re.search(r"://|--index|--find-links|--trusted-host|(^|\s)/", text) is None


def test_the_pins_cover_what_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {
        "runtime.txt": project["project"]["dependencies"],
        "build.txt": project["build-system"]["requires"],
        "dev.txt": [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]],
    }
    for file, requirements in declared.items():
        pinned = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / file).read_text(), re.MULTILINE))
        wanted = {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in requirements}
        assert wanted <= pinned, file


def test_the_tools_that_are_pinned_are_those_that_are_declared() -> None:
    printed = subprocess.run(
        [sys.executable, ROOT / "requirements" / "declared.py", "build"], capture_output=True, text=True, check=True
    ).stdout

    assert printed.splitlines()[:-1] == tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]


@pytest.mark.parametrize("path", sorted(SHIPPED.iterdir()), ids=name)
def test_the_clients_files_point_to_the_ports_of_the_default_configuration(path: Path) -> None:
    default = (ROOT / "config" / "pullthrough.yaml").read_text()

    ports = set(re.findall(r"127\.0\.0\.1:(\d+)", path.read_text()))
    assert ports
    assert all(re.search(rf"port: {port}\b", default) for port in ports)
