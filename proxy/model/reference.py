"""Repository names and tags (OCI distribution-spec, "Pulling manifests")."""

import re
from typing import NewType

from proxy.model.digest import Digest
from proxy.model.errors import ErrorCode, ProxyError

RepositoryName = NewType("RepositoryName", str)
Tag = NewType("Tag", str)

NAME_LIMIT = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


def parse_repository(text: str) -> RepositoryName:
    """Return `text` as a repository name, or raise `ProxyError` NAME_INVALID."""
    if len(text) > NAME_LIMIT or _NAME.fullmatch(text) is None:
        raise ProxyError(
            ErrorCode.NAME_INVALID,
            "a repository name is lower-case words joined by . _ __ - and /, at most 255 characters",
            detail={"name": text[:NAME_LIMIT]},
        )
    return RepositoryName(text)


def parse_tag(text: str) -> Tag:
    """Return `text` as a tag, or raise `ProxyError` MANIFEST_UNKNOWN: no manifest can have such a tag."""
    if _TAG.fullmatch(text) is None:
        raise ProxyError(
            ErrorCode.MANIFEST_UNKNOWN,
            "a tag is 1 to 128 letters, digits, . _ or -, and begins with a letter, a digit or _",
            detail={"tag": text[:200]},
        )
    return Tag(text)


def is_tag(text: str) -> bool:
    """Tell whether `text` is within the grammar of tags."""
    return _TAG.fullmatch(text) is not None


def parse_reference(text: str) -> Tag | Digest:
    """Return the tag or digest that `text` spells; whatever holds a colon is a digest (distribution-spec)."""
    return Digest.parse(text) if ":" in text else parse_tag(text)


def referrers_tag(subject: Digest) -> Tag:
    """Return the fallback tag that lists referrers of `subject` (distribution-spec, "Referrers Tag Schema")."""
    return Tag(f"{subject.algorithm[:32]}-{subject.encoded[:64]}")
