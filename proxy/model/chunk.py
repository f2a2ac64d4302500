"""The Content-Range header of chunks that clients upload (OCI distribution-spec, "Pushing a blob in chunks")."""

import re
from dataclasses import dataclass
from typing import Self

from proxy.model.errors import ErrorCode, ProxyError

_RANGE = re.compile(r"([0-9]+)-([0-9]+)")
_DIGITS = 18
"""The most digits that a position may have: no content is that long, and hostile ones must not cost time."""


@dataclass(frozen=True, slots=True)
class ChunkRange:
    """Where in an upload a chunk belongs: from byte `first` to byte `last` inclusive, so it has a byte at least."""

    first: int
    last: int

    @classmethod
    def parse(cls, header: str) -> Self:
        """Return the range that a Content-Range header gives, or raise `ProxyError` BLOB_UPLOAD_INVALID.

        It is ``<first>-<last>``, with neither unit nor total: not the header that RFC 9110 §14.4 describes.
        """
        found = _RANGE.fullmatch(header)
        if found is None or max(map(len, found.groups())) > _DIGITS or int(found[1]) > int(found[2]):
            raise ProxyError(
                ErrorCode.BLOB_UPLOAD_INVALID,
                "the Content-Range of a chunk is <first>-<last>, the positions of its first and last byte",
                detail={"content_range": header[:100]},
            )
        return cls(int(found[1]), int(found[2]))

    @property
    def length(self) -> int:
        """Return how many bytes the chunk has."""
        return self.last - self.first + 1
