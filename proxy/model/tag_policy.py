"""Whether tags may be given another digest (ECR: ``imageTagMutability`` and its exclusion filters)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from proxy.model.patterns import fits_literals
from proxy.model.reference import Tag

FILTERS_LIMIT = 5
"""The most filters that one policy may have."""

_STARS_LIMIT = 2
_FILTER = re.compile(r"[0-9a-zA-Z._*-]{1,128}")


class TagMutability(StrEnum):
    """The modes of ECR, under ECR's names."""

    MUTABLE = "MUTABLE"
    IMMUTABLE = "IMMUTABLE"
    IMMUTABLE_WITH_EXCLUSION = "IMMUTABLE_WITH_EXCLUSION"  # all tags but those that a filter fits
    MUTABLE_WITH_EXCLUSION = "MUTABLE_WITH_EXCLUSION"  # no tags but those that a filter fits

    @property
    def has_filters(self) -> bool:
        """Tell whether the mode means anything only with filters."""
        return self in {TagMutability.IMMUTABLE_WITH_EXCLUSION, TagMutability.MUTABLE_WITH_EXCLUSION}


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """Say which tags of a repository are kept from moving once they exist.

    `filters` are wildcard patterns of whole tags, in which ``*`` stands for any characters, or none; case counts.
    A mode with exclusion has 1 to 5 of them, the others have none; each has 1 to 128 of the characters of tags and at
    most two ``*``. Raises ValueError, with a sentence for the operator, where that is not so.
    """

    mutability: TagMutability = TagMutability.MUTABLE
    filters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_filters(self.mutability, self.filters)

    def may_move(self, tag: Tag) -> bool:
        """Tell whether the tag, where it exists, may be given another digest. No tag is special."""
        excluded = any(fits(pattern, tag) for pattern in self.filters)
        match self.mutability:
            case TagMutability.MUTABLE | TagMutability.MUTABLE_WITH_EXCLUSION:
                return not excluded
            case TagMutability.IMMUTABLE | TagMutability.IMMUTABLE_WITH_EXCLUSION:
                return excluded


def check_filters(mutability: TagMutability, filters: Sequence[str]) -> None:
    """Raise ValueError unless `filters` are what a policy of this mode may have."""
    if not mutability.has_filters:
        if filters:
            raise ValueError(f"{mutability} takes no filters: write {mutability}_WITH_EXCLUSION, or leave them out")
        return
    if not 1 <= len(filters) <= FILTERS_LIMIT:
        raise ValueError(f"{mutability} needs 1 to {FILTERS_LIMIT} filters, not {len(filters)}")
    for pattern in filters:
        if _FILTER.fullmatch(pattern) is None:
            raise ValueError(f"{pattern[:130]!r} is no filter: it has 1 to 128 letters, digits, . _ - and *")
        if pattern.count("*") > _STARS_LIMIT:
            raise ValueError(f"{pattern!r} is no filter: it has more than {_STARS_LIMIT} *")


def fits(pattern: str, tag: str) -> bool:
    """Tell whether the whole tag is the pattern, in which each ``*`` stands for any characters, or none."""
    return fits_literals(tuple(pattern.split("*")), tag)


ALL_TAGS_MOVE = TagPolicy()
"""The policy of ECR where none was chosen."""
