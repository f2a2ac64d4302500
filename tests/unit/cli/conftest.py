"""A configuration with a store of its own, and the command line on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.commands import app


class Shell:
    """The command line, in this process."""

    def __init__(self, config: Path) -> None:
        self.config = config

    def run(self, *arguments: str, code: int = 0, given: str = "") -> tuple[str, str]:
        """Return what a command prints on standard output and standard error; `given` is its standard input."""
        result = CliRunner().invoke(app, [*arguments, "--config", str(self.config)], input=given)
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout, result.stderr

    def ask(self, *arguments: str, given: str = "") -> Any:  # noqa: ANN401 - what JSON holds
        """Return the JSON that a command prints."""
        out, err = self.run(*arguments, "--json", given=given)
        assert err == ""
        return json.loads(out)

    def refusal(self, *arguments: str, code: int, given: str = "") -> str:
        """Return the one line on standard error with which a command leaves."""
        out, err = self.run(*arguments, code=code, given=given)
        assert (out, err.count("\n")) == ("", 1), err
        return err.strip()


@pytest.fixture
def make_shell(tmp_path: Path) -> Callable[[str], Shell]:
    """Return what makes a shell with more configuration than its own store."""

    def make(more: str) -> Shell:
        config = tmp_path / "pullthrough.yaml"
        config.write_text(f"storage: {{path: '{tmp_path / 'store'}'}}\n{more}", encoding="utf-8")
        return Shell(config)

    return make
