"""`pullthrough rules`: what is configured, and whether it works, as a process against registries on loopback."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.clock import FakeClock
from tests.support.upstream_registry import FakeRegistry, TokenServer, manifest_bytes
from tests.support.upstream_server import UpstreamServer, answering, failing

HUB, REGISTRY, AUTH = "registry-1.docker.io", "registry.example.com", "auth.example.com"
LIMITS = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "97;w=21600"}
RULES = """
  - {prefix: hub, upstream: registry-1.docker.io, deny: ["corp/secret/**"]}
  - {prefix: corp, upstream: registry.example.com, credentials: {username: alice, password: {env: ALICE_PASSWORD}}}
  - {prefix: corp/open, upstream: registry.example.com, upstream_prefix: team, ns: true, allow: ["team/*"]}
  - {prefix: away, upstream: away.example, offline: true}
  - {prefix: gone, upstream: gone.example, revalidate_after: 1h, push: allow}
"""


@dataclass
class Program:
    """The command, with a configuration whose hosts are all on `server`."""

    config: Path
    server: UpstreamServer
    password: str = "wonder:land"

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", *arguments, "--config", str(self.config)),
            env={**os.environ, "ALICE_PASSWORD": self.password},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def validate(self, *arguments: str, code: int) -> dict[str, Any]:
        returned, out, err = await self.run("rules", "validate", *arguments, "--json")
        assert (returned, err) == (code, ""), out
        found: dict[str, Any] = json.loads(out)
        return found


def challenging(tokens: TokenServer, registry: FakeRegistry | None) -> Any:  # noqa: ANN401 - a handler
    """Answer ``/v2/`` as registries behind a token server do; the rest is the registry's."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if registry is not None and request.raw_path != "/v2/":
            return await registry.answer(request)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in tokens.issued:
            # Docker Hub tells its limit with manifests only.
            limits = LIMITS if "/manifests/" in request.raw_path else {}
            return await answering(200, manifest_bytes(), limits, content_type="application/json")(request)
        challenge = f'Bearer realm="{tokens.realm}",service="{tokens.service}"'
        return await failing(401, "UNAUTHORIZED", headers={"WWW-Authenticate": challenge})(request)

    return handler


@pytest.fixture
async def program(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Program]:
    hosts = (HUB, REGISTRY, AUTH, "auth.docker.io")
    async with UpstreamServer(hosts, tmp_path) as server:
        tokens = TokenServer(server, AUTH, clock, "registry", {"team/app"}, {"alice": "wonder:land"})
        registry = FakeRegistry(server, REGISTRY, tokens)
        registry.put_manifest("team/app", "latest", manifest_bytes())
        server.handlers[REGISTRY] = challenging(tokens, registry)
        server.handlers[HUB] = challenging(TokenServer(server, "auth.docker.io", clock, "registry.docker.io"), None)
        connect_to = {**server.connect_to, "gone.example": "127.0.0.1:1"}  # nothing listens there
        config = tmp_path / "pullthrough.yaml"
        config.write_text(
            f"storage: {{path: '{tmp_path / 'store'}'}}\n"
            f"upstreams: {{connect_to: {json.dumps(connect_to)}, ca_file: '{server.ca_file}'}}\nrules:{RULES}",
            encoding="utf-8",
        )
        yield Program(config, server)


async def test_docker_hub_is_valid_and_tells_its_limit_without_costing_a_pull(program: Program, tmp_path: Path) -> None:
    found = await program.validate("hub", code=0)
    assert found.pop("latency_ms") >= 0
    assert found == {
        "rule": "hub",
        "upstream": HUB,
        "is_valid": True,
        "failure": None,
        "answers": True,
        "credentials": "none",
        "repository": "ratelimitpreview/test",
        "limit": 100,
        "remaining": 97,
        "window_seconds": 21600,
        "hint": None,
    }
    manifests = program.server.visits(HUB, containing="/manifests/")
    assert {(visit.method, visit.target) for visit in manifests} == {
        ("HEAD", "/v2/ratelimitpreview/test/manifests/latest")
    }
    assert not (tmp_path / "store").exists()


