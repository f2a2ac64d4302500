"""The targets by Atheris, for a moment each; `python -m tests.fuzz` goes on for as long as one likes."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

_SECONDS = 3
_AT_ONCE = 2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Atheris is made for Linux")


@pytest.mark.timeout(600)
def test_guided_fuzzing_finds_nothing(tmp_path: Path) -> None:
    parts = [sorted(TARGETS)[part::_AT_ONCE] for part in range(_AT_ONCE)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        ran = list(threads.map(partial(_fuzz, tmp_path), parts))
    for names, done in zip(parts, ran, strict=True):
        assert done.returncode == 0, done.stdout + done.stderr[-8000:]
        assert done.stderr.count("Done ") == len(names)
    assert list(tmp_path.iterdir()) == []


def _fuzz(findings: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *names, "--seconds", str(_SECONDS), "--findings", str(findings)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])


def test_a_broken_contract_is_found(tmp_path: Path) -> None:
    program = """
import sys
from tests.fuzz import targets
from tests.fuzz.__main__ import main

def fail(data):
    targets.require(b"!" not in data, "no mark")

targets.TARGETS["range"] = targets.Target(fail, (b"a!",))
sys.exit(main())
"""
    command = [sys.executable, "-c", program, "range", "--seconds", "60", "--findings", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode == 1
    assert "range breaks its contract" in ran.stdout
    assert [path.name.partition("-")[0] for path in tmp_path.iterdir()] == ["range"]
