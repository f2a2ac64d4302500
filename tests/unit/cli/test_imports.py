"""What a command imports: nobody waits for what it does not need. Sets are looked at, not times."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import free_port

PRODUCT = [sys.executable, "-X", "importtime", "-m", "proxy"]
AWS = {"boto3", "botocore", "urllib3", "proxy.http.aws.dispatch", "proxy.http.aws.signatures"}
IDENTITY = {"jwt", "cryptography.x509", "proxy.identity.oidc.assertions"}
SUPERVISOR = {"gunicorn", "proxy.app.workers"}
SERVER = {"aiohttp", "sqlalchemy", "uvloop", "structlog", "proxy.http.server"}

LINE = re.compile(r"import time:[ \d]+\|[ \d]+\|\s+(\S+)")

OIDC = """
auth:
  oidc: [{name: ci, issuer: 'https://issuer.example', audience: registry}]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pullthrough.yaml"
    path.write_text(
        f"server: {{port: {free_port()}}}\nstorage: {{path: '{tmp_path / 'store'}'}}\n"
        "rules: [{prefix: a, upstream: a.example}]\n",
        encoding="utf-8",
    )
    return path


def imported(text: str) -> set[str]:
    return {found[1] for line in text.splitlines() if (found := LINE.fullmatch(line))}


def imports_of(*arguments: str | Path) -> set[str]:
    done = subprocess.run([*PRODUCT, *arguments], capture_output=True, text=True, timeout=60, check=True)
    return imported(done.stderr)


def imports_of_start(config: Path) -> set[str]:
    """Return what a server has imported once it listens, and until it has ended without having been asked anything."""

    def lines(server: subprocess.Popen[str]) -> Iterator[str]:
        assert server.stderr is not None
        for line in server.stderr:
            yield line
            if '"server.listening"' in line:
                server.send_signal(signal.SIGTERM)

    with subprocess.Popen([*PRODUCT, "serve", "--config", config], stderr=subprocess.PIPE, text=True) as server:
        try:
            text = "".join(lines(server))
        finally:
            server.kill()
    assert '"server.listening"' in text, text[-2000:]
    return imported(text)


def test_a_server_imports_what_it_serves_by_and_nothing_for_what_is_not_configured_or_not_asked_for(
    config: Path,
) -> None:
    found = imports_of_start(config)
    assert found >= SERVER
    assert not found & (AWS | IDENTITY | SUPERVISOR)


def test_a_server_imports_no_migrations_for_a_store_that_is_new_or_as_it_should_be(config: Path) -> None:
    for found in (imports_of_start(config), imports_of_start(config)):
        assert "sqlalchemy" in found
        assert "alembic" not in found


def test_identity_providers_bring_what_verifies_their_tokens(config: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write(OIDC)
    found = imports_of_start(config)
    assert "jwt" in found
    assert not found & (AWS | SUPERVISOR)


def test_several_workers_bring_their_supervisor(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("server: {", "server: {workers: 2, "), encoding="utf-8")
    found = imports_of_start(config)
    assert found >= SUPERVISOR
    assert not found & (AWS | IDENTITY)


def test_the_version_is_told_without_the_product() -> None:
    found = imports_of("--version")
    assert "proxy.cli.commands" in found
    assert not found & (AWS | IDENTITY | SUPERVISOR | SERVER | {"pydantic", "proxy.config.settings"})


@pytest.mark.parametrize("command", [["check-config"], ["resolve", "a/b:1"]])
def test_looking_at_the_configuration_takes_no_server(command: list[str], config: Path) -> None:
    found = imports_of(*command, "--config", config)
    assert "proxy.config.settings" in found
    assert not found & (AWS | IDENTITY | SUPERVISOR | SERVER)


@pytest.mark.parametrize("command", ["users", "access-keys"])
def test_files_of_identities_take_no_server(command: str, config: Path, tmp_path: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write(f"auth: {{htpasswd: '{tmp_path}/users', access_keys: '{tmp_path}/keys'}}\n")
    found = imports_of(command, "list", "--config", config)
    assert "proxy.cli.identity_files" in found
    assert not found & ((AWS | IDENTITY | SUPERVISOR | SERVER) - {"structlog"})


def test_work_on_the_store_takes_no_surface_of_the_server(config: Path) -> None:
    found = imports_of("repositories", "list", "--config", config)
    assert "sqlalchemy" in found
    assert not found & (AWS | IDENTITY | SUPERVISOR | {"proxy.http", "aiohttp.web"})
