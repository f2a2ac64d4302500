"""What access control asks of those who know users, keys and tokens: ports that `proxy.identity` implements."""

from typing import Protocol

from proxy.model.access_keys import AccessKey
from proxy.model.principal import Principal


class Users(Protocol):
    """Users with passwords of their own choice."""

    async def verify(self, user: str, password: str) -> bool:
        """Tell whether the password is the user's.

        It takes tens of milliseconds of a processor, in a thread, and as long for users who do not exist.
        """

    def knows(self, user: str) -> bool:
        """Tell whether there is such a user now."""

    def version(self, user: str) -> str | None:
        """Return what changes whenever the user's password does, and is a secret; None where there is no such user."""


class AccessKeys(Protocol):
    """The access keys of the registry."""

    def find(self, key: str) -> AccessKey | None:
        """Return the key of this id, or None."""

    def knows(self, principal: Principal) -> bool:
        """Tell whether any key belongs to `principal` now."""


class AssertionRefusedError(Exception):
    """A token of an identity provider that is not taken; the message is for the log only, without the token."""


class Assertions(Protocol):
    """Tokens of identity providers (OpenID Connect)."""

    async def verify(self, token: str) -> Principal:
        """Return whom the token names, or raise `AssertionRefusedError`; may ask the provider for its keys."""
