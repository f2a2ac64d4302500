"""How an answer came about, as ``Cache-Status`` (RFC 9211) and the log tell it."""

from dataclasses import dataclass
from enum import StrEnum


class Forward(StrEnum):
    """Why a request went upstream (RFC 9211 §2.2)."""

    MISS = "uri-miss"  # nothing was stored
    STALE = "stale"  # a stored copy had to be checked


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """Describe one answer.

    `hit`: served from the store. `forward`: a request was made upstream, and why. `collapsed`: it shared another
    request's upstream transfer. `stored`: the answer was (or is being) kept. `stale`: an old copy was served
    because the upstream failed; names the failure. `bypass`: the bytes were passed through without being kept.
    `detail`: in one word, what is particular about a hit (`budget`: not checked, to save pulls).
    """

    hit: bool = False
    forward: Forward | None = None
    collapsed: bool = False
    stored: bool = False
    stale: str | None = None
    bypass: bool = False
    detail: str | None = None

    @property
    def outcome(self) -> str:
        """Return one word for logs and metrics: hit, stale, revalidated, collapsed, bypass or miss."""
        if self.stale is not None:
            return "stale"
        if self.bypass:
            return "bypass"
        if self.collapsed:
            return "collapsed"
        if self.hit:
            return "revalidated" if self.forward else "hit"
        return "miss"
