"""Commands about users and their passwords."""

import sys
from pathlib import Path

import bcrypt
import typer

from proxy.cli.audit import Change, tell_audit
from proxy.cli.exits import refuse
from proxy.cli.identity_files import discard, edit, entries, load_auth, named
from proxy.cli.output import show, show_json, show_table
from proxy.model.password_file import LONGEST_PASSWORD, PASSWORD_FILE, UserEntry
from proxy.model.principal import Principal, plain_principal

_SETTING = "auth.htpasswd"
_COST = 12
"""A quarter of a second of a processor, once in `auth.password_cache` for each user."""


def list_users(config: Path | None, *, json: bool) -> None:
    """Show all users in order of name."""
    found = entries(named(load_auth(config)[1].htpasswd, _SETTING), PASSWORD_FILE)
    users = [found[name] for name in sorted(found)]
    if json:
        show_json([{"user": user.name, "cost": user.cost} for user in users])
    else:
        rows = [(user.name, str(user.cost)) for user in users]
        show_table(("user", "bcrypt cost"), rows, otherwise="there are no users")


def set_password(config: Path | None, name: str, *, json: bool) -> None:
    """Give a user a password, and tell whether the user is a new one."""
    settings, auth = load_auth(config)
    path, user = named(auth.htpasswd, _SETTING), _read_name(name)
    if any(provider.name == user for provider in auth.oidc):
        refuse(f"{user} is the name of an identity provider: choose another one")
    hashed = bcrypt.hashpw(_read_password(), bcrypt.gensalt(_COST)).decode()
    was_there = False

    def change(found: dict[str, UserEntry]) -> tuple[str, str]:
        nonlocal was_there
        was_there = user in found
        return user, UserEntry(user, hashed, _COST).line

    edit(path, PASSWORD_FILE, change)
    tell_audit(settings, Change("users.set", user))
    show({"user": user, "state": "changed" if was_there else "added", "file": str(path)}, json=json)


def remove(config: Path | None, name: str, *, json: bool) -> None:
    """Remove a user, or leave where there is none."""
    settings, auth = load_auth(config)
    path = named(auth.htpasswd, _SETTING)
    discard(path, PASSWORD_FILE, name, absent=f"{path} has no user {name}")
    tell_audit(settings, Change("users.remove", name))
    show({"user": name, "state": "removed", "file": str(path)}, json=json)


def _read_name(text: str) -> Principal:
    try:
        return plain_principal(text)
    except ValueError as error:
        refuse(str(error))


def _read_password() -> bytes:
    if sys.stdin.isatty():
        text: str = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        refuse("no password was given: nothing was changed")
    # RFC 7617 §2: neither of both may have control characters.
    if any(ord(character) < ord(" ") or character == "\x7f" for character in text):
        refuse("a password has no control characters: nothing was changed")
    secret = text.encode("utf-8", "surrogatepass")
    if len(secret) > LONGEST_PASSWORD:
        refuse(f"bcrypt takes passwords of at most {LONGEST_PASSWORD} bytes: nothing was changed")
    return secret
