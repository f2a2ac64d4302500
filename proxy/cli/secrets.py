"""Commands about secrets: what there is, making one, and deleting it. None shows what is in one."""

import json as jsons
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from proxy.app.core import Core
from proxy.cli.audit import Change
from proxy.cli.configured import load, read_text
from proxy.cli.exits import refuse
from proxy.cli.output import moment, show_json, show_known, show_table
from proxy.cli.store import run_on_store
from proxy.core.registry.records import SecretRecord
from proxy.core.registry.secrets.administration import NewSecret, SecretValue
from proxy.core.registry.secrets.ports import SecretError
from proxy.model.api_errors import ApiError, ApiErrorCode

_HEADINGS = ("secret", "kept in", "changed", "description", "state")


@dataclass(frozen=True, slots=True)
class Asked:
    """How a value is given: without a user name it is the whole secret; without a file it is read or asked for."""

    username: str | None
    file: Path | None
    description: str | None


def list_secrets(config: Path | None, *, json: bool) -> None:
    """Show all secrets in order of name: those of the store, then those of the configuration."""
    settings = load(config)[1]

    async def look(core: Core) -> list[Mapping[str, object]]:
        secrets = core.administration.secrets
        return [_told(core, record) for record in await secrets.search(marked=True)]

    found = run_on_store(settings, look)
    found += [_configured(name) for name in sorted(value.name for value in settings.secrets.values)]
    if json:
        show_json(found)
    else:
        show_table(_HEADINGS, [_row(secret) for secret in found], otherwise="there are no secrets")


def put(config: Path | None, name: str, asked: Asked, *, json: bool) -> None:
    """Give a secret a value, make it where there is none, and show it."""
    settings = load(config)[1]
    value = SecretValue(_value(asked).encode())

    async def keep(core: Core) -> Mapping[str, object]:
        secrets = core.administration.secrets
        try:
            record, _ = await secrets.update(name, value=value, description=asked.description)
        except ApiError as error:
            if error.code is not ApiErrorCode.ResourceNotFoundException:
                raise
            record, _ = await secrets.create(NewSecret(name, value=value, description=asked.description))
        return {**_told(core, record), "hint": await _hint(core, record)}

    show_known(run_on_store(settings, keep, Change("secrets.put", name)), json=json)


def delete(config: Path | None, name: str, *, force: bool, json: bool) -> None:
    """Delete a secret, and tell when it is gone."""

    async def remove(core: Core) -> Mapping[str, object]:
        secrets = core.administration.secrets
        found = await secrets.describe(name)
        return _told(core, await secrets.delete(secrets.arn(found), force=force))

    show_known(run_on_store(load(config)[1], remove, Change("secrets.delete", name)), json=json)


def restore(config: Path | None, name: str, *, json: bool) -> None:
    """Take the mark for deletion off a secret, and show it."""

    async def keep(core: Core) -> Mapping[str, object]:
        return _told(core, await core.administration.secrets.restore(name))

    show_known(run_on_store(load(config)[1], keep, Change("secrets.restore", name)), json=json)


def _value(asked: Asked) -> str:
    text = _read(asked).rstrip("\r\n")
    if not text:
        refuse("no secret was given: nothing was changed")
    if asked.username is None:
        return text
    return jsons.dumps({"username": asked.username, "accessToken": text})


def _read(asked: Asked) -> str:
    if asked.file is not None:
        return read_text(asked.file)
    if not sys.stdin.isatty():
        return sys.stdin.read()
    what = "password or token" if asked.username is not None else "secret"
    answer: str = typer.prompt(what, hide_input=True, err=True)
    return answer


async def _hint(core: Core, record: SecretRecord) -> str | None:
    """Return what keeps rules from using a secret, or None."""
    resolver = core.secrets.resolver
    try:
        await resolver.login(record.name)
    except SecretError as error:
        return f"rules cannot use it so: {error.message}"
    return None


def _told(core: Core, record: SecretRecord) -> Mapping[str, object]:
    return {
        "secret": record.name,
        "arn": core.administration.secrets.arn(record),
        "kept_in": "store",
        "description": record.description,
        "created_at": moment(record.created_at),
        "changed_at": moment(record.changed_at),
        "deleted_at": moment(record.deleted_at),
    }


def _configured(name: str) -> Mapping[str, object]:
    nothing = dict.fromkeys(("arn", "description", "created_at", "changed_at", "deleted_at"))
    return {"secret": name, "kept_in": "configuration", **nothing}


def _row(secret: Mapping[str, object]) -> tuple[str, ...]:
    deleted = secret["deleted_at"]
    return (
        str(secret["secret"]),
        str(secret["kept_in"]),
        str(secret["changed_at"] or "-"),
        str(secret["description"] or "-"),
        f"to be deleted at {deleted}" if deleted is not None else "in use",
    )
