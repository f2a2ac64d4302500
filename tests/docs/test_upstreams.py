"""The page about upstreams has a section for every kind, and says there what the table of kinds says."""

import re
from datetime import timedelta

import pytest
import yaml

from proxy.config.rules import RuleSettings
from proxy.upstream.kinds import KINDS, Rate, Referrers, RegistryKind, kind_of
from tests.docs.reference import DOCS

TEXT = (DOCS / "upstreams.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def section(kind: RegistryKind) -> str:
    (found,) = [text for text in SECTIONS if text.partition("\n")[2].lstrip().startswith(f"`{kind.name}`: ")]
    return found


def row(kind: RegistryKind, head: str) -> str:
    (found,) = re.findall(rf"^\| {head} \| (.*) \|$", section(kind), re.MULTILINE)
    return str(found)


@EVERY_KIND
def test_every_kind_has_its_section_with_what_it_needs(kind: RegistryKind) -> None:
    assert row(kind, "needs")
    assert "```yaml" in section(kind)


@EVERY_KIND
def test_its_hosts_are_those_of_the_table(kind: RegistryKind) -> None:
    assert all(f"`{host}`" in section(kind) for host in kind.hosts if "*" not in host)
    assert all(f"`{host}`" in row(kind, "token server") for host in kind.token_realms)
    if kind.hosts:
        assert re.findall(r"`([^`]+)`", row(kind, "storage")) == list(kind.storage)


@EVERY_KIND
def test_its_pace_is_that_of_the_table(kind: RegistryKind) -> None:
    pace = row(kind, "pace")
    rates = {kind.rate(authenticated=False), kind.rate(authenticated=True)}
    for rate in rates:
        assert ("not limited here" in pace) if rate is None else names_rate(pace, rate), kind.name


def names_rate(pace: str, rate: Rate) -> bool:
    burst = f"{rate.burst} at once"
    return f"{rate.per_second:g} " in pace and (rate.burst == rate.per_second or burst in pace)


@EVERY_KIND
def test_its_referrers_are_those_of_the_table(kind: RegistryKind) -> None:
    begins = {Referrers.API: "API", Referrers.REDIRECTED: "API of", Referrers.FALLBACK: "fallback tag"}
    assert row(kind, "referrers").startswith(begins[kind.referrers])


def test_every_example_is_a_valid_rule_of_its_kind() -> None:
    for text in SECTIONS:
        for example in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            for document in yaml.safe_load(example)["rules"]:
                assert RuleSettings.model_validate(document).prefix
    for kind in KINDS:
        first = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", section(kind), re.DOTALL)[0])["rules"][0]
        assert kind_of(RuleSettings.model_validate(first).rule(timedelta()).upstream) is kind
