"""An identity provider on loopback (OpenID Connect): discovery document, keys that rotate, tokens, faults, journal.

::

    async with IdentityProvider(clock) as provider:
        settings = provider.settings(claims={"ref": "refs/heads/*"})
        token = provider.mint(ref="refs/heads/main")
        ...
        assert provider.count(Route.KEYS) == 1

``faults[Route.KEYS] = html()`` befalls every request for the keys until it is taken away. `mint` signs with the
newest key; `rotate` makes another one, and `withdraw` takes one out of what is published. `stop` and `resume` take the
provider off its port and back on it. With an `authority` it speaks TLS.
"""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import AllowedPrivateKeys, get_default_algorithms

from proxy.config.auth import OidcSettings
from proxy.core.ports import Clock
from tests.support.clock import FakeClock
from tests.support.virtual_hosts import Listener

AUDIENCE = "registry.test"
HOST = "issuer.test"
"""A name that its certificate is for, too, and that leads there by a forward proxy only."""

LIFETIME = 300
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Route(StrEnum):
    """What a request asks for; `ELSEWHERE` is where only a fault leads."""

    DISCOVERY = "/.well-known/openid-configuration"
    KEYS = "/keys"
    ELSEWHERE = "/elsewhere"


Answer = Callable[[], web.Response]
Fault = Callable[[Answer], Awaitable[web.Response]]


@cache
def private_key(algorithm: str, number: int = 0, *, bits: int = 2048) -> AllowedPrivateKeys:  # noqa: ARG001 - for the cache
    """Return a key for `algorithm`, always the same one for one `number`: making RSA keys takes long."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class SigningKey:
    """A key of a provider; `members` are added to its JWK, or replace members of it (None leaves one out)."""

    id: str
    algorithm: str
    private: AllowedPrivateKeys = field(repr=False)
    members: Mapping[str, object] = field(default_factory=dict)

    @property
    def jwk(self) -> dict[str, object]:
        public = json.loads(get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key()))
        own = {**public, "kid": self.id, "alg": self.algorithm, "use": "sig", **self.members}
        own.pop("key_ops", None)
        return {name: value for name, value in own.items() if value is not None}

    def sign(self, claims: dict[str, object], headers: Mapping[str, object]) -> str:
        """Return a token; a header None is left out."""
        given = {"kid": self.id, **headers}
        kept = {name: value for name, value in given.items() if value is not None}
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self.private, self.algorithm, kept)


class IdentityProvider(Listener):
    """One issuer; see the module."""

    def __init__(self, clock: Clock | None = None, authority: trustme.CA | None = None) -> None:
        super().__init__(self._answer)
        self.clock: Clock = clock or FakeClock()
        self.keys = [SigningKey("first", "RS256", private_key("RS256"))]
        self.faults: dict[Route, Fault] = {}
        self.asked: list[Route] = []
        self.discovery: dict[str, object] = {}
        """Members of the discovery document that are other than they should be."""
        self._authority = authority
        self._arrived = asyncio.Condition()

    async def __aenter__(self) -> Self:
        if self._authority is not None:
            self.context = await asyncio.to_thread(_tls_context, self._authority)
        await self.resume()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def origin(self) -> str:
        return f"{'http' if self._authority is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def issuer(self) -> str:
        return self.origin

    def settings(self, *, ca_file: Path | None = None, **changes: Any) -> OidcSettings:  # noqa: ANN401 - any setting
        """Return the settings of a registry that takes the tokens of this provider."""
        return OidcSettings(**{"issuer": self.issuer, "audience": AUDIENCE, "ca_file": ca_file, **changes})

    def count(self, route: Route | None = None) -> int:
        """Return how many requests came, or how many for one route."""
        return len(self.asked) if route is None else self.asked.count(route)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds; it is looked at with every request that comes."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: bool(condition()))

    # --- tokens -----------------------------------------------------------------------------------------------------

    def claims(self, **changes: object) -> dict[str, object]:
        """Return what a good token claims now; a change to None leaves a claim out."""
        now = int(self.clock.now())
        usual = {"iss": self.issuer, "aud": AUDIENCE, "sub": "repo:team/app", "iat": now, "exp": now + LIFETIME}
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def mint(self, headers: Mapping[str, object] | None = None, /, **claims: object) -> str:
        """Return a token of the newest key; see `claims`."""
        return self.keys[-1].sign(self.claims(**claims), headers or {})

    def rotate(self, algorithm: str = "RS256", **members: object) -> SigningKey:
        """Publish another key, beside those that are there, and sign with it from now on."""
        number = len(self.keys)
        key = SigningKey(f"key-{number}", algorithm, private_key(algorithm, number), members)
        self.keys.append(key)
        return key

    def withdraw(self, key: SigningKey) -> None:
        """Publish a key no longer."""
        self.keys.remove(key)

    # --- answers ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        route = next((each for each in Route if request.path.endswith(each.value)), None)
        if route is None or request.method != "GET":
            return web.Response(status=404)
        async with self._arrived:
            self.asked.append(route)
            self._arrived.notify_all()
        fault = self.faults.get(route)
        return self._document(route) if fault is None else await fault(lambda: self._document(route))

    def _document(self, route: Route) -> web.Response:
        if route is Route.DISCOVERY:
            document = {"issuer": self.issuer, "jwks_uri": f"{self.origin}{Route.KEYS}", **self.discovery}
            return web.json_response({name: value for name, value in document.items() if value is not None})
        return web.json_response({"keys": [key.jwk for key in self.keys]})


def _tls_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", HOST).configure_cert(context)
    return context


# --- faults ---------------------------------------------------------------------------------------------------------


def answered(body: bytes, status: int = 200, content_type: str = "application/json", **headers: str) -> Fault:
    """Answer something else; underscores in names of headers stand for hyphens."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    async def fault(_: Answer) -> web.Response:
        return web.Response(body=body, status=status, content_type=content_type, headers=fields)

    return fault


def broken(status: int = 500) -> Fault:
    return answered(b"{}", status)


def html() -> Fault:
    """Answer a web page with 200, as captive portals do."""
    return answered(b"<!doctype html><title>Please sign in</title>", content_type="text/html")


def redirected(location: str = Route.ELSEWHERE) -> Fault:
    """Redirect, by default to where this provider would have its keys as well."""
    return answered(b"", 302, Location=location)


def huge(size: int = 2 << 20) -> Fault:
    """Answer a document that is right and much too long."""

    async def fault(answer: Answer) -> web.Response:
        body = answer().body
        assert isinstance(body, bytes)
        return web.Response(body=body + b" " * size, content_type="application/json")

    return fault


def held(gate: asyncio.Event) -> Fault:
    """Answer only when the gate is open."""

    async def fault(answer: Answer) -> web.Response:
        await gate.wait()
        return answer()

    return fault
