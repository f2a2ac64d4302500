"""Looking at the cache rules, those of the file and those of the API, and trying them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from proxy.app.core import Core, validate_rule
from proxy.cli.configured import load
from proxy.cli.exits import FAILED, fail, refuse
from proxy.cli.image import parse_image
from proxy.cli.kept_rules import has_store
from proxy.cli.output import moment, show, show_json, show_table
from proxy.cli.store import run_on_store
from proxy.config.settings import Settings
from proxy.config.values import format_duration
from proxy.core.probe_ports import Allowance, Sample
from proxy.core.registry.records import RuleRecord
from proxy.core.registry.secrets.names import SecretReference
from proxy.core.rules import RuleSet
from proxy.core.validation import Validation, find_sample
from proxy.model.credentials import SecretCredentials
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.rule import CacheRule
from proxy.telemetry.logging import configure_logging

_HEADINGS = ("rule", "from", "upstream", "credentials", "tags checked after", "allow", "deny", "pushes")

Validate = Callable[[RuleSet, CacheRule, Sample | None], Awaitable[Validation]]


@dataclass(frozen=True, slots=True)
class _Known:
    """A rule in force, and what the API made it of (None: it is the file's)."""

    rule: CacheRule
    record: RuleRecord | None
    shadows: bool


def list_rules(config: Path | None, *, json: bool) -> None:
    """Show the rules: the file's in its order, then the API's in order of prefix."""
    settings = load(config)[1]
    rules = run_on_store(settings, _known) if has_store(settings) else (RuleSet.of(settings), {})
    known = _in_order(settings, *rules)
    if json:
        show_json([_written(one, settings) for one in known])
    else:
        show_table(_HEADINGS, [_row(one, settings) for one in known], otherwise="there are no rules")


def validate(config: Path | None, prefix: str, *, repository: str | None, json: bool) -> int:
    """Try the upstream of a rule; return the exit code."""
    settings = load(config)[1]

    async def on_store(core: Core) -> Validation:
        return await _try(core.rules.current, prefix, repository, core.validator.validate)

    if has_store(settings):
        found = run_on_store(settings, on_store)
    else:
        configure_logging("error", "console")
        found = asyncio.run(_try(RuleSet.of(settings), prefix, repository, partial(validate_rule, settings)))
    if json:
        show_json(_told(found))
    else:
        show(_said(found), json=False)
    return 0 if found.is_valid else FAILED


async def _known(core: Core) -> tuple[RuleSet, Mapping[str, RuleRecord]]:
    return core.rules.current, {record.key: record for record in await core.administration.rules.made()}


def _in_order(settings: Settings, rules: RuleSet, made: Mapping[str, RuleRecord]) -> list[_Known]:
    of_file = {rule.prefix for rule in settings.cache_rules()}
    return [_Known(rule, made.get(rule.prefix), rule.prefix in of_file) for rule in rules.rules]


async def _try(rules: RuleSet, prefix: str, repository: str | None, validate: Validate) -> Validation:
    rule = rules.rule(prefix.removesuffix("/"))
    if rule is None:
        known = ", ".join(rule.prefix for rule in rules.rules) or "none"
        refuse(f"there is no rule with the prefix {prefix!r}; there are: {known}")
    sample = _sample(rules, rule, repository) if repository is not None else None
    return await validate(rules, rule, sample)


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


def _written(known: _Known, settings: Settings) -> Mapping[str, object]:
    """Return a rule for programs; where its credentials are, never what they are."""
    rule, record = known.rule, known.record
    return {
        "prefix": rule.prefix,
        "origin": "file" if record is None else "api",
        "shadows_file": record is not None and known.shadows,
        "upstream": str(rule.upstream),
        "upstream_prefix": rule.upstream_prefix,
        "credentials": rule.credentials_id or None,
        "revalidate_after_seconds": rule.revalidate_after.total_seconds(),
        "offline": settings.upstreams.offline or rule.offline,
        "allow": rule.allow,
        "deny": rule.deny,
        "push": rule.push,
        "created_at": moment(record.created_at) if record is not None else None,
    }


def _row(known: _Known, settings: Settings) -> tuple[str, ...]:
    rule = known.rule
    offline = settings.upstreams.offline or rule.offline
    return (
        rule.prefix,
        _origin(known),
        f"{rule.upstream}/{rule.upstream_prefix}".removesuffix("/"),
        _account(rule),
        "never: offline" if offline else format_duration(rule.revalidate_after),
        " ".join(rule.allow) or "everything",
        " ".join(rule.deny) or "nothing",
        "yes" if rule.push else "no",
    )


def _account(rule: CacheRule) -> str:
    """Return where the credentials are, for people: of an ARN, the name."""
    if isinstance(rule.credentials, SecretCredentials):
        return f"secret:{SecretReference.parse(rule.credentials.arn).name}"
    return rule.credentials_id or "anonymous"


def _origin(known: _Known) -> str:
    if known.record is None:
        return "file"
    return "API, in place of the file's" if known.shadows else "API"
