"""`pullthrough repositories`: what there is, making one, and which of its tags are immutable."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.commands import app
from proxy.storage.layout import Layout
from tests.unit.cli.kept import keep

CONFIG = """
storage: {path: STORE}
registry:
  tags:
    - {prefix: team, mutability: IMMUTABLE}
    - {prefix: team/play, mutability: MUTABLE_WITH_EXCLUSION, filters: ["v*"]}
rules:
  - {prefix: docker-hub, upstream: registry-1.docker.io}
  - {prefix: corp, upstream: "http://corp.example:8080", upstream_prefix: base, push: allow}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pullthrough.yaml"
    path.write_text(CONFIG.replace("STORE", str(tmp_path / "store")), encoding="utf-8")
    return path


@pytest.fixture
def run(config: Path) -> Callable[..., tuple[str, str]]:
    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        result = CliRunner().invoke(app, ["repositories", *arguments, "--config", str(config)])
        assert result.exit_code == code, (result.output, result.exception)
        return result.stdout, result.stderr

    return run


Run = Callable[..., tuple[str, str]]


def told(run: Run, *arguments: str) -> Any:  # noqa: ANN401 - what JSON holds
    out, err = run(*arguments, "--json")
    assert err == ""
    return json.loads(out)


def rows(out: str) -> list[list[str]]:
    lines = [line for line in out.splitlines() if line.strip(" ─")]
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in lines]


def test_where_nothing_was_pushed_or_pulled_there_are_no_repositories(run: Run) -> None:
    assert run("list") == ("there are no repositories\n", "")
    assert told(run, "list") == []


def test_a_repository_is_made_once_and_follows_the_configuration(run: Run) -> None:
    made = told(run, "create", "team/app")
    assert datetime.fromisoformat(made.pop("created_at")).tzinfo is not None
    assert made == {
        "repository": "team/app",
        "origin": "hosted",
        "upstream": None,
        "takes_pushes": True,
        "images": 0,
        "tags": 0,
        "tag_mutability": "IMMUTABLE",
        "filters": [],
        "own_policy": False,
        "scan_on_push": False,
        "encryption": "AES256",
        "kms_key": None,
        "resource_tags": {},
        "policy": False,
        "lifecycle_policy": False,
    }
    assert run("create", "team/app", "--tag-mutability", "MUTABLE", code=1) == (
        "",
        "The repository with name 'team/app' already exists in the registry with id '000000000000'\n",
    )
    assert told(run, "show", "team/app")["tag_mutability"] == "IMMUTABLE"


def test_a_repository_of_a_cache_is_made_under_the_name_that_pulls_use(run: Run) -> None:
    made = told(run, "create", "localhost:5000/docker-hub/nginx", "--tag-mutability", "IMMUTABLE")
    assert (made["repository"], made["origin"], made["upstream"], made["takes_pushes"]) == (
        "docker-hub/library/nginx",
        "cache",
        "registry-1.docker.io/library/nginx",
        False,
    )
    assert (made["tag_mutability"], made["own_policy"]) == ("IMMUTABLE", True)


def test_people_get_lines(run: Run) -> None:
    out, _ = run(
        "create", "own/app", "--tag-mutability", "IMMUTABLE_WITH_EXCLUSION", "--filter", "latest", "--filter", "dev-*"
    )
    lines = out.splitlines()
    assert lines[:8] == [
        "repository      own/app",
        "origin          hosted",
        "takes pushes    yes",
        "images          0",
        "tags            0",
        "tag mutability  IMMUTABLE_WITH_EXCLUSION",
        "filters         latest dev-*",
        "set by          the repository",
    ]
    assert lines[8].startswith("created         20")
    assert len(lines) == 9


def test_a_policy_of_its_own_goes_before_the_configuration_until_it_is_taken_back(run: Run) -> None:
    run("create", "team/app")
    changed = told(run, "set-tag-mutability", "team/app", "mutable_with_exclusion", "--filter", "v*")
    assert (changed["tag_mutability"], changed["filters"], changed["own_policy"]) == (
        "MUTABLE_WITH_EXCLUSION",
        ["v*"],
        True,
    )
    assert told(run, "show", "team/app") == changed
    back = told(run, "set-tag-mutability", "team/app", "default")
    assert (back["tag_mutability"], back["filters"], back["own_policy"]) == ("IMMUTABLE", [], False)


def test_all_repositories_are_listed_with_where_they_lead_and_who_says_what_of_their_tags(run: Run) -> None:
    for name in ("team/play/a", "corp/app", "docker-hub/nginx", "own"):
        run("create", name)
    run("set-tag-mutability", "own", "IMMUTABLE")
    out, err = run("list")
    assert err == ""
    assert rows(out) == [
        ["repository", "origin", "images", "tags", "tag mutability", "set by"],
        ["corp/app", "cache of http://corp.example:8080/base/app", "0", "0", "MUTABLE", "the configuration"],
        [
            "docker-hub/library/nginx",
            "cache of registry-1.docker.io/library/nginx",
            "0",
            "0",
            "MUTABLE",
            "the configuration",
        ],
        ["own", "hosted", "0", "0", "IMMUTABLE", "the repository"],
        ["team/play/a", "hosted", "0", "0", "MUTABLE_WITH_EXCLUSION v*", "the configuration"],
    ]
    names = [one["repository"] for one in told(run, "list")]
    assert names == ["corp/app", "docker-hub/library/nginx", "own", "team/play/a"]


