"""The audit trail of a server with several workers."""

import base64
import json
import os
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.support.identities import put, user_line
from tests.support.pullthrough import Pullthrough

pytestmark = pytest.mark.e2e

WORKERS = 3
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Pullthrough]:
    put(tmp_path / "users", user_line("ann", "a"))
    settings = {
        "server": {"workers": WORKERS},
        "auth": {"htpasswd": str(tmp_path / "users")},
        "rules": [{"prefix": "a", "upstream": "a.example"}],
    }
    # A path of its own, since workers meet at sockets, whose paths must be short: a test's folder may be too deep.
    with TemporaryDirectory(prefix="workers-") as temporary:
        yield Pullthrough(tmp_path / "proxy", settings, environment={**os.environ, "TMPDIR": temporary})


def told(proxy: Pullthrough) -> list[tuple[str, str | None, str]]:
    lines = (json.loads(line) for line in proxy.layout.audit.read_text().splitlines())
    return [(event["operation"], event.get("reference"), event["result"]) for event in lines]


def write(proxy: Pullthrough, **sections: Any) -> None:  # noqa: ANN401 - sections of the configuration
    document = {**yaml.safe_load(proxy.file.read_text()), **sections}
    fresh = proxy.file.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(document))
    fresh.replace(proxy.file)


def until(proxy: Pullthrough, event: str, times: int) -> None:
    """Return when that many workers have told the log."""
    proxy.process.wait_until(lambda: len(proxy.events(event)) >= times, f"{times} times {event}")


def workers_of(proxy: Pullthrough) -> set[int]:
    pid = proxy.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_each_change_that_all_workers_take_over_is_told_once(proxy: Pullthrough, tmp_path: Path) -> None:
    with proxy:
        until(proxy, "server.listening", WORKERS)
        write(proxy, log={"format": "json", "level": "debug"})
        until(proxy, "config.reloaded", WORKERS)
        write(proxy, rules=[])
        os.kill(proxy.process.pid, signal.SIGHUP)
        until(proxy, "config.reloaded", 2 * WORKERS)
        write(proxy, rules="none")
        until(proxy, "config.reload_failed", WORKERS)
        os.kill(proxy.process.pid, signal.SIGHUP)
        until(proxy, "config.reload_failed", 2 * WORKERS)
        write(proxy, rules=[], uploads={"expire_after": "48h"})
        until(proxy, "config.restart_needed", WORKERS)
        put(tmp_path / "users", user_line("ann", "a"), user_line("bob", "b"))
        until(proxy, "identity.file", 2 * WORKERS)
        put(tmp_path / "users", "no user")
        until(proxy, "identity.file_refused", WORKERS)
    assert told(proxy) == [
        ("config:Reload", "log.level", "done"),
        ("config:Reload", "rules", "done"),
        ("config:Reload", None, "INVALID"),
        ("config:Reload", None, "RESTART_NEEDED"),
        ("auth:Reload", "auth.htpasswd", "done"),
        ("auth:Reload", "auth.htpasswd", "INVALID"),
    ]


def test_a_change_while_workers_are_killed_is_told_once(proxy: Pullthrough) -> None:
    with proxy:
        until(proxy, "server.listening", WORKERS)
        write(proxy, log={"format": "json", "level": "debug"})
        until(proxy, "config.reloaded", WORKERS)
        for pid in workers_of(proxy):
            os.kill(pid, signal.SIGSTOP)
        write(proxy, rules=[])
        # None of them has seen it; those in their place begin with it.
        for pid in workers_of(proxy):
            os.kill(pid, signal.SIGKILL)
        until(proxy, "server.listening", 2 * WORKERS)
        proxy.process.wait_until(lambda: len(told(proxy)) > 1, "it is told")
    assert told(proxy) == [("config:Reload", "log.level", "done"), ("config:Reload", None, "done")]


def test_what_was_confirmed_has_its_line_though_workers_are_killed(proxy: Pullthrough) -> None:
    """Push until each worker was killed amid it: a line for each answer, and none twice."""
    credentials = base64.b64encode(b"ann:a").decode()
    confirmed: list[str] = []

    def push(number: int) -> None:
        tag, manifest = f"t{number}", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": INDEX}
        request = urllib.request.Request(  # noqa: S310 - loopback only
            f"{proxy.url}/v2/team/app/manifests/{tag}", data=manifest, headers=headers, method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
                assert answer.status == HTTPStatus.CREATED
        except (ConnectionError, urllib.error.URLError, HTTPException):
            return  # its worker was killed: it may be there, or not
        confirmed.append(tag)

    with proxy:
        until(proxy, "server.listening", WORKERS)
        with ThreadPoolExecutor(8) as clients:
            pushes = [clients.submit(push, number) for number in range(240)]
            for worker, number in zip(workers_of(proxy), (40, 100, 160), strict=True):
                pushes[number].result()
                os.kill(worker, signal.SIGKILL)
            for each in pushes:
                each.result()
    lines = [json.loads(line) for line in proxy.layout.audit.read_text().splitlines()]
    tags = Counter(line["reference"] for line in lines if line["operation"] == "ecr:PutImage")
    assert len(confirmed) > 160
    assert set(confirmed) <= tags.keys()
    assert set(tags.values()) == {1}
    assert {(line["principal"], line["result"]) for line in lines if line["operation"] == "ecr:PutImage"} == {
        ("ann", "done")
    }
    made = [line for line in lines if line["operation"] == "ecr:CreateRepository"]
    assert [(line["principal"], line["subject"]) for line in made] == [("system:create_on_push", "team/app")]
