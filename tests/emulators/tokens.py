"""Token servers of registries (distribution, "Token Authentication Specification"), and who is who."""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qs

from proxy.core.ports import Clock
from tests.emulators.messages import Reply, Request, document, failure, text

_KEY = b"the token server's own key"
_SCOPE = re.compile(r"(?P<kind>[a-z]+(\([a-z]+\))?):(?P<name>[^,\s]+):(?P<actions>[a-z*]+(,[a-z*]+)*)")


@dataclass(frozen=True)
class Account:
    """A user name and the password (or access token) that proves it."""

    username: str
    password: str


class WrongPasswordError(Exception):
    """An Authorization header that proves nobody."""


def parse_basic(authorization: str) -> Account:
    """Return the account that a Basic header names (RFC 7617); raise `WrongPasswordError` for any other header."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise WrongPasswordError from None
    if scheme.lower() != "basic":
        raise WrongPasswordError
    return Account(name, password)


class TokenPolicy(Protocol):
    """What one registry's token server permits."""

    def accepts_service(self, service: str) -> bool:
        """Tell whether tokens are given for `service` ("" if none was named)."""

    def prove(self, account: Account) -> str:
        """Return the user whom a name and a password prove; raise `WrongPasswordError`."""

    def may_pull(self, user: str | None, name: str) -> bool:
        """Tell whether a user (None: anonymous) may pull a repository."""

    def refuse_token(self, request: Request, user: str | None) -> Reply | None:
        """Return why no token is given, None if one is."""

    def wrong_password(self, request: Request) -> Reply:
        """Return the answer to credentials that prove nobody."""


def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form in the body of a request."""
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}


def scopes_of(request: Request) -> list[str]:
    """Return the scopes that are asked for: the parameter is repeated, or holds several with spaces."""
    given = request.parameters.get("scope", []) or parse_qs(request.body.decode()).get("scope", [])
    return [scope for value in given for scope in value.split()]


def names_of(scopes: Iterable[str]) -> list[str]:
    """Return the repositories of well-formed scopes."""
    found = (_SCOPE.fullmatch(scope) for scope in scopes)
    return [match["name"] for match in found if match is not None and match["kind"].startswith("repository")]


def well_formed(scope: str) -> bool:
    return _SCOPE.fullmatch(scope) is not None


@dataclass
class TokenIssuer:
    """Make tokens and read them again. `readable` ones are JWTs (RFC 7519), others say nothing to a client."""

    clock: Clock
    service: str
    lifetime: float
    readable: bool = True
    issued: int = 0
    _claims: dict[str, dict[str, Any]] = field(default_factory=dict)

    def issue(self, subject: str | None, names: Iterable[str]) -> str:
        """Return a token that lets `subject` pull `names`."""
        self.issued += 1
        now = self.clock.now()
        access = [{"type": "repository", "name": name, "actions": ["pull"]} for name in names]
        claims: dict[str, Any] = {"sub": subject or "", "aud": self.service, "access": access, "jti": f"{self.issued}"}
        claims |= {"iat": int(now), "exp": int(now + self.lifetime)}
        head = {"alg": "HS256", "typ": "JWT", "kid": "1"}
        parts = [_encode(json.dumps(head)), _encode(json.dumps(claims))] if self.readable else [_encode(repr(claims))]
        signed = ".".join(parts)
        token = f"{signed}.{_sign(signed)}"
        self._claims[token] = claims
        return token

    def expire_all(self) -> None:
        """Let every token that was issued expire now, whatever a client was told."""
        for claims in self._claims.values():
            claims["exp"] = 0

    def claims(self, authorization: str) -> dict[str, Any] | None:
        """Return what the token of a Bearer header says, None if it is not ours or has expired."""
        scheme, _, token = authorization.partition(" ")
        claims = self._claims.get(token)
        if scheme.lower() != "bearer" or claims is None or claims["exp"] <= self.clock.now():
            return None
        return claims


def _encode(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _sign(content: str) -> str:
    return base64.urlsafe_b64encode(hmac.digest(_KEY, content.encode(), hashlib.sha256)).decode().rstrip("=")


@dataclass
class TokenServer:
    """A token server: anonymous and Basic, repeated scopes, the intersection with what one may see.

    `fields` are all that its answers hold. `oauth`: it takes OAuth 2's POST as well.
    """

    issuer: TokenIssuer
    policy: TokenPolicy
    fields: tuple[str, ...]
    oauth: bool = False
    refresh_tokens: dict[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Reply:
        """Answer a GET with Basic or nothing, or a POST with a form."""
        if request.method == "POST" and self.oauth:
            return self._exchange(request)
        if request.method != "GET":
            return text(405, "Method Not Allowed\n")
        try:
            user = self.policy.prove(parse_basic(request.authorization)) if request.authorization else None
        except WrongPasswordError:
            return self.policy.wrong_password(request)
        if not self.policy.accepts_service(request.parameter("service") or ""):
            return failure(400, "UNSUPPORTED", "unknown service")
        return self.policy.refuse_token(request, user) or self._grant(user, names_of(scopes_of(request)))

    def refresh_token(self, user: str) -> str:
        """Return a new refresh token of a user."""
        made = _sign(f"refresh {user} {len(self.refresh_tokens)}")
        self.refresh_tokens[made] = user
        return made

    def _exchange(self, request: Request) -> Reply:
        """Answer by password or by refresh token (distribution, "OAuth2 Token Authentication")."""
        form = form_of(request)
        if not self.policy.accepts_service(form.get("service", "")):
            return failure(400, "UNSUPPORTED", "unknown service")
        user = self._proven(form)
        if user is None:
            return self.policy.wrong_password(request)
        names = [name for name in names_of(scopes_of(request)) if self.policy.may_pull(user, name)]
        return document({"access_token": self.issuer.issue(user, names), "scope": form.get("scope", "")})

    def _proven(self, form: dict[str, str]) -> str | None:
        if form.get("grant_type") == "refresh_token":
            return self.refresh_tokens.get(form.get("refresh_token", ""))
        if form.get("grant_type") != "password":
            return None
        try:
            return self.policy.prove(Account(form.get("username", ""), form.get("password", "")))
        except WrongPasswordError:
            return None

    def _grant(self, user: str | None, names: list[str]) -> Reply:
        token = self.issuer.issue(user, [name for name in names if self.policy.may_pull(user, name)])
        issued_at = datetime.fromtimestamp(self.issuer.clock.now(), UTC).isoformat().replace("+00:00", "Z")
        known: dict[str, object] = {
            "token": token,
            "access_token": token,
            "expires_in": int(self.issuer.lifetime),
            "issued_at": issued_at,
        }
        return document({name: known[name] for name in self.fields})
