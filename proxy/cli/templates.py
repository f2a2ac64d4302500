"""Commands about creation templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.app.core import Core
from proxy.cli import chosen
from proxy.cli.audit import Change
from proxy.cli.configured import load, read_pairs, read_text
from proxy.cli.exits import refuse
from proxy.cli.output import moment, show, show_json, show_known, show_table
from proxy.cli.store import run_on_store
from proxy.core.registry.records import Scenario, TemplateRecord
from proxy.core.registry.templates import TemplateSettings

_HEADINGS = ("prefix", "applied for", "tag mutability", "gives", "description")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new template is to be, as it was written."""

    applied_for: Sequence[str]
    description: str | None
    mode: str | None
    filters: Sequence[str] | None
    encryption: str | None
    kms_key: str | None
    resource_tags: Sequence[str]
    repository_policy: Path | None
    lifecycle_policy: Path | None
    custom_role_arn: str | None


def list_templates(config: Path | None, *, json: bool) -> None:
    """Show all templates in order of prefix."""

    async def look(core: Core) -> list[TemplateRecord]:
        return await core.administration.templates.describe()

    found = run_on_store(load(config)[1], look)
    if json:
        show_json([_told(template) for template in found])
    else:
        show_table(_HEADINGS, [_row(template) for template in found], otherwise="there are no templates")


def create(config: Path | None, prefix: str, asked: Asked, *, json: bool) -> None:
    """Make a template, and show it."""
    settings = load(config)[1]
    policy = chosen.tag_policy(asked.mode, asked.filters or ())
    wanted = TemplateSettings(
        applied_for=[_scenario(name) for name in asked.applied_for],
        description=asked.description,
        encryption=chosen.encryption(asked.encryption, asked.kms_key),
        resource_tags=read_pairs(asked.resource_tags),
        mutability=policy.mutability if policy is not None else None,
        filters=policy.filters or None if policy is not None else None,
        repository_policy=_text(asked.repository_policy),
        lifecycle_policy=_text(asked.lifecycle_policy),
        custom_role_arn=asked.custom_role_arn,
    )

    async def make(core: Core) -> TemplateRecord:
        return await core.administration.templates.create(prefix, wanted)

    made = run_on_store(settings, make, Change("templates.create", prefix))
    if json:
        show_json(_told(made))
    else:
        show_known(_said(made), json=False)


def delete(config: Path | None, prefix: str, *, json: bool) -> None:
    """Delete a template, and tell which."""

    async def remove(core: Core) -> TemplateRecord:
        return await core.administration.templates.delete(prefix)

    show(
        {"prefix": run_on_store(load(config)[1], remove, Change("templates.delete", prefix)).prefix, "deleted": True},
        json=json,
    )


def _scenario(name: str) -> Scenario:
    try:
        return Scenario(name.upper().replace("-", "_"))
    except ValueError:
        refuse(f"there is no scenario {name!r}; there are: {', '.join(Scenario)}")


def _text(file: Path | None) -> str | None:
    return read_text(file) if file is not None else None


def _told(template: TemplateRecord) -> Mapping[str, object]:
    """Return a template for programs."""
    return {
        "prefix": template.prefix,
        "applied_for": template.applied_for,
        "description": template.description,
        "tag_mutability": template.tag_policy.mutability.value,
        "filters": template.tag_policy.filters,
        "encryption": template.encryption.type,
        "kms_key": template.encryption.kms_key,
        "resource_tags": template.resource_tags,
        "repository_policy": template.repository_policy,
        "lifecycle_policy": template.lifecycle_policy,
        "custom_role_arn": template.custom_role_arn,
        "created_at": moment(template.created_at),
        "updated_at": moment(template.updated_at),
    }


def _said(template: TemplateRecord) -> Mapping[str, object]:
    """Return a template for people."""
    return {
        "prefix": template.prefix,
        "applied for": " ".join(template.applied_for),
        "description": template.description,
        "tag mutability": _mutability(template),
        "gives": _gives(template),
        "created": moment(template.created_at),
    }


def _mutability(template: TemplateRecord) -> str:
    return " ".join((template.tag_policy.mutability.value, *template.tag_policy.filters))


def _gives(template: TemplateRecord) -> str:
    """Return what repositories get beside the mutability of their tags."""
    given = {
        "policy": template.repository_policy is not None,
        "lifecycle policy": template.lifecycle_policy is not None,
        "resource tags": bool(template.resource_tags),
        f"encryption {template.encryption.type}": template.encryption.kms_key is not None,
    }
    return ", ".join(name for name, there in given.items() if there)


def _row(template: TemplateRecord) -> tuple[str, ...]:
    return (
        template.prefix,
        " ".join(template.applied_for),
        _mutability(template),
        _gives(template) or "-",
        template.description or "-",
    )
