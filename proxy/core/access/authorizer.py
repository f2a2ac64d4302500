"""The decision: whether a caller may do what a request is about to do."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from proxy.core.access.caller import Caller
from proxy.model.access import Action
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule

LISTED: Final = "ecr:BatchGetImage"
"""What must be permitted for a repository to be listed in the catalog: its images may be pulled."""


class Wanted(msgspec.Struct, frozen=True):
    """What a caller is about to do.

    `operation` is its name in IAM policies (``ecr:BatchGetImage``). `repository` is canonical, None for what concerns
    the registry as a whole: that needs a grant on all repositories. `rule` is that of a cache repository.
    """

    action: Action
    operation: str
    repository: RepositoryName | None = None
    rule: CacheRule | None = None


class ScopeError(ProxyError):
    """A token is not good for this, though whom it names may do it: another one would be (UNAUTHORIZED)."""

    def __init__(self) -> None:
        """Say so; the challenge of the answer says which scope to ask for."""
        super().__init__(ErrorCode.UNAUTHORIZED, "the token is not good for this: ask for one that is")


class Authorizer(Protocol):
    """What decides. It never waits for a network."""

    async def permits(self, caller: Caller, wanted: Wanted) -> bool:
        """Tell whether the caller may."""

    async def require(self, caller: Caller, wanted: Wanted) -> None:
        """Raise `ProxyError` unless the caller may.

        UNAUTHORIZED for who is not known, or whose token is not good for this: other credentials could be. DENIED for
        who is known and may not. Neither depends on whether the repository exists, and neither tells it. It is
        `ScopeError` where the principal may, be it the anonymous one, and the token's scopes do not.
        """

    async def visible(
        self, caller: Caller, names: Sequence[RepositoryName], operation: str = LISTED
    ) -> list[RepositoryName]:
        """Return in which of the repositories the caller may do that, which is a kind of pulling."""

    async def spans(self, caller: Caller, operation: str = LISTED) -> tuple[NameSpan, ...]:
        """Return spans of names, in order and apart, outside of which `visible` would return none.

        They are as narrow as can be told without looking at every name.
        """


class EveryoneMay:
    """The `Authorizer` of a registry without `auth`: everyone may do everything."""

    async def permits(self, caller: Caller, wanted: Wanted) -> bool:  # noqa: ARG002 - the port
        """Tell that the caller may."""
        return True

    async def require(self, caller: Caller, wanted: Wanted) -> None:
        """Raise nothing."""

    async def visible(
        self,
        caller: Caller,  # noqa: ARG002 - the port
        names: Sequence[RepositoryName],
        operation: str = LISTED,  # noqa: ARG002 - the port
    ) -> list[RepositoryName]:
        """Return all of them."""
        return list(names)

    async def spans(self, caller: Caller, operation: str = LISTED) -> tuple[NameSpan, ...]:  # noqa: ARG002 - the port
        """Return the span of all names."""
        return ALL_NAMES
