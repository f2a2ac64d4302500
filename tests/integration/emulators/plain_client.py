"""An HTTP client that follows nothing, retries nothing and adds nothing."""

import base64
import json
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from proxy.model.media_types import ACCEPT
from proxy.upstream.challenge import Challenge, parse_challenges
from proxy.upstream.resolver import Resolver, parse_connect_to
from tests.emulators import BearerEmulator, Emulator
from tests.emulators.tokens import Account
from tests.support.upstream_dns import Lookup

FULL_ACCEPT = ", ".join(ACCEPT[:-1])


@dataclass(frozen=True)
class Received:
    """An answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    version: str = "1.1"

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Return the code of an error document."""
        code: str = self.json["errors"][0]["code"]
        return code

    @property
    def challenge(self) -> Challenge:
        return parse_challenges(self.headers.getall("WWW-Authenticate"))[0]

    @property
    def challenge_error(self) -> str:
        """Return the error of the challenge, "" where there is no challenge."""
        return self.challenge.error if "WWW-Authenticate" in self.headers else ""

    @property
    def location(self) -> str:
        return self.headers["Location"]


class PlainClient:
    """Ask one emulator, by its host names, each time by a new connection."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        resolver = Resolver(parse_connect_to(emulator.listener.connect_to), None, Lookup([]))
        context = ssl.create_default_context(cafile=str(emulator.listener.ca_file))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, ssl=context, force_close=True),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        token: str | None = None,
        account: Account | None = None,
        form: dict[str, str] | None = None,
        **headers: str,
    ) -> Received:
        """Ask for a URL, or a path of the registry; underscores in names of headers stand for hyphens."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if account is not None:
            headers["Authorization"] = basic(account)
        return await self._send(target, method, headers, form)

    async def token(self, repository: str, account: Account | None = None) -> str:
        """Return a token for a repository, without being asked for one."""
        assert isinstance(self._emulator, BearerEmulator), "it takes tokens"
        asked = {
            "realm": self._emulator.realm,
            "service": self._emulator.service,
            "scope": f"repository:{repository}:pull",
        }
        answered = await self.ask(token_url(Challenge("bearer", asked)), account=account)
        assert answered.status == 200
        fields = answered.json
        token: str = fields.get("token") or fields["access_token"]
        return token

    async def pull(self, path: str, repository: str | None = None, *, method: str = "GET", **headers: str) -> Received:
        """Ask for ``manifests/latest`` or the like of a repository (the public one), as who may pull it."""
        name = repository or self._emulator.public_repository
        account = self._emulator.account if self._emulator.needs_account or repository is not None else None
        sent = {"Accept": FULL_ACCEPT} | headers
        if isinstance(self._emulator, BearerEmulator):
            sent["Authorization"] = f"Bearer {await self.token(name, account)}"
        elif account is not None:
            sent["Authorization"] = basic(account)
        return await self._send(f"/v2/{name}/{path}", method, sent)

    async def _send(
        self, target: str, method: str, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> Received:
        url = target if target.startswith("https:") else f"https://{self._emulator.host}{target}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(
            method, URL(url, encoded=True), headers=sent, data=form, allow_redirects=False
        ) as response:
            version = f"{response.version.major}.{response.version.minor}" if response.version else ""
            return Received(response.status, response.headers, await response.read(), version)


def token_url(challenge: Challenge) -> str:
    """Return the URL that a challenge asks to get a token from."""
    separator = "&" if "?" in challenge.realm else "?"
    parameters = [
        f"{name}={value}" for name, value in (("service", challenge.service), ("scope", challenge.scope)) if value
    ]
    return challenge.realm + (separator + "&".join(parameters) if parameters else "")


def basic(account: Account) -> str:
    return f"Basic {base64.b64encode(f'{account.username}:{account.password}'.encode()).decode()}"
