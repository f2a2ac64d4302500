"""The commands that need the store or listen, each as a process of its own."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

PROGRAM = [sys.executable, "-m", "proxy"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pullthrough.yaml"
    path.write_text(
        f"server: {{port: 0}}\nstorage: {{path: '{tmp_path / 'store'}'}}\n"
        # Port 1 of loopback: nothing listens there.
        "upstreams: {connect_to: {a.example: '127.0.0.1:1'}, budget: 2s}\n"
        "rules: [{prefix: a, upstream: a.example}]\n",
        encoding="utf-8",
    )
    return path


def run(*arguments: str | Path, **environ: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*PROGRAM, *arguments], env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_refresh_that_the_upstream_does_not_answer_is_a_failure_that_names_it(config: Path) -> None:
    code, out, err = run("refresh", "a/b:1", "--config", config)
    assert (code, out) == (1, "")
    assert "a.example" in err
    assert "Traceback" not in err


def test_purging_what_is_not_kept_says_so(config: Path) -> None:
    code, out, err = run("purge", "a/b", "--all", "--json", "--config", config)
    assert (code, json.loads(out), err) == (1, {"repository": "a/b", "purged": False}, "")


def test_hosted_content_is_not_purged(config: Path) -> None:
    code, out, err = run("purge", "own/b:1", "--config", config)
    assert (code, out) == (1, "")
    assert err.startswith("own/b is hosted here")


@pytest.mark.parametrize("command", [["serve"], ["refresh", "a/b"], ["purge", "a/b:1"], ["repositories", "list"]])
def test_a_store_that_cannot_be_opened_is_told_in_one_sentence(
    config: Path, command: list[str], tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    code, out, err = run(*command, "--config", config, PULLTHROUGH_STORAGE__PATH=str(in_the_way / "store"))
    assert (code, out) == (2, "")
    assert str(in_the_way) in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_port_in_use_is_told_in_one_sentence(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, out, err = run("serve", "--config", config, PULLTHROUGH_SERVER__PORT=port)
    assert (code, out) == (2, "")
    assert port in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.fixture
def server(config: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([*PROGRAM, "serve", "--config", config], stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_for(stream: IO[str] | None, event: str) -> dict[str, Any]:
    """Read the server's log up to an event."""
    assert stream is not None
    read = []
    for line in stream:
        read.append(line)
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    raise AssertionError("".join(read))


def test_a_server_reloads_when_its_file_is_saved_and_on_sighup_and_leaves_in_good_order(
    server: subprocess.Popen[str], config: Path
) -> None:
    wait_for(server.stderr, "server.listening")
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("prefix: a", "prefix: b"), encoding="utf-8")
    assert wait_for(server.stderr, "config.reloaded")["changed"] == ["rules"]
    config.write_text(text.replace("port: 0", "port: 7"), encoding="utf-8")
    server.send_signal(signal.SIGHUP)
    assert wait_for(server.stderr, "config.restart_needed")["keys"] == ["server.port"]
    config.write_text("rules: [", encoding="utf-8")
    server.send_signal(signal.SIGHUP)
    assert wait_for(server.stderr, "config.reload_failed")["faults"] == 1
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0


def test_a_server_that_is_still_starting_outlives_sighup(server: subprocess.Popen[str]) -> None:
    wait_for(server.stderr, "key.made")
    server.send_signal(signal.SIGHUP)
    wait_for(server.stderr, "server.listening")
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0


def test_a_running_server_takes_over_rules_that_a_command_makes(server: subprocess.Popen[str], config: Path) -> None:
    wait_for(server.stderr, "server.listening")
    assert run("rules", "create", "b", "b.example", "--config", config)[0] == 0
    assert wait_for(server.stderr, "rules.taken_over")["rules"] == ["b"]
    assert run("rules", "delete", "b", "--config", config)[0] == 0
    assert wait_for(server.stderr, "rules.taken_over")["rules"] == []
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0


def test_a_secret_is_asked_for_at_a_terminal_and_not_echoed(config: Path) -> None:
    near, far = pty.openpty()
    arguments = [*PROGRAM, "secrets", "put", "a", "--username", "u", "--config", str(config)]
    with subprocess.Popen(arguments, stdin=far, stdout=subprocess.PIPE, stderr=far, start_new_session=True) as process:
        os.close(far)
        shown = b""
        while b"password or token: " not in shown:
            shown += os.read(near, 1024)
        os.write(near, b"hush-hush\n")
        out = process.communicate(timeout=60)[0]
        shown += os.read(near, 1024)
    os.close(near)
    assert process.returncode == 0
    assert out.startswith(b"secret")
    assert b"hint" not in out
    assert b"hush-hush" not in shown + out


def test_a_password_is_asked_for_twice_at_a_terminal_and_not_echoed(config: Path, tmp_path: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write(f"auth: {{htpasswd: '{tmp_path}/users'}}\n")
    near, far = pty.openpty()
    arguments = [*PROGRAM, "users", "set", "alice", "--config", str(config)]
    with subprocess.Popen(arguments, stdin=far, stdout=subprocess.PIPE, stderr=far, start_new_session=True) as process:
        os.close(far)
        shown = b""
        for prompt in (b"password: ", b"confirmation: "):
            while not shown.endswith(prompt):
                shown += os.read(near, 1024)
            os.write(near, b"hush-hush\n")
        out = process.communicate(timeout=60)[0]
    os.close(near)
    assert process.returncode == 0
    assert b"added" in out
    assert b"hush-hush" not in shown + out
    assert (tmp_path / "users").read_text(encoding="utf-8").startswith("alice:$2b$12$")


def test_commands_at_the_same_time_lose_no_line(config: Path, tmp_path: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write(f"auth: {{access_keys: '{tmp_path}/keys'}}\n")
    names = [f"team{number}" for number in range(4)]
    arguments = [*PROGRAM, "access-keys", "create", "--config", str(config)]
    started = [subprocess.Popen([*arguments, name], stdout=subprocess.DEVNULL) for name in names]
    assert [process.wait(60) for process in started] == [0] * 4
    lines = (tmp_path / "keys").read_text(encoding="utf-8").splitlines()
    assert sorted(line.split()[2] for line in lines) == names
