"""The lines of a password file, as ``htpasswd -B`` writes them: ``user:bcrypt hash``."""

import re
from dataclasses import dataclass, field
from typing import Final

from proxy.model.line_grammar import LineGrammar
from proxy.model.principal import Principal, plain_principal

LOWEST_COST: Final = 4
HIGHEST_COST: Final = 16
"""A check takes 2^cost steps: at 16 some seconds, for which nobody waits."""

LONGEST_PASSWORD: Final = 72
"""Bytes that bcrypt takes; what follows them would not count."""

# The 16 bytes of the salt take 22 characters, of which the last has two bits only.
_HASH: Final = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user, and what bcrypt made of the password at this cost."""

    name: Principal
    hash: str = field(repr=False)
    cost: int

    @property
    def line(self) -> str:
        """Return the line that says so."""
        return f"{self.name}:{self.hash}"


def _read_line(line: str) -> UserEntry:
    name, colon, hashed = line.partition(":")
    if not colon:
        message = "a line is a user name, a colon, and a bcrypt hash"
        raise ValueError(message)
    principal = plain_principal(name)
    found = _HASH.fullmatch(hashed)
    if found is None:
        message = (
            "only bcrypt hashes are taken ($2a$, $2b$, $2y$): have the line made by `htpasswd -B`, or by `pullthrough "
            "users set`"
        )
        raise ValueError(message)
    cost = int(found["cost"])
    if not LOWEST_COST <= cost <= HIGHEST_COST:
        raise ValueError(f"the cost of a bcrypt hash is {LOWEST_COST} to {HIGHEST_COST} here, not {cost}")
    return UserEntry(principal, hashed, cost)


PASSWORD_FILE: Final = LineGrammar(_read_line, lambda entry: entry.name)
"""Users by name."""
