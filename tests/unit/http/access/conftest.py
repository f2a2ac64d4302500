"""A registry that asks its callers who they are, over stores and users in memory."""

import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from proxy.config.auth import GrantSettings
from proxy.config.settings import ServerSettings
from proxy.core.access.attempts import Attempts
from proxy.core.access.grants import GrantBook, Grants
from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.access.identities import Identities
from proxy.core.access.passwords import PasswordService
from proxy.core.access.policies import PolicyAuthorizer
from proxy.core.access.ports import AssertionRefusedError
from proxy.core.access.rates import Rates
from proxy.core.access.tokens import BearerTokens
from proxy.core.access.user_passwords import UserPasswords
from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.tasks import Tasks
from proxy.http.access.authentication import Authenticator
from proxy.http.access.challenge import Challenges
from proxy.http.application import build_application
from proxy.http.services import Services
from proxy.model.principal import Principal
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.clock import FakeClock
from tests.unit.http.conftest import Client, Stack

KEY = b"a key of thirty-two bytes, or so"
ATTEMPTS = 3

OPEN = GrantSettings(principals=("anonymous",), actions=("pull", "first_pull"), repositories=("quay/**", "public/**"))
GRANTS = (
    OPEN,
    GrantSettings(principals=("alice",), actions=("pull", "first_pull", "push"), repositories=("team/**",)),
    GrantSettings(
        principals=("root",), actions=("pull", "first_pull", "push", "delete", "admin", "metrics"), repositories=("**",)
    ),
    GrantSettings(principals=("ci:*",), actions=("pull",), repositories=("team/**",)),
)
"""What holds unless a test says otherwise; ``bob`` is a user without any right of his own."""


class MemoryUsers:
    """The `Users` port over passwords in plain text; `asked` has who was asked for."""

    def __init__(self) -> None:
        self.passwords = {"alice": "secret", "bob": "secret", "root": "secret"}
        self.asked: list[str] = []

    async def verify(self, user: str, password: str) -> bool:
        self.asked.append(user)
        return self.passwords.get(user) == password

    def knows(self, user: str) -> bool:
        return user in self.passwords

    def version(self, user: str) -> str | None:
        return self.passwords.get(user)


class OneProvider:
    """The `Assertions` port that knows one token."""

    async def verify(self, token: str) -> Principal:
        if token != "a.good.assertion":
            raise AssertionRefusedError("unknown to the test")
        return Principal("ci:team/app")


@dataclass
class Guarded:
    """A registry with users, and what it knows them by. `certificate` is whom all connections name."""

    stack: Stack
    tasks: Tasks
    make: AiohttpClient
    users: MemoryUsers = field(default_factory=MemoryUsers)
    certificate: str | None = None

    @property
    def clock(self) -> FakeClock:
        return self.stack.clock

    @property
    def tokens(self) -> BearerTokens:
        return BearerTokens(KEY, self.clock)

    @property
    def passwords(self) -> RegistryPasswords:
        return RegistryPasswords(KEY, self.clock)

    def services(
        self,
        *,
        ecr: bool = False,
        grants: Sequence[GrantSettings] = GRANTS,
        server: ServerSettings | None = None,
        rates: Rates | None = None,
    ) -> Services:
        server = server or self.stack.services.server
        identities = Identities(self.users, assertions=OneProvider(), providers=frozenset({"ci"}))
        attempts, metrics = Attempts(ATTEMPTS, self.clock), self.stack.services.metrics
        users = UserPasswords(self.users, attempts, self.tasks, self.clock, metrics, timedelta(minutes=5))
        documents = PolicyDocuments(MemoryMetadataStore())
        rules, identity = self.stack.services.rules, RegistryIdentity(ecr=ecr)
        return replace(
            self.stack.services,
            server=server,
            guarded=False,
            rates=rates or Rates.unlimited(),
            authorizer=PolicyAuthorizer(GrantBook(Grants(grants)), documents, rules, identity, self.clock),
            authentication=Authenticator(
                identities,
                PasswordService(identities, self.passwords, users),
                self.tokens,
                Challenges(server.public_url, basic=ecr),
                lifetime=None if ecr else timedelta(minutes=5),
                certified=self._certified,
            ),
        )

    async def client(self, *, mirror: str | None = None, **options: Any) -> Client:  # noqa: ANN401 - those of `services`
        return await self.make(build_application(self.services(**options), mirror=mirror))

    def _certified(self, _: web.Request) -> Principal | None:
        return Principal(self.certificate) if self.certificate is not None else None


@pytest.fixture
async def guarded(stack: Stack, aiohttp_client: AiohttpClient) -> AsyncIterator[Guarded]:
    async with Tasks() as tasks:
        yield Guarded(stack, tasks, aiohttp_client)


def basic(user: str, password: str = "secret") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def token_of(client: Client, *scopes: str, user: str | None = None, path: str = "/v2/token") -> str:
    """Return the token that the endpoint gives `user`, or anybody."""
    parameters = [("scope", scope) for scope in scopes]
    answer = await client.get(path, params=parameters, headers=basic(user) if user is not None else {})
    assert answer.status == 200, await answer.text()
    text: str = (await answer.json())["token"]
    return text
