"""Hashes of what uploads hold so far, kept between the requests of one process."""

import os
import threading
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cachetools import LRUCache

from proxy.model.digest import Digest, Hasher

_PIECE: Final = 1 << 20
_LIMIT: Final = 1024


@dataclass(frozen=True, slots=True)
class _State:
    hasher: Hasher
    size: int
    mtime_ns: int


class HashStates:
    """Remember hashers of unfinished uploads, each with the state of the file that it was fed.

    Any other process may write to the upload meanwhile; a hasher is given back only for the very file it is of. The
    least recently used of `limit` is forgotten first: its file is read again.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._states: LRUCache[UUID, _State] = LRUCache(limit)
        self._guard = threading.Lock()

    def keep(self, upload: UUID, hasher: Hasher, found: os.stat_result) -> None:
        """Remember `hasher`, which was fed all of the file that `found` describes."""
        with self._guard:
            self._states[upload] = _State(hasher, found.st_size, found.st_mtime_ns)

    def take(self, upload: UUID, found: os.stat_result) -> Hasher | None:
        """Return the hasher of an upload whose file is as `found` describes, to whoever will feed it; or None."""
        with self._guard:
            state = self._states.pop(upload, None)
        if state is None or (state.size, state.mtime_ns) != (found.st_size, found.st_mtime_ns):
            return None
        return state.hasher


def fresh_hasher(algorithm: str) -> Hasher:
    """Return a hasher that was fed nothing; `algorithm` must be registered."""
    return Digest.of(b"", algorithm).hasher()


def hash_file(descriptor: int, algorithm: str) -> Hasher:
    """Return a hasher that was fed the whole file, in pieces; reading and hashing both release the interpreter."""
    hasher = fresh_hasher(algorithm)
    piece = memoryview(bytearray(_PIECE))
    position = 0
    while count := os.preadv(descriptor, [piece], position):
        hasher.update(piece[:count])
        position += count
    return hasher
