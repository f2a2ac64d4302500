"""The lines of a file of access keys: ``ID SECRET PRINCIPAL``."""

import re
from dataclasses import dataclass, field
from typing import Final

from proxy.model.line_grammar import LineGrammar
from proxy.model.principal import Principal, plain_principal

_PARTS: Final = 3
_ID: Final = re.compile(r"[A-Z0-9]{16,128}")
_SECRET: Final = re.compile(r"[!-~]{16,256}")


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that signs requests to the AWS APIs, and whose it is."""

    id: str
    secret: str = field(repr=False)
    principal: Principal

    @property
    def line(self) -> str:
        """Return the line that says so; it holds the secret."""
        return f"{self.id} {self.secret} {self.principal}"


def _read_line(line: str) -> AccessKey:
    parts = [part for part in re.split(r"[ \t]+", line) if part]
    if len(parts) != _PARTS:
        message = "a line is an id, a secret and a principal, with spaces between them"
        raise ValueError(message)
    key, secret, name = parts
    if _ID.fullmatch(key) is None:
        message = "the id of a key, which comes first, is 16 to 128 capital letters A-Z and digits"
        raise ValueError(message)
    if _SECRET.fullmatch(secret) is None:
        message = "the secret of a key, which comes second, is 16 to 256 printable ASCII characters"
        raise ValueError(message)
    return AccessKey(key, secret, plain_principal(name))


KEY_FILE: Final = LineGrammar(_read_line, lambda entry: entry.id)
"""Access keys by id."""
