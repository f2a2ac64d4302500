"""Users and access keys of a registry that asks who its clients are, and what they may do there."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt

_COST = 5
"""A real one takes a tenth of a second, of each test's time."""

PASSWORDS = {
    "pusher": "pusher's p:ss wörd",
    "reader": "reader's password",
    "stranger": "stranger's password",
}
"""Passwords of users: one who may push below ``team``, one who may pull there, and one who may nothing."""

POLICIES = (
    {"principals": ["pusher"], "actions": ["pull", "first_pull", "push", "admin"], "repositories": ["team/**"]},
    {"principals": ["reader"], "actions": ["pull"], "repositories": ["team/**"]},
    {
        "principals": ["anonymous"],
        "actions": ["pull", "first_pull"],
        "repositories": ["open/**", "docker-hub/**", "quay/**"],
    },
)


@dataclass(frozen=True)
class Accounts:
    """The files of users and access keys in a folder. There is a key of each user."""

    folder: Path
    keys: Mapping[str, tuple[str, str]] = field(
        default_factory=lambda: {
            user: (f"AKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)) for user in PASSWORDS
        }
    )

    def settings(self, *policies: Mapping[str, Any]) -> dict[str, Any]:
        """Write the files; return the section ``auth`` of a configuration with these policies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        salt = bcrypt.gensalt(_COST)
        users = [f"{user}:{bcrypt.hashpw(text.encode(), salt).decode()}" for user, text in PASSWORDS.items()]
        keys = [f"{key} {secret} {user}" for user, (key, secret) in self.keys.items()]
        for name, lines in (("htpasswd", users), ("keys", keys)):
            path = self.folder / name
            path.touch(0o600)
            path.write_text("".join(f"{line}\n" for line in lines))
        return {
            "htpasswd": str(self.folder / "htpasswd"),
            "access_keys": str(self.folder / "keys"),
            "policies": [dict(policy) for policy in policies],
            # Clients of all tests have one address.
            "failed_attempts": 1000,
        }

    def account(self, user: str) -> tuple[str, str]:
        """Return a user and the password."""
        return user, PASSWORDS[user]
