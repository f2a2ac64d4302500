"""Commands about the cache rules of the configuration."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from proxy.app import validate_rule
from proxy.cli.configured import load
from proxy.cli.exits import FAILED, fail, refuse
from proxy.cli.image import parse_image
from proxy.cli.output import show, show_json, show_table
from proxy.config.settings import Settings
from proxy.config.values import format_duration
from proxy.core.ports import Allowance, Sample
from proxy.core.rules import RuleSet
from proxy.core.validation import Validation, find_sample
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.rule import CacheRule
from proxy.telemetry.logging import configure_logging

_HEADINGS = ("rule", "upstream", "credentials", "tags checked after", "allow", "deny", "pushes")


def list_rules(config: Path | None, *, json: bool) -> None:
    """Show the rules in the order of the configuration."""
    settings = load(config)[1]
    rules = settings.cache_rules()
    if json:
        show_json([_written(rule, settings) for rule in rules])
    else:
        show_table(_HEADINGS, [_row(rule, settings) for rule in rules], otherwise="there are no rules")


def validate(config: Path | None, prefix: str, *, repository: str | None, json: bool) -> int:
    """Try the upstream of a rule; return the exit code."""
    settings = load(config)[1]
    rules = RuleSet.of(settings)
    rule = rules.rule(prefix.removesuffix("/"))
    if rule is None:
        known = ", ".join(rule.prefix for rule in rules.rules) or "none"
        refuse(f"there is no rule with the prefix {prefix!r}; there are: {known}")
    sample = _sample(rules, rule, repository) if repository is not None else None
    configure_logging("error", "console")
    found = asyncio.run(validate_rule(settings, rules, rule, sample))
    if json:
        show_json(_told(found))
    else:
        show(_said(found), json=False)
    return 0 if found.is_valid else FAILED


def _sample(rules: RuleSet, rule: CacheRule, image: str) -> Sample:
    try:
        parsed = parse_image(image)
        return find_sample(rules, rule, parsed.name, parsed.reference)
    except ProxyError as error:
        message = f"{image}: {error.message}"
        if error.code is ErrorCode.DENIED:
            fail(message)
        refuse(message)


def _told(found: Validation) -> Mapping[str, object]:
    """Return a verdict for programs."""
    allowance = found.allowance
    return {
        "rule": found.rule.prefix,
        "upstream": str(found.rule.upstream),
        "is_valid": found.is_valid,
        "failure": found.failure,
        "answers": found.answers,
        "latency_ms": round(found.latency * 1000) if found.latency is not None else None,
        "credentials": found.access.value,
        "repository": found.repository,
        "limit": allowance.limit if allowance is not None else None,
        "remaining": allowance.remaining if allowance is not None else None,
        "window_seconds": allowance.window if allowance is not None else None,
        "hint": found.hint,
    }


def _said(found: Validation) -> Mapping[str, object]:
    """Return a verdict for people: only what was seen."""
    answers = f"yes, in {found.latency * 1000:.0f} ms" if found.latency is not None else "no"
    lines = {
        "rule": found.rule.prefix,
        "upstream": str(found.rule.upstream),
        "valid": found.is_valid,
        "answers": answers,
        "credentials": found.access.value,
        "limit": _limit(found.allowance) if found.allowance is not None else None,
        "read from": found.repository,
        "failure": found.failure,
        "hint": found.hint,
    }
    return {name: value for name, value in lines.items() if value is not None}


def _limit(allowance: Allowance) -> str:
    left = f"{allowance.remaining} of {allowance.limit} pulls left" if allowance.remaining is not None else ""
    window = f" in {_hours(allowance.window)}" if allowance.window is not None else ""
    return f"{left or f'{allowance.limit} pulls'}{window}"


def _hours(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours} h" if hours and not rest else f"{seconds} s"


def _written(rule: CacheRule, settings: Settings) -> Mapping[str, object]:
    """Return a rule for programs; where its credentials are, never what they are."""
    return {
        "prefix": rule.prefix,
        "upstream": str(rule.upstream),
        "upstream_prefix": rule.upstream_prefix,
        "credentials": rule.credentials_id or None,
        "revalidate_after_seconds": rule.revalidate_after.total_seconds(),
        "offline": settings.upstreams.offline or rule.offline,
        "allow": rule.allow,
        "deny": rule.deny,
        "push": rule.push,
    }


def _row(rule: CacheRule, settings: Settings) -> tuple[str, ...]:
    offline = settings.upstreams.offline or rule.offline
    return (
        rule.prefix,
        f"{rule.upstream}/{rule.upstream_prefix}".removesuffix("/"),
        rule.credentials_id or "anonymous",
        "never: offline" if offline else format_duration(rule.revalidate_after),
        " ".join(rule.allow) or "everything",
        " ".join(rule.deny) or "nothing",
        "yes" if rule.push else "no",
    )
