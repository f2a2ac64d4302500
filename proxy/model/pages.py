"""Pages of lists: the query parameters ``n`` and ``last`` (OCI distribution-spec, "Listing Tags")."""

import re
from dataclasses import dataclass

from proxy.model.errors import ErrorCode, ProxyError

PAGE_LIMIT = 10_000
"""The most entries that one page may be asked to hold."""

REFERRERS_LIMIT = 1000
"""The most referrers on one page."""

DOCUMENT_LIMIT = 3 << 20
"""The most bytes of a page of referrers with more than one: clients read about 4 MiB of a document."""

_LAST_LIMIT = 255
_NUMBER = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Page:
    """Ask for up to `n` entries (None: as many as there are) that are greater than `last`, in byte order."""

    n: int | None = None
    last: str = ""


def parse_page(n: str | None, last: str | None) -> Page:
    """Return the page that the query asks for, or raise `ProxyError` PAGINATION_NUMBER_INVALID.

    `last` need not exist as an entry; it has only to be something that could stand in a list.
    """
    number = None
    if n is not None:
        if _NUMBER.fullmatch(n) is None or int(n) > PAGE_LIMIT:
            raise ProxyError(ErrorCode.PAGINATION_NUMBER_INVALID, detail={"n": n[:20]})
        number = int(n)
    if last is not None and (len(last) > _LAST_LIMIT or not last.isascii() or not last.isprintable()):
        raise ProxyError(
            ErrorCode.PAGINATION_NUMBER_INVALID,
            f"last must be the last entry of the page before: at most {_LAST_LIMIT} printable ASCII characters",
        )
    return Page(number, last or "")
