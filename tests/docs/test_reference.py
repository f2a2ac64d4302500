"""Every setting, metric, error and command is documented, and the pages say what the code does."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from proxy.cli.commands import app
from proxy.config.schema import settings_of
from proxy.config.settings import LIVE
from proxy.http.aws.operations import State
from proxy.model.errors import ErrorCode, UpstreamFailure
from tests.docs import compatibility
from tests.docs.reference import DOCS, PAGES, declared_metrics, is_live

ROOT = DOCS.parent


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "generate"), PAGES.items(), ids=PAGES)
def test_a_generated_page_is_current(name: str, generate: Callable[[], str]) -> None:
    assert page(name) == f"{generate().rstrip()}\n", "run: python -m tests.docs.reference"


def test_every_setting_has_a_description_and_a_row() -> None:
    text = page("configuration.md")
    for setting in settings_of():
        assert setting.field.description, setting.key
        assert f"| `{setting.key.rpartition('.')[2]}` |" in text, setting.key


def test_every_metric_code_reason_and_command_has_its_place() -> None:
    metrics, errors, commands = page("metrics.md"), page("errors.md"), page("cli.md")
    for metric in declared_metrics():
        assert f"`{next(iter(metric.describe())).name}" in metrics
    assert all(f"| `{code.name}` | {code.status} |" in errors for code in ErrorCode)
    assert all(f"| `{failure.value}` |" in errors for failure in UpstreamFailure)
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"## {command.callback.__name__.replace('_', '-')}\n" in commands
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert f"## {group.name} {command.name}\n" in commands


def test_every_operation_of_every_model_is_in_the_table() -> None:
    _, *sections = re.split(r"^### ", page("ecr-compatibility.md"), flags=re.MULTILINE)
    for section, (service, operations) in zip(sections, compatibility.models().items(), strict=True):
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == operations, service


def test_the_table_says_of_every_operation_how_far_it_goes() -> None:
    text = page("ecr-compatibility.md")
    for service, (_, _, operations) in compatibility.SERVICES.items():
        assert set(operations) <= set(compatibility.models()[service])
        for name, operation in operations.items():
            told = f"{operation.state.value} | {compatibility.needs(operation)} | {operation.differences or '-'}"
            assert f"| `{name}` | {told} |" in text
            assert not operation.differences or operation.differences.endswith("."), name
            assert operation.state is not State.REFUSED or operation.differences, name


def test_every_live_key_exists() -> None:
    for live in LIVE:
        assert any(is_live(setting.key) and setting.key.startswith(live) for setting in settings_of())


def test_operations_tell_of_every_metric() -> None:
    text = page("operations.md")
    for metric in declared_metrics():
        assert f"`{next(iter(metric.describe())).name}" in text, metric


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").rglob("*")), ids=lambda path: path.name)
def test_no_shipped_file_opens_the_registry(path: Path) -> None:
    if path.is_file():
        told = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
        assert not re.search(r"auth\W{0,3}none|PULLTHROUGH_AUTH", "\n".join(told), re.IGNORECASE)


def test_the_default_configuration_does_not_open_the_registry() -> None:
    assert "auth" not in yaml.safe_load((ROOT / "config/pullthrough.yaml").read_text(encoding="utf-8"))


def test_the_files_for_clients_lead_every_registry_of_the_default_rules_here() -> None:
    rules = yaml.safe_load((ROOT / "config/pullthrough.yaml").read_text(encoding="utf-8"))["rules"]
    expected = {
        rule["upstream"].replace("registry-1.docker.io", "docker.io"): f"127.0.0.1:5000/{rule['prefix']}"
        for rule in rules
    }
    clients = ROOT / "deploy/clients"
    podman = tomllib.loads((clients / "registries.conf").read_text(encoding="utf-8"))["registry"]
    assert {entry["prefix"]: entry["mirror"][0]["location"] for entry in podman} == expected
    assert all(mirror["insecure"] for entry in podman for mirror in entry["mirror"])
    buildkit = tomllib.loads((clients / "buildkitd.toml").read_text(encoding="utf-8"))["registry"]
    assert buildkit.pop("127.0.0.1:5000") == {"http": True}
    assert {registry: entry["mirrors"] for registry, entry in buildkit.items()} == {
        registry: [mirror] for registry, mirror in expected.items()
    }
    containerd = tomllib.loads((clients / "hosts.toml").read_text(encoding="utf-8"))
    assert containerd["server"] in containerd["host"]
    docker = json.loads((clients / "daemon.json").read_text(encoding="utf-8"))
    assert docker == {"registry-mirrors": ["http://127.0.0.1:5001"]}


@pytest.mark.parametrize("path", sorted([*DOCS.rglob("*.md"), ROOT / "README.md"]), ids=lambda path: path.name)
def test_every_link_inside_the_documentation_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
