"""How many manifests are read at a time."""

from collections.abc import Iterable
from typing import Final

from proxy.core.ports import ManifestRecord

_SIZE: Final = 8 << 20
"""Bytes that the manifests of a page add up to: each may have megabytes of annotations."""


def page_of(records: Iterable[ManifestRecord], limit: int) -> list[ManifestRecord]:
    """Return the first `limit` of `records`, which are in order of digest, each digest once.

    Fewer, but one at least, where they are large; no more are read than it takes to find that out.
    """
    page: list[ManifestRecord] = []
    size = 0
    for record in records:
        if page and page[-1].digest == record.digest:
            continue
        size += record.size
        if len(page) == limit or (page and size > _SIZE):
            break
        page.append(record)
    return page
