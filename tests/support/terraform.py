"""Terraform with its aws provider, both as this machine has them: nothing is fetched for it.

The provider comes from a filesystem mirror, which is what a machine without internet has. Where it is: in the folders
that the user's own CLI configuration names, in those where Terraform looks by itself, or in a folder of ``/opt``.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.parts import Toolbox

_PROVIDER = Path("registry.terraform.io", "hashicorp", "aws")
_SECONDS = 120


def require() -> tuple[Toolbox, Path]:
    """Return Terraform and the mirror with its aws provider; skip the test where one of them is not on the machine."""
    toolbox = Toolbox(root=None)
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    mirror = next((folder for folder in _mirrors() if any((folder / _PROVIDER).glob("*"))), None)
    if mirror is None:
        pytest.skip(f"there is no filesystem mirror with {_PROVIDER} on this machine")
    return toolbox, mirror


class Terraform:
    """One working folder: its configuration, its state, and the command that works on them."""

    def __init__(self, toolbox: Toolbox, mirror: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        configuration = {"provider_installation": [{"filesystem_mirror": [{"path": str(mirror)}]}]}
        (folder / "cli.tfrc.json").write_text(json.dumps(configuration))
        inherited = {key: value for key, value in toolbox.environment().items() if not key.startswith(("AWS_", "TF_"))}
        self._environment = {
            **inherited,
            "AWS_CONFIG_FILE": str(folder / "no-config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": str(folder / "cli.tfrc.json"),
            "TF_IN_AUTOMATION": "1",
        }
        self._terraform = toolbox.program("terraform")

    def write(self, configuration: str, variables: Mapping[str, object]) -> None:
        """Put a configuration and the values of its variables in place of those of before."""
        (self.folder / "main.tf").write_text(configuration)
        (self.folder / "terraform.tfvars.json").write_text(json.dumps(variables))

    def init(self) -> None:
        self._run("init", "-input=false")

    def plan(self) -> dict[str, set[str]]:
        """Return the addresses of what would be changed, by ``create``, ``update``, ``replace``, ``import`` and so on.

        What changed behind Terraform's back is read anew for it.
        """
        return _changes(self._run("plan", "-input=false", "-json"))

    def apply(self) -> dict[str, set[str]]:
        """Do what `plan` would say, and return that. One command: each has to start the provider, which takes long."""
        return _changes(self._run("apply", "-input=false", "-auto-approve", "-json"))

    def outputs(self) -> dict[str, Any]:
        """Return the values of the outputs."""
        return {name: output["value"] for name, output in json.loads(self._run("output", "-json")).items()}

    def state(self) -> set[str]:
        """Return the addresses of everything in the state."""
        return set(self._run("state", "list").split())

    def forget(self, *addresses: str) -> None:
        """Remove resources from the state, not from the registry."""
        self._run("state", "rm", *addresses)

    def destroy(self) -> None:
        self._run("destroy", "-input=false", "-auto-approve", "-json")

    def _run(self, *arguments: str) -> str:
        """Return what a command prints; raise AssertionError with what it complained of if it fails."""
        done = subprocess.run(
            [self._terraform, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        complaints = "\n".join(line for line in done.stdout.splitlines() if '"error"' in line)
        assert done.returncode == 0, f"terraform {arguments[0]}: {done.returncode}\n{complaints}\n{done.stderr}"
        return done.stdout


def _changes(printed: str) -> dict[str, set[str]]:
    """Return what the events of a plan say."""
    changes: dict[str, set[str]] = {}
    for event in map(json.loads, printed.splitlines()):
        if event["type"] == "planned_change" and event["change"]["action"] not in {"noop", "read"}:
            changes.setdefault(event["change"]["action"], set()).add(event["change"]["resource"]["addr"])
    return changes


def _mirrors() -> Iterator[Path]:
    """Yield the folders in which providers may lie, in the order in which they are preferred."""
    named = os.environ.get("TF_CLI_CONFIG_FILE")
    for file in (Path(named) if named else None, Path.home() / ".terraformrc"):
        if file is not None and file.is_file():
            # The language is HCL; of it only the paths of mirrors matter here.
            text = file.read_text(encoding="utf-8")
            for block in re.findall(r"filesystem_mirror\"?\s*[:=]?\s*\[?\s*\{([^}]*)\}", text):
                yield from (Path(path).expanduser() for path in re.findall(r"path\"?\s*[:=]\s*\"([^\"]+)\"", block))
    # https://developer.hashicorp.com/terraform/cli/config/config-file#implied-local-mirror-directories
    yield Path.home() / ".terraform.d" / "plugins"
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    more = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    for folder in (data, *more.split(":")):
        yield Path(folder) / "terraform" / "plugins"
    yield from (Path("/usr/local/share/terraform/plugins"), Path("/usr/share/terraform/plugins"))
    yield from sorted(Path("/opt").glob("*"))
