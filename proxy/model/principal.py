"""Who makes a request."""

import re
from typing import Final, NewType

Principal = NewType("Principal", str)
"""The name by which policies and the audit log know somebody.

Users of the password file and owners of access keys have plain names; who is known by a token or a certificate has a
name with a colon (``oidc:repo:team/app``, ``cert:builder``), so that nobody else's can be taken for it.
"""

ANONYMOUS = Principal("")
"""Whoever gave no name: everyone, while the registry asks for none."""

EVERYONE: Final = "anonymous"
"""What policies call everyone, known or not."""

CERTIFICATE: Final = "cert"
"""The source of the names of those who are known by a client certificate."""

RESERVED: Final = frozenset({EVERYONE, "AWS"})
"""Names that mean something else where users and principals are named."""

# Printable ASCII without ``*`` and ``:``; a line that begins with # is a comment wherever names are kept.
_PLAIN: Final = re.compile(r"(?!#)[!-)+-9;-~]{1,128}")


def is_plain(text: str) -> bool:
    """Tell whether a user, or an owner of access keys, could have this name."""
    return _PLAIN.fullmatch(text) is not None and text not in RESERVED


def plain_principal(text: str) -> Principal:
    """Return the principal of this plain name; raise ValueError, with a sentence, for a name that is none."""
    if text in RESERVED:
        raise ValueError(f"{text!r} cannot be a name: it is taken for something else")
    if not is_plain(text):
        message = "a name is up to 128 printable ASCII characters without white space, `:` and `*`, and not `#` first"
        raise ValueError(message)
    return Principal(text)


def sourced_principal(source: str, name: str) -> Principal:
    """Return the principal whom `source` knows by a name: an identity provider, or `CERTIFICATE`."""
    return Principal(f"{source}:{name}")


def source_of(principal: Principal) -> str | None:
    """Return what knows the principal by a name of its own; None for plain names, and for nobody."""
    source, colon, _ = principal.partition(":")
    return source if colon else None
