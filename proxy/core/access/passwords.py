"""User names with passwords, as ``docker login`` takes them: the registry's own, providers' tokens, users'."""

from typing import Final

from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.identities import Identities
from proxy.core.access.ports import AssertionRefusedError, Assertions
from proxy.core.access.user_passwords import UserPasswords
from proxy.core.registry.authorization import USER, PasswordExpiredError, RegistryPasswords
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal, source_of

# ECR's sentence.
_EXPIRED: Final = "Your authorization token has expired. Reauthenticate and try again."
# One for all, so that it tells nobody which users there are.
_WRONG: Final = "the user name or the password is wrong"


class PasswordService:
    """Tell whose a user name and a password are.

    ``AWS`` goes with the passwords that the registry gives, the name of an identity provider with its tokens, and any
    other name with the password of a user, if there are `users`.
    """

    def __init__(self, identities: Identities, given: RegistryPasswords, users: UserPasswords | None) -> None:
        self._identities = identities
        self._given = given
        self._users = users

    async def check(self, user: str, password: str, address: str | None, *, stray: bool = False) -> Caller:
        """Return whose password it is, or raise `ProxyError`.

        UNAUTHORIZED where it is nobody's; DENIED where the registry gave it and it has expired; TOOMANYREQUESTS, with
        ``Retry-After``, where too many wrong ones came for the user or from the address. `stray` tells that the
        credentials may be meant for another registry (those that dockerd sends to a mirror): the same wrong ones then
        count once, however often they come.
        """
        if user == USER:
            return Caller(self._registry_password(password), Scheme.REGISTRY_PASSWORD, address)
        if self._identities.assertions is not None and user in self._identities.providers:
            return Caller(await self._assertion(self._identities.assertions, user, password), Scheme.OIDC, address)
        if self._users is None or not await self._users.check(user, password, address, stray=stray):
            raise _wrong("no such user, or not the user's password")
        return Caller(Principal(user), Scheme.PASSWORD, address)

    def _registry_password(self, text: str) -> Principal:
        try:
            principal = self._given.verify(text)
        except PasswordExpiredError:
            raise ProxyError(ErrorCode.DENIED, _EXPIRED) from None
        if principal is None:
            raise _wrong("not a password of this registry")
        if not self._identities.knows(principal):
            raise _wrong("a password of this registry, given to a principal that is not known any more")
        return principal

    @staticmethod
    async def _assertion(assertions: Assertions, provider: str, token: str) -> Principal:
        try:
            principal = await assertions.verify(token)
        except AssertionRefusedError as error:
            raise _wrong(str(error)) from error
        if source_of(principal) != provider:
            raise _wrong("a token of another identity provider than the user name says")
        return principal


def _wrong(debug: str) -> ProxyError:
    return ProxyError(ErrorCode.UNAUTHORIZED, _WRONG, debug=debug)
