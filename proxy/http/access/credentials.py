"""The one parser of ``Authorization``, and of what stands in its place."""

import base64
import binascii
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

# The longest are tokens of identity providers. The server takes no longer fields.
_LIMIT: Final = 16 << 10
# RFC 9110 §11.4: a scheme, spaces, and here a token68 in every case: Basic's base64 is one, too.
_FIELD: Final = re.compile(r"([A-Za-z]+) +([A-Za-z0-9._~+/-]+=*)")


@dataclass(frozen=True, slots=True)
class Basic:
    """A user and a password (RFC 7617). The user's name has no colon; neither has control characters."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token (RFC 6750), of whatever kind."""

    token: str = field(repr=False)


class UnreadableCredentialsError(Exception):
    """Credentials were sent that are none of those that are taken here; the message repeats nothing of them."""


def parse_authorization(values: Sequence[str]) -> Basic | Bearer | None:
    """Return what the ``Authorization`` fields of a request say, None where there are none.

    Raises nothing but `UnreadableCredentialsError`: of several fields, of other schemes, of what is not exactly as its
    scheme has it.
    """
    if not values:
        return None
    if len(values) > 1:
        raise UnreadableCredentialsError("there are several Authorization fields")
    found = _FIELD.fullmatch(values[0].strip(" \t")) if len(values[0]) <= _LIMIT else None
    if found is None:
        raise UnreadableCredentialsError("the Authorization field is malformed, or longer than 16 KiB")
    match found[1].lower():
        case "basic":
            return _basic(found[2])
        case "bearer":
            return Bearer(found[2])
        case _:
            raise UnreadableCredentialsError("the scheme of the Authorization field is neither Basic nor Bearer")


def check_user(user: str, password: str) -> Basic:
    """Return a user and a password that came another way than by ``Authorization``, as strictly."""
    if ":" in user or any(unicodedata.category(character) == "Cc" for character in user + password):
        raise UnreadableCredentialsError("a user name has a colon, or it or the password has control characters")
    if len(user) + len(password) > _LIMIT:
        raise UnreadableCredentialsError("user name and password are longer than 16 KiB")
    return Basic(user, password)


def _basic(encoded: str) -> Basic:
    try:
        data = base64.b64decode(encoded, validate=True)
        text = data.decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UnreadableCredentialsError("the credentials are not base64 of UTF-8") from None
    # Padding and unused bits have one right form, by which two spellings are never one password.
    if base64.b64encode(data).decode() != encoded:
        raise UnreadableCredentialsError("the credentials are not base64 as RFC 4648 has it")
    # RFC 7617 §2: the first colon ends the name; a password may have more of them.
    user, colon, password = text.partition(":")
    if not colon:
        raise UnreadableCredentialsError("the credentials have no colon between user and password")
    return check_user(user, password)
