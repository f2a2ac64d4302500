"""Who makes a request: by a ticket, by ``Authorization``, by a client certificate, or nobody that is known."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from aiohttp import hdrs, web

from proxy.core.access.authorizer import ScopeError
from proxy.core.access.caller import Caller, Scheme, Scopes
from proxy.core.access.identities import Identities
from proxy.core.access.ports import AssertionRefusedError
from proxy.core.access.tokens import BearerTokens, Token, TokenExpiredError
from proxy.http.access.certificates import principal_of
from proxy.http.access.challenge import Challenges, Demand
from proxy.http.access.credentials import Basic, Bearer, UnreadableCredentialsError, check_user, parse_authorization
from proxy.http.access.ports import Passwords
from proxy.http.trace import TRACE, introduce
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal

TICKET: Final = "ticket"
"""The parameter of the query that makes a URL good for who has it."""

_REFUSED: Final = "the credentials are not known here, or no longer good"
# Whoever sends too many wrong passwords is heard no more; at a mirror they may be Docker Hub's.
_NOBODYS: Final = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.TOOMANYREQUESTS})


class Authenticator:
    """The `Authentication` of a registry that asks who its callers are: one of `identities`.

    `tokens` are given for signed URLs, and for `lifetime` by the token endpoint. Without `lifetime` there is no such
    endpoint, and Basic is the only scheme of ``Authorization`` that is taken. `certified` returns whom the client
    certificate of a connection names.
    """

    def __init__(
        self,
        identities: Identities,
        passwords: Passwords,
        tokens: BearerTokens,
        challenges: Challenges,
        *,
        lifetime: timedelta | None,
        certified: Callable[[web.Request], Principal | None] = principal_of,
    ) -> None:
        self._identities = identities
        self._passwords = passwords
        self._tokens = tokens
        self._challenges = challenges
        self._lifetime = lifetime
        self._certified = certified

    async def identify(self, request: web.Request, *, mirror: bool, ticket: bool = False) -> Caller:
        """Return who makes the request; see `Authentication`. The trace of the request is told."""
        shown = request.query.getall(TICKET, []) if ticket else []
        caller = self._redeem(shown) if shown else await self._authorized(request, mirror=mirror)
        return introduce(request, caller or self._by_certificate(request))

    async def check(self, request: web.Request, user: str, password: str, *, mirror: bool) -> Caller:
        """Return whose credentials those are, which came in the body of the request; see `Authentication`."""
        caller: Caller | None
        try:
            credentials = check_user(user, password)
        except UnreadableCredentialsError as error:
            caller = self._stray(mirror=mirror, debug=str(error))
        else:
            caller = await self._by_password(credentials, request[TRACE].client, mirror=mirror)
        return introduce(request, caller or self._by_certificate(request))

    def challenge(
        self, request: web.Request, error: ProxyError, demand: Demand, caller: Caller | None = None
    ) -> web.Response:
        """Return the answer to a request that is refused; see `Authentication`."""
        # RFC 6750 §3.1. Go clients ask for another token only where the answer says what was wrong with theirs.
        if isinstance(error, ScopeError):
            demand = replace(demand, reason="insufficient_scope")
        elif (caller is None or not caller.token) and _shows_bearer(request):
            demand = replace(demand, reason="invalid_token")
        return self._challenges.answer(request, error, demand)

    def origin(self, request: web.Request, *, mirror: bool) -> str:
        """Return the origin under which the client reaches this listener."""
        return self._challenges.origin(request, mirror=mirror)

    @property
    def gives_tokens(self) -> bool:
        """Tell whether there is a token endpoint."""
        return self._lifetime is not None

    def issue(self, caller: Caller, scopes: Scopes) -> Token:
        """Return a token of the caller for these scopes; to be asked only where tokens are given."""
        if self._lifetime is None:
            raise RuntimeError("a token is asked of a registry that gives none")
        return self._tokens.issue(caller, scopes, self._lifetime)

    async def _authorized(self, request: web.Request, *, mirror: bool) -> Caller | None:
        """Return whom ``Authorization`` names, None where it names nobody and that is no fault."""
        try:
            credentials = parse_authorization(request.headers.getall(hdrs.AUTHORIZATION, []))
        except UnreadableCredentialsError as error:
            return self._stray(mirror=mirror, debug=str(error))
        match credentials:
            case Basic():
                return await self._by_password(credentials, request[TRACE].client, mirror=mirror)
            case Bearer():
                return await self._by_token(credentials.token, mirror=mirror)
            case None:
                return None

    async def _by_password(self, credentials: Basic, address: str | None, *, mirror: bool) -> Caller | None:
        try:
            return await self._passwords.check(credentials.user, credentials.password, address, stray=mirror)
        except ProxyError as error:
            if mirror and error.code in _NOBODYS:
                return None
            raise

    async def _by_token(self, text: str, *, mirror: bool) -> Caller | None:
        if self._lifetime is None:
            return self._stray(mirror=mirror, debug="Bearer is not taken here")
        try:
            caller = self._tokens.verify(text)
        except TokenExpiredError:
            # Also at a mirror: it is one of ours, and who shows it gets another.
            raise ProxyError(ErrorCode.UNAUTHORIZED, "the token has expired: ask for another") from None
        if caller is not None:
            if caller.scheme is Scheme.TICKET or not self._is_somebody(caller):
                raise ProxyError(ErrorCode.UNAUTHORIZED, _REFUSED, debug="a ticket, or of who is no longer known")
            return caller
        assertions = self._identities.assertions
        if assertions is None:
            return self._stray(mirror=mirror, debug="the token is none of this registry")
        try:
            return Caller(await assertions.verify(text), Scheme.OIDC)
        except AssertionRefusedError as error:
            return self._stray(mirror=mirror, debug=str(error))

    def _by_certificate(self, request: web.Request) -> Caller:
        principal = self._certified(request)
        return Caller() if principal is None else Caller(principal, Scheme.CERTIFICATE)

    def _redeem(self, shown: list[str]) -> Caller:
        try:
            caller = self._tokens.verify(shown[0]) if len(shown) == 1 else None
        except TokenExpiredError:
            caller = None
        if caller is None or caller.scheme is not Scheme.TICKET or not self._is_somebody(caller):
            # No other credentials would make the link good, so none are asked for.
            raise ProxyError(ErrorCode.DENIED, "the link is not good, or no longer: ask for another")
        return caller

    def _is_somebody(self, caller: Caller) -> bool:
        return caller.anonymous or self._identities.knows(caller.principal)

    @staticmethod
    def _stray(*, mirror: bool, debug: str) -> None:
        if not mirror:
            raise ProxyError(ErrorCode.UNAUTHORIZED, _REFUSED, debug=debug)


def _shows_bearer(request: web.Request) -> bool:
    try:
        return isinstance(parse_authorization(request.headers.getall(hdrs.AUTHORIZATION, [])), Bearer)
    except UnreadableCredentialsError:
        return False
