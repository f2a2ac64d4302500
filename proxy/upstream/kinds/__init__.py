"""What is particular about each kind of upstream registry, as one table."""

from proxy.upstream.kinds.hosts import host_fits
from proxy.upstream.kinds.kind import Counted, Forbidden, Pacing, Rate, Referrers, RegistryKind
from proxy.upstream.kinds.table import GENERIC, KINDS, is_shared, kind_of

__all__ = [
    "GENERIC",
    "KINDS",
    "Counted",
    "Forbidden",
    "Pacing",
    "Rate",
    "Referrers",
    "RegistryKind",
    "host_fits",
    "is_shared",
    "kind_of",
]
