"""Pages of lists: ``nextToken`` and ``maxResults``."""

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar

from proxy.http.aws.operations import Given
from proxy.model.api_errors import ApiError, invalid

DEFAULT = 100
"""How many entries a page has where the caller did not say."""

_LIMIT = 1024

T = TypeVar("T")


def token_after(key: str) -> str:
    """Return the opaque token of the page that begins after `key`."""
    return base64.urlsafe_b64encode(key.encode()).decode()


def key_before(token: str | None) -> str:
    """Return the key after which the page of a token begins ("" for the first); `ApiError` for no token of ours."""
    if not token:
        return ""
    if len(token) > _LIMIT:
        raise _unknown()
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError as error:
        # Not base64 (binascii.Error), or not text beneath it.
        raise _unknown() from error


def cut(found: Sequence[T], size: int, key: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Return the first `size` entries and, where `found` has more, the token of the page after them.

    `key` is that by which the list is ordered.
    """
    page = found[:size]
    return page, token_after(key(page[-1])) if len(found) > size else None


def refuse_pages(given: Given, beside: str) -> None:
    """Raise `ApiError` where a request asks for a page although its member `beside` names what it wants."""
    for member in ("nextToken", "maxResults"):
        if member in given:
            raise invalid(member, f"it cannot be combined with {beside}")


def _unknown() -> ApiError:
    return invalid("nextToken", "it is none that this registry gave")