def test_a_long_list_is_whole_and_in_order(run: Run, config: Path) -> None:
    run("create", "a")
    names = [f"many/{number:04}" for number in range(2000)]
    with closing(sqlite3.connect(Layout(config.parent / "store").database)) as database, database:
        database.executemany("INSERT INTO repositories (name, created_at) VALUES (?, 0)", [(name,) for name in names])
    assert [one["repository"] for one in told(run, "list")] == ["a", *names]


def test_what_the_api_tells_of_a_repository_can_be_said_when_it_is_made(run: Run) -> None:
    options = ["--scan-on-push", "--encryption", "kms", "--kms-key", "a-key", "--resource-tag", "team=a=b"]
    made = told(run, "create", "own/app", *options)
    assert [made[key] for key in ("scan_on_push", "encryption", "kms_key", "resource_tags")] == [
        True,
        "KMS",
        "a-key",
        {"team": "a=b"},
    ]
    lines = run("show", "own/app")[0].splitlines()
    assert {"scan on push    yes", "encryption      KMS a-key", "resource tags   team=a=b"} <= set(lines)


def test_a_repository_is_deleted_and_with_images_only_by_force(run: Run, config: Path) -> None:
    run("create", "own/app")
    keep(config, "own/app", "1")
    out, err = run("delete", "own/app", code=1)
    assert out == ""
    assert err.startswith("The repository with name 'own/app' in registry with id '000000000000' cannot be deleted")
    assert told(run, "list")[0]["images"] == 1
    assert told(run, "delete", "own/app", "--force") == {"repository": "own/app", "deleted": True}
    assert told(run, "list") == []


def test_a_rule_that_the_api_made_is_known(run: Run, config: Path) -> None:
    made = CliRunner().invoke(app, ["rules", "create", "quay", "quay.io", "--config", str(config)])
    assert made.exit_code == 0
    assert told(run, "create", "quay/team/app")["upstream"] == "quay.io/team/app"
    assert told(run, "list")[0]["origin"] == "cache"


def test_a_repository_that_the_rules_no_longer_lead_to_is_listed(run: Run, config: Path) -> None:
    run("create", "old")
    config.write_text(config.read_text(encoding="utf-8").replace("prefix: docker-hub", "prefix: old"), encoding="utf-8")
    assert rows(run("list")[0])[1:] == [["old", "hosted", "0", "0", "MUTABLE", "the configuration"]]
    assert told(run, "show", "old")["origin"] == "hosted"


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "own/app"],
        ["set-tag-mutability", "own/app", "IMMUTABLE"],
        ["images", "own/app"],
        ["delete-image", "own/app:1"],
        ["delete", "own/app"],
        ["policy", "get", "own/app"],
        ["lifecycle", "preview", "own/app"],
    ],
)
def test_a_repository_that_is_not_there_is_a_failure(run: Run, arguments: list[str]) -> None:
    assert run(*arguments, code=1) == (
        "",
        "there is no repository own/app: a push or a pull makes it, or `pullthrough repositories create own/app`\n",
    )
    assert told(run, "list") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "UPPER"], "UPPER: a repository name is lower-case words"),
        (["show", "own/app:1"], "own/app:1: name a repository, without a tag or a digest"),
        (["create", "a", "--filter", "v*"], "filters need a mode: "),
        (["create", "a", "--tag-mutability", "FROZEN"], "there is no mode 'FROZEN'; there are: MUTABLE, IMMUTABLE, "),
        (["set-tag-mutability", "a", "default", "--filter", "v*"], "filters need a mode: "),
        (["set-tag-mutability", "a", "IMMUTABLE", "--filter", "v*"], "IMMUTABLE takes no filters"),
        (["set-tag-mutability", "a", "MUTABLE_WITH_EXCLUSION"], "MUTABLE_WITH_EXCLUSION needs 1 to 5 filters"),
        (["set-tag-mutability", "a", "MUTABLE_WITH_EXCLUSION", "--filter", "*a*b*"], "'*a*b*' is no filter"),
        (["create", "a", "--encryption", "rot13"], "there is no encryption 'rot13'; there are: AES256, KMS, KMS_DSSE"),
        (["create", "a", "--kms-key", "k"], "AES256 has no key: "),
        (["create", "a", "--resource-tag", "k"], "k: write KEY=VALUE"),
        (["delete-image", "a"], "a: name a tag or a digest; "),
        (["policy", "put", "a", "nowhere"], "nowhere cannot be read: No such file"),
    ],
)
def test_a_wrong_command_line_is_refused_and_opens_no_store(
    run: Run, config: Path, arguments: list[str], words: str
) -> None:
    out, err = run(*arguments, code=2)
    assert out == ""
    assert err.startswith(words)
    assert len(err.splitlines()) == 1
    assert list(config.parent.iterdir()) == [config]
