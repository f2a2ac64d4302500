"""File descriptors: as many as a process needs, where the system lets it have them, else no more clients than fit.

Without any left nothing goes: neither the database nor an upstream can be opened, so that many clients at once would
have all fail, whatever they ask for.
"""

import resource
from typing import Final

import structlog

_CONNECTION: Final = 3
"""What a client may take: its socket, and for a blob that is on its way the file of bytes and that of the record."""

_OTHERS: Final = 256
"""For the database, logs and listeners, and for the connections to upstreams."""

_log = structlog.get_logger(__name__)


def allow_descriptors(connections: int) -> None:
    """Raise this process's own limit to what so many clients need, as far as it may be raised; children inherit it.

    Shells and services begin with 1024, which is for programs that wait by select(2), and may have many more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * _CONNECTION + _OTHERS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def within_descriptors(connections: int) -> int:
    """Return how many clients, `connections` at the most, there are descriptors for; say so if they are fewer."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= connections * _CONNECTION + _OTHERS:
        return connections
    fitting = max(1, (soft - _OTHERS) // _CONNECTION)
    _log.warning("server.few_descriptors", limit=soft, connections=fitting, setting="server.limits.connections")
    return fitting
