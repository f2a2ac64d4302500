"""What the surfaces ask of authentication, and authentication of those who know passwords."""

from typing import Protocol

from aiohttp import web

from proxy.core.access.caller import Caller, Scopes
from proxy.core.access.tokens import Token
from proxy.http.access.challenge import Demand
from proxy.model.errors import ProxyError


class Passwords(Protocol):
    """Who knows the passwords of users, of the registry, and tokens that are sent as one."""

    async def check(self, user: str, password: str, address: str | None, *, stray: bool = False) -> Caller:
        """Return whose password it is, or raise `ProxyError`.

        UNAUTHORIZED where it is nobody's, DENIED where it has expired, TOOMANYREQUESTS after too many wrong ones.
        `stray` tells that the credentials may be meant for another registry.
        """


class Authentication(Protocol):
    """Tell who makes requests, ask for credentials, and give tokens for them."""

    async def identify(self, request: web.Request, *, mirror: bool, ticket: bool = False) -> Caller:
        """Return who makes the request, or raise `ProxyError`.

        At a `mirror` (a listener of its own, or below ``/<prefix>/v2/``) credentials that are nobody's here count as
        none: dockerd sends those for Docker Hub. With `ticket`, one in the query counts.
        """

    async def check(self, request: web.Request, user: str, password: str, *, mirror: bool) -> Caller:
        """Return whose credentials those are, which came in the body of the request; otherwise as `identify`."""

    def challenge(
        self, request: web.Request, error: ProxyError, demand: Demand, caller: Caller | None = None
    ) -> web.Response:
        """Return the answer to a request that `error` (UNAUTHORIZED) refuses, with what is asked for.

        `caller` is who makes it, None where the credentials themselves were refused.
        """

    def origin(self, request: web.Request, *, mirror: bool) -> str:
        """Return the origin under which the client reaches this listener."""

    @property
    def gives_tokens(self) -> bool:
        """Tell whether there is a token endpoint; without it passwords are shown with each request."""

    def issue(self, caller: Caller, scopes: Scopes) -> Token:
        """Return a token of the caller for these scopes."""