async def test_people_get_lines_of_what_was_seen(program: Program) -> None:
    code, out, err = await program.run("rules", "validate", "hub/")
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert (code, err) == (0, "")
    assert lines.pop("answers").strip().startswith("yes, in ")
    assert {name: value.strip() for name, value in lines.items()} == {
        "rule": "hub",
        "upstream": HUB,
        "valid": "yes",
        "credentials": "none",
        "limit": "97 of 100 pulls left in 6 h",
        "read from": "ratelimitpreview/test",
    }


async def test_credentials_that_work_and_credentials_that_do_not(program: Program) -> None:
    found = await program.validate("corp", code=0)
    assert (found["credentials"], found["failure"]) == ("works", None)
    program.password = "through:the:looking-glass"
    found = await program.validate("corp", code=1)
    assert (found["answers"], found["credentials"], found["is_valid"]) == (True, "refused", False)
    assert "check user name and password in `credentials` of rule corp" in found["failure"]
    assert program.password not in str(found)


async def test_an_image_is_named_below_the_prefix(program: Program) -> None:
    found = await program.validate("corp/open", "--repository", "app", code=0)
    assert (found["repository"], found["credentials"], found["hint"]) == ("team/app", "none", None)
    missing = await program.validate("corp/open", "--repository", "other:1.2", code=1)
    assert missing["failure"].endswith("it does not exist, or is private and rule corp/open has no `credentials`")
    assert program.server.visits(REGISTRY, "HEAD", "/v2/team/other/manifests/1.2")


async def test_without_an_image_a_rule_without_credentials_says_what_was_not_tried(program: Program) -> None:
    found = await program.validate("corp/open", code=0)
    assert (found["is_valid"], found["repository"]) == (True, None)
    assert "name a repository" in found["hint"]


async def test_a_rule_that_is_offline_says_so_and_asks_nothing(program: Program) -> None:
    found = await program.validate("away", code=1)
    assert (found["answers"], found["credentials"]) == (False, "not tested")
    assert (
        found["failure"] == "nothing was asked: `offline` is set for rule away; take that out to have rule away asked"
    )


async def test_an_upstream_that_cannot_be_reached_is_told_with_where_to_look(program: Program) -> None:
    code, out, err = await program.run("rules", "validate", "gone")
    assert (code, err) == (1, "")
    assert "answers      no\n" in out
    assert "failure      gone.example cannot be reached; check `upstream` of rule gone" in out


