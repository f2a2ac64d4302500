"""Bearer tokens: fetched from a token server, kept until shortly before they expire, one request for many who wait."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

import msgspec
from cachetools import LRUCache
from yarl import URL

from proxy.core.ports import Clock
from proxy.core.single_flight import SingleFlight
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import CacheRule, Remote
from proxy.upstream.answers import Answer
from proxy.upstream.challenge import Challenge
from proxy.upstream.credential import Credential
from proxy.upstream.deadline import Deadline
from proxy.upstream.failures import banned, failure_of, is_ban, remedy
from proxy.upstream.guards import Guard
from proxy.upstream.kinds import Forbidden, kind_of
from proxy.upstream.query import Kind, Query
from proxy.upstream.redirects import Follower

_OK, _UNAUTHORIZED, _FORBIDDEN = 200, 401, 403
_DEFAULT_LIFETIME = 60.0  # distribution's token specification: what a missing expires_in means
_LEAST_LIFETIME = 10.0
_EARLY = 30.0
_TOKENS = 4096
_BODY_LIMIT = 256 << 10
_USABLE = re.compile(r"[\x21-\x7e]+")


class Account(NamedTuple):
    """Whose tokens: one rule, as it reaches one registry with one source of credentials. Never shared."""

    prefix: str
    origin: str
    credentials: str

    @classmethod
    def of(cls, rule: CacheRule) -> "Account":
        """Return the account of `rule`."""
        return cls(rule.prefix, rule.upstream.origin, rule.credentials_id)


class TokenKey(NamedTuple):
    """What a token is good for, and who got it by which credential."""

    account: Account
    realm: str
    service: str
    scope: str
    fingerprint: str


class _Token(NamedTuple):
    value: str
    expires: float


class _TokenDocument(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | str | None = None


class _Claims(msgspec.Struct):
    exp: float


class Tokens:
    """The tokens of all rules."""

    def __init__(self, follower: Follower, guard: Guard, clock: Clock, flights: SingleFlight, budget: float) -> None:
        self._follower = follower
        self._guard = guard
        self._clock = clock
        self._flights = flights
        self._budget = budget
        self._tokens: LRUCache[TokenKey, _Token] = LRUCache(_TOKENS)

    def key(self, remote: Remote, challenge: Challenge, credential: Credential | None) -> TokenKey:
        """Return the key of the token that answers `challenge`."""
        scope = challenge.scope or f"repository:{remote.repository}:pull"
        fingerprint = credential.fingerprint if credential is not None else ""
        return TokenKey(Account.of(remote.rule), challenge.realm, challenge.service, scope, fingerprint)

    def kept(self, key: TokenKey) -> str | None:
        """Return a token that is still good, or None."""
        token = self._tokens.get(key)
        return token.value if token is not None and token.expires > self._clock.monotonic() else None

    def drop(self, key: TokenKey, value: str) -> None:
        """Forget a token that the registry refused, unless it was replaced meanwhile."""
        if self.kept(key) == value:
            del self._tokens[key]

    async def fetch(self, remote: Remote, key: TokenKey, credential: Credential | None) -> str:
        """Return a new token, together with everybody who wants the same one now.

        Raises `UpstreamError`: CREDENTIALS_REFUSED where the token server does not take the credential, DENIED where
        it gives no token, REFUSED_TARGET for a realm that credentials must not be sent to.
        """
        return await self._flights.do(key, lambda: self._fetch(remote, key, credential))

    async def _fetch(self, remote: Remote, key: TokenKey, credential: Credential | None) -> str:
        source = URL(f"{remote.rule.upstream.origin}/v2/")
        realm = self._guard.realm(remote.rule, source, key.realm)
        query, authorization = _token_query(remote, realm, key, credential)
        async with self._follower.send(query, authorization, Deadline(self._budget)) as answer:
            if answer.status != _OK:
                raise await self._refusal(answer, credential)
            token = await self._parse(answer)
        self._tokens[key] = token
        return token.value

    async def _refusal(self, answer: Answer, credential: Credential | None) -> UpstreamError:
        rule = answer.query.rule
        kind = kind_of(rule.upstream)
        if answer.status == _FORBIDDEN and await is_ban(answer):
            return banned(answer)
        about_credentials = answer.status == _UNAUTHORIZED or (
            answer.status == _FORBIDDEN and kind.forbidden is Forbidden.CREDENTIALS
        )
        if about_credentials and credential is not None:
            return UpstreamError(
                UpstreamFailure.CREDENTIALS_REFUSED,
                f"{answer.host} refuses the `credentials` of rule {rule.prefix} for {rule.upstream}",
            )
        if answer.status in {_UNAUTHORIZED, _FORBIDDEN}:
            return UpstreamError(
                UpstreamFailure.DENIED,
                f"{rule.upstream} gives no token for {answer.query.remote.repository}: {remedy(rule)}",
            )
        return await failure_of(answer, self._clock.now())

    async def _parse(self, answer: Answer) -> _Token:
        body = await answer.read(_BODY_LIMIT)
        try:
            document = msgspec.json.decode(body, type=_TokenDocument)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise answer.garbage("something that is no token document") from None
        value = document.token or document.access_token or ""
        if _USABLE.fullmatch(value) is None:
            raise answer.garbage("a document without a usable token")
        usable = max(_LEAST_LIFETIME, self._lifetime(document.expires_in, value) - _EARLY)
        return _Token(value, self._clock.monotonic() + usable)

    def _lifetime(self, expires_in: float | str | None, token: str) -> float:
        stated = _seconds(expires_in)
        claimed = _expiry(token)
        candidates = [stated] if stated is not None else []
        if claimed is not None:
            candidates.append(claimed - self._clock.now())
        return min(candidates, default=_DEFAULT_LIFETIME)


def _token_query(remote: Remote, realm: URL, key: TokenKey, credential: Credential | None) -> tuple[Query, str | None]:
    """Return the request for a token: GET, or with a refresh token OAuth 2's POST."""
    scopes = key.scope.split()
    what = f"a token for {remote.repository}" if scopes else "a token"
    if credential is not None and credential.identity:
        form = {
            "grant_type": "refresh_token",
            "service": key.service,
            "scope": " ".join(scopes),
            "client_id": "pullthrough",
            "refresh_token": credential.secret,
        }
        # The secret is in the body: no redirect may carry it elsewhere.
        return Query(remote, Kind.TOKEN, "POST", realm, what, form=form, follow_elsewhere=False), None
    given = parse_qs(realm.raw_query_string, keep_blank_values=True)
    wanted: Mapping[str, list[str]] = {
        "service": [key.service] if key.service else [],
        "scope": scopes,
        "account": [credential.username] if credential is not None else [],
    }
    added = urlencode([(name, value) for name, values in wanted.items() if name not in given for value in values])
    raw = "&".join(part for part in (realm.raw_query_string, added) if part)
    url = URL.build(
        scheme=realm.scheme, authority=realm.raw_authority, path=realm.raw_path, query_string=raw, encoded=True
    )
    return Query(remote, Kind.TOKEN, "GET", url, what), credential.basic if credential is not None else None


def _seconds(value: float | str | None) -> float | None:
    """Return a lifetime that makes sense, or None: some servers send 0, or a number in quotes."""
    try:
        seconds = float(value) if value is not None else 0.0
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None


def _expiry(token: str) -> float | None:
    """Return the `exp` claim of a token that happens to be a readable JWT; tokens are opaque otherwise."""
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature (RFC 7519 §3)
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(claims, type=_Claims).exp
    except (binascii.Error, ValueError, msgspec.MsgspecError, RecursionError):
        return None
