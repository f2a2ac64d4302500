"""Content digests (OCI image-spec, descriptor §digests)."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from proxy.model.errors import ErrorCode, ProxyError


class Hasher(Protocol):
    """The part of a ``hashlib`` object that a digest needs."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Feed `data` in order."""

    def hexdigest(self) -> str:
        """Return the lower-case hexadecimal digest of all bytes fed so far."""

    def copy(self) -> Self:
        """Return another hasher that has been fed the same bytes."""


_ALGORITHMS: dict[str, tuple[Callable[[], Hasher], re.Pattern[str]]] = {
    "sha256": (hashlib.sha256, re.compile(r"[0-9a-f]{64}")),
    "sha512": (hashlib.sha512, re.compile(r"[0-9a-f]{128}")),
}
ALGORITHMS = frozenset(_ALGORITHMS)
"""The names of the registered algorithms."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """Name content by its hash: ``<algorithm>:<lower-case hex>``.

    Only registered algorithms with exactly their number of hex digits exist as a `Digest`; every value
    is therefore safe as part of a path, a URL or a header.
    """

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the digest that `text` spells, or raise `ProxyError` DIGEST_INVALID."""
        algorithm, separator, encoded = text.partition(":")
        known = _ALGORITHMS.get(algorithm)
        if not separator or known is None or known[1].fullmatch(encoded) is None:
            raise ProxyError(
                ErrorCode.DIGEST_INVALID,
                "a digest is sha256:<64 hex> or sha512:<128 hex>, in lower case",
                detail={"digest": text[:200]},
            )
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of `data`; `algorithm` must be registered."""
        hasher = _ALGORITHMS[algorithm][0]()
        hasher.update(data)
        return cls(algorithm, hasher.hexdigest())

    def hasher(self) -> Hasher:
        """Return a fresh hasher of this digest's algorithm."""
        return _ALGORITHMS[self.algorithm][0]()

    def matches(self, hasher: Hasher) -> bool:
        """Tell whether the bytes fed to `hasher` are the content this digest names."""
        return hasher.hexdigest() == self.encoded

    def __hash__(self) -> int:
        # Texts remember their hash, and digests are looked up everywhere.
        return hash(self.encoded)

    def __str__(self) -> str:
        """Return the digest as it stands on the wire."""
        return f"{self.algorithm}:{self.encoded}"