async def test_an_image_that_the_rule_keeps_back_is_not_asked_for(program: Program) -> None:
    code, out, err = await program.run("rules", "validate", "hub", "--repository", "corp/secret/a")
    assert (code, out) == (1, "")
    assert err == (
        "corp/secret/a: rule hub does not let corp/secret/a be pulled: it matches corp/secret/** in its `deny`\n"
    )
    assert program.server.journal == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "there is no rule with the prefix 'nobody'; there are: hub, corp, corp/open, away, gone"),
        (["hub", "--repository", "UPPER"], "UPPER: a repository name is lower-case words"),
    ],
)
async def test_a_wrong_command_line_is_refused(program: Program, arguments: list[str], words: str) -> None:
    code, out, err = await program.run("rules", "validate", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(words)


async def test_the_rules_are_listed_in_their_order_with_all_that_decides(program: Program) -> None:
    code, out, err = await program.run("rules", "list")
    lines = [line.rstrip() for line in out.splitlines() if line.strip(" ─")]
    assert (code, err) == (0, "")
    rows = [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines]
    assert rows == [
        ["rule", "from", "upstream", "credentials", "tags checked after", "allow", "deny", "pushes"],
        ["hub", "file", HUB, "anonymous", "5m", "everything", "corp/secret/**", "no"],
        ["corp", "file", REGISTRY, "user:alice:env:ALICE_PASSWORD", "5m", "everything", "nothing", "no"],
        ["corp/open", "file", f"{REGISTRY}/team", "anonymous", "5m", "team/*", "nothing", "no"],
        ["away", "file", "away.example", "anonymous", "never: offline", "everything", "nothing", "no"],
        ["gone", "file", "gone.example", "anonymous", "1h", "everything", "nothing", "yes"],
    ]
    assert program.server.journal == []


async def test_the_rules_are_listed_for_programs_without_a_secret(program: Program) -> None:
    code, out, err = await program.run("rules", "list", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [rule["prefix"] for rule in found] == ["hub", "corp", "corp/open", "away", "gone"]
    assert found[1] == {
        "prefix": "corp",
        "origin": "file",
        "shadows_file": False,
        "upstream": REGISTRY,
        "upstream_prefix": "",
        "credentials": "user:alice:env:ALICE_PASSWORD",
        "revalidate_after_seconds": 300.0,
        "offline": False,
        "allow": [],
        "deny": [],
        "push": False,
        "created_at": None,
    }
    assert "wonder" not in out


async def test_rules_of_the_api_stand_beside_those_of_the_file_or_in_their_place(program: Program) -> None:
    for prefix, upstream in (("other", REGISTRY), ("hub", "gone.example")):
        assert (await program.run("rules", "create", prefix, upstream))[0] == 0
    found = {rule["prefix"]: rule for rule in json.loads((await program.run("rules", "list", "--json"))[1])}
    origins = {prefix: (rule["origin"], rule["shadows_file"]) for prefix, rule in found.items()}
    assert origins == {
        **dict.fromkeys(["corp", "corp/open", "away", "gone"], ("file", False)),
        "hub": ("api", True),
        "other": ("api", False),
    }
    assert (found["hub"]["upstream"], found["other"]["created_at"][:2]) == ("gone.example", "20")
    _, out, _ = await program.run("rules", "list")
    cells = {line.split()[0]: line.split("   ")[1:] for line in out.splitlines() if line.strip(" ─")}
    assert {prefix: next(filter(None, row)).strip() for prefix, row in cells.items() if prefix in {"hub", "other"}} == {
        "hub": "API, in place of the file's",
        "other": "API",
    }
    assert program.server.journal == []


async def test_a_rule_of_the_api_is_tried_with_the_account_in_its_secret(program: Program) -> None:
    value = program.config.parent / "token"
    value.write_text("wonder:land\n", encoding="utf-8")
    secret = "ecr-pullthroughcache/corp"
    put = ("secrets", "put", secret, "--username", "alice", "--from-file", str(value))
    assert (await program.run(*put))[0] == 0
    assert (await program.run("rules", "create", "team", REGISTRY, "--credential-arn", secret))[0] == 0
    found = await program.validate("team", code=0)
    assert (found["rule"], found["credentials"], found["failure"]) == ("team", "works", None)
    value.write_text("another", encoding="utf-8")
    assert (await program.run(*put))[0] == 0
    found = await program.validate("team", code=1)
    assert (found["credentials"], found["is_valid"]) == ("refused", False)


async def test_without_a_store_a_secret_of_the_configuration_is_known(program: Program, tmp_path: Path) -> None:
    program.config.write_text(
        program.config.read_text(encoding="utf-8")
        + "  - {prefix: by-name, upstream: registry.example.com, credentials: {secret: mine}}\n"
        + "secrets: {values: [{name: mine, username: alice, access_token: {env: ALICE_PASSWORD}}]}\n",
        encoding="utf-8",
    )
    assert (await program.validate("by-name", code=0))["credentials"] == "works"
    assert not (tmp_path / "store").exists()


async def test_no_rules_are_told_as_such(program: Program) -> None:
    program.config.write_text("", encoding="utf-8")
    assert await program.run("rules", "list") == (0, "there are no rules\n", "")
    assert await program.run("rules", "list", "--json") == (0, "[]\n", "")
    code, _, err = await program.run("rules", "validate", "hub")
    assert (code, err) == (2, "there is no rule with the prefix 'hub'; there are: none\n")
