"""Paths of the distribution API, read strictly from the bytes of the request line.

Three layouts share one grammar: ``/v2/<name>/…``, the same with ``?ns=``, and ``/<prefix>/v2/<name>/…``, where the
prefix is that of a cache rule.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.reference import RepositoryName, Tag, parse_reference, parse_repository

_PATH_LIMIT = 1024
# Whatever no name, tag or digest can hold never gets as far as a handler: no escapes, no other alphabets.
_PATH = re.compile(r"(?:/[A-Za-z0-9._:+=-]*)+")
_COLON = re.compile(r"%3[Aa]")
_NAMELESS = RepositoryName("")
_DOTS = frozenset({".", ".."})


class Kind(StrEnum):
    """Kinds of endpoints; also a label of log events and metrics."""

    PING = "ping"
    TOKEN = "token"  # noqa: S105 - the name of an endpoint
    CATALOG = "catalog"
    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    UPLOADS = "uploads"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names.

    `base` is the path up to and including ``/v2``; `prefix` what stands before it, "" for nothing. `name` is "" on
    the endpoints that have none. `reference` is a `Digest` on the endpoints that take only digests. `session` is what
    stands in the place of an upload's id, be it one or not. `shown` is how logs show reference or session, if any.
    """

    kind: Kind
    base: str
    prefix: str = ""
    name: RepositoryName = _NAMELESS
    reference: Tag | Digest | None = None
    session: str = ""
    shown: str | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Paths are remembered with what they name, so this is written once.
        shown = str(self.reference) if self.reference is not None else self.session or None
        object.__setattr__(self, "shown", shown)

    @property
    def digest(self) -> Digest:
        """Return the reference of an endpoint that takes only digests."""
        if not isinstance(self.reference, Digest):
            raise TypeError(f"a {self.kind} endpoint was asked for the digest of {self.reference!r}")
        return self.reference


def parse(raw: str) -> Target:
    """Return what `raw`, the target of a request line, names.

    The query is ignored. Raises `ProxyError`: NOT_FOUND where the path belongs to no endpoint, otherwise what the
    grammar of names, tags and digests says.
    """
    return _parse(_origin_form(raw).partition("?")[0])


# Clients ask for few paths many times; refusals are not remembered.
@lru_cache(maxsize=4096)
def _parse(path: str) -> Target:
    head, slash, last = path.rpartition("/")
    # Clients escape the colon of a digest, and nothing else, ever. It is decoded once: %253A stays refused.
    segments = (head + slash + _COLON.sub(":", last)).split("/")
    if len(path) > _PATH_LIMIT or _PATH.fullmatch("/".join(segments)) is None or not _DOTS.isdisjoint(segments):
        raise ProxyError(ErrorCode.NOT_FOUND)
    if "v2" not in segments:
        raise ProxyError(ErrorCode.NOT_FOUND)
    # A name may hold a segment "v2" as well, so the first one ends the prefix.
    at = segments.index("v2")
    base = "/".join(segments[: at + 1])
    return _endpoint(base, _prefix(segments[1:at]), segments[at + 1 :])


def _endpoint(base: str, prefix: str, rest: list[str]) -> Target:  # noqa: PLR0911 - a table, a line each
    # A name may hold any of the fixed words as segments, so they are looked for from the right.
    match rest:
        case [] | [""]:
            return Target(Kind.PING, base, prefix)
        case ["token"]:
            return Target(Kind.TOKEN, base, prefix)
        case ["_catalog"]:
            return Target(Kind.CATALOG, base, prefix)
        case [*name, "manifests", reference]:
            return Target(Kind.MANIFEST, base, prefix, _name(name), parse_reference(reference))
        case [*name, "tags", "list"]:
            return Target(Kind.TAGS, base, prefix, _name(name))
        case [*name, "referrers", digest]:
            return Target(Kind.REFERRERS, base, prefix, _name(name), Digest.parse(digest))
        case [*name, "blobs", "uploads"] | [*name, "blobs", "uploads", ""]:
            return Target(Kind.UPLOADS, base, prefix, _name(name))
        case [*name, "blobs", "uploads", session]:
            return Target(Kind.UPLOAD, base, prefix, _name(name), session=session)
        case [*name, "blobs", digest]:
            return Target(Kind.BLOB, base, prefix, _name(name), Digest.parse(digest))
        case _:
            raise ProxyError(ErrorCode.NOT_FOUND)


def _name(segments: list[str]) -> RepositoryName:
    if not all(segments) or not segments:
        raise ProxyError(ErrorCode.NOT_FOUND)
    return parse_repository("/".join(segments))


def _prefix(segments: list[str]) -> str:
    try:
        return parse_repository("/".join(segments)) if segments else ""
    except ProxyError:
        raise ProxyError(ErrorCode.NOT_FOUND) from None


def _origin_form(raw: str) -> str:
    if raw.startswith("/"):
        return raw
    # RFC 9112 §3.2.2: a server accepts the absolute form too.
    authority, slash, path = raw.partition("://")[2].partition("/")
    return slash + path if authority else ""
