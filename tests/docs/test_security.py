"""The page about security: its examples mean what it says."""

import json
import re
from pathlib import Path

import pytest
import yaml

from proxy.config.auth import AuthSettings
from proxy.config.settings import Settings
from proxy.core.access.grants import Grants
from proxy.core.registry.policy_documents import PolicyKind, parse_policy
from proxy.core.rules import Address, RuleSet
from proxy.model.access import Action
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def settings(example: str) -> Settings:
    return Settings.model_validate(yaml.safe_load(example))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_configuration(example: str) -> None:
    assert isinstance(settings(example).auth, AuthSettings)


@pytest.mark.parametrize(
    ("principal", "action", "repository", "may"),
    [
        ("", "pull", "docker-hub/library/nginx", True),
        ("", "first_pull", "docker-hub/library/nginx", True),
        ("", "pull", "ghcr-private/app", False),
        ("", "pull", "team/app", False),
        ("alice", "pull", "ghcr-private/app", True),
        ("alice", "push", "team/app", False),
        ("github:repo:company/app", "push", "team/app", True),
        ("github:repo:others/app", "push", "team/app", False),
        ("root", "admin", None, True),
    ],
)
def test_the_first_company_is_as_described(principal: str, action: str, repository: str | None, may: bool) -> None:  # noqa: FBT001 - a table
    found = next(example for example in EXAMPLES if "ghcr-private" in example)
    company = settings(found)
    assert isinstance(company.auth, AuthSettings)
    name = RepositoryName(repository) if repository is not None else None
    remote = RuleSet.of(company).locate(Address(name)).remote if name is not None else None
    rule = remote.rule if remote is not None else None
    assert Grants.of(company.auth).allows(Principal(principal), Action(action), name, rule) is may


def test_the_policies_can_be_read() -> None:
    texts = re.findall(r"--policy-text '(.*?)'\n", PAGE, re.DOTALL)
    assert texts
    for text in texts:
        assert json.loads(text)
        parse_policy(text, PolicyKind.REPOSITORY)
