"""The ports of secrets: what seals them at rest, where they are kept, and who is told what is in them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from proxy.core.registry.secrets.names import SecretReference


class UnsealableError(Exception):
    """What was sealed cannot be opened: by another key, for another purpose, or it was altered."""


class Sealer(Protocol):
    """Encryption of small texts at rest. What is sealed can be neither read nor altered without the key."""

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Return `plain`, encrypted, to be opened for the same `purpose` only. Quick enough for the event loop."""

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return what was sealed, or raise `UnsealableError`."""


class SecretFailure(StrEnum):
    """Why a secret cannot be used."""

    NOT_FOUND = "not_found"
    INACCESSIBLE = "inaccessible"  # it is there, and may not be read
    UNAVAILABLE = "unavailable"  # its place does not answer now
    SEALED = "sealed"  # it cannot be decrypted
    EMPTY = "empty"  # it was made, and was given no value so far
    MALFORMED = "malformed"  # it is no JSON object of `username` and `accessToken`


class SecretError(Exception):
    """A secret cannot be used; the message is a sentence with the remedy, and tells nothing of its content."""

    def __init__(self, failure: SecretFailure, message: str) -> None:
        """Keep the kind of failure and its public sentence."""
        super().__init__(message)
        self.failure = failure
        self.message = message


class SecretPlace(Protocol):
    """Somewhere that secrets are kept. `lifetime` is how many seconds what was read there may be used."""

    lifetime: float

    async def read(self, reference: SecretReference) -> str | None:
        """Return the text of a secret, or None where this place has none of that name.

        Raises `SecretError`: INACCESSIBLE, UNAVAILABLE, SEALED, EMPTY, or MALFORMED where it is no text.
        """


@dataclass(frozen=True, slots=True)
class Login:
    """What a secret says: an account at an upstream registry."""

    username: str
    token: str = field(repr=False)


class SecretLogins(Protocol):
    """The accounts that rules name by secrets."""

    async def login(self, secret: str) -> Login:
        """Return the account in a secret, given by name or ARN; a change is seen within a minute.

        Raises `SecretError`. Cheap to ask again and again.
        """
