"""The authorizer of a registry with `auth`, over stores in memory, and documents that it decides by."""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from proxy.config.auth import GrantSettings
from proxy.core.access.authorizer import Wanted
from proxy.core.access.caller import Caller, Scheme
from proxy.core.access.grants import GrantBook, Grants
from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.access.identities import Identities
from proxy.core.access.policies import PolicyAuthorizer
from proxy.core.access.tokens import BearerTokens
from proxy.core.ports import RepositoryRecord
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.policies import PolicyAdministration
from proxy.core.rules import RuleBook, RuleSet
from proxy.http.access.authentication import Authenticator
from proxy.http.access.challenge import Challenges
from proxy.model.access import Action
from proxy.model.errors import ErrorCode, ProxyError
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore
from tests.support.clock import FakeClock

ACCOUNT = "123456789012"
IDENTITY = RegistryIdentity(ACCOUNT, "eu-west-1")
ALICE = Caller(Principal("alice"), Scheme.PASSWORD, "192.0.2.7", secure=True)
BOB = replace(ALICE, principal=Principal("bob"))
NOBODY = Caller(address="192.0.2.7", secure=True)

OPERATIONS = {
    Action.PULL: "ecr:BatchGetImage",
    Action.FIRST_PULL: "ecr:BatchImportUpstreamImage",
    Action.PUSH: "ecr:PutImage",
    Action.DELETE: "ecr:BatchDeleteImage",
    Action.ADMIN: "ecr:SetRepositoryPolicy",
    Action.METRICS: "metrics",
}


def grant(principals: str, actions: str, *repositories: str) -> GrantSettings:
    """Return a grant of space-separated actions to space-separated principals."""
    kept = {"repositories": repositories} if repositories else {}
    return GrantSettings.model_validate({"principals": principals.split(), "actions": actions.split(), **kept})


def wanted(action: str, repository: str | None = None, operation: str | None = None) -> Wanted:
    """Return what somebody is about to do; the operation is a usual one of the action."""
    name = RepositoryName(repository) if repository is not None else None
    return Wanted(Action(action), operation or OPERATIONS[Action(action)], name)


def statement(effect: str, principal: object = "*", action: object = "ecr:*", **more: object) -> dict[str, Any]:
    """Return a statement of a policy; strings name somebody of this registry, unless they say more."""
    if isinstance(principal, str) and principal != "*":
        principal = {"AWS": arn(principal)}
    return {"Effect": effect, "Principal": principal, "Action": action, **more}


def arn(user: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{user}"


def resource(pattern: str) -> str:
    return f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/{pattern}"


def policy(*statements: Mapping[str, object], version: str = "2012-10-17") -> str:
    return json.dumps({"Version": version, "Statement": list(statements)})


@dataclass
class Gate:
    """A `PolicyAuthorizer`, and the stores and books behind it."""

    rules: RuleBook = field(default_factory=lambda: RuleBook(RuleSet(())))
    identity: RegistryIdentity = IDENTITY
    metadata: MemoryMetadataStore = field(default_factory=MemoryMetadataStore)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.grants = GrantBook(Grants(()))
        self.policies = PolicyAdministration(self.metadata, self.identity)
        self.documents = PolicyDocuments(self.metadata)
        self.authorizer = PolicyAuthorizer(self.grants, self.documents, self.rules, self.identity, self.clock)

    def grant(self, *grants: GrantSettings) -> None:
        """Put these grants in force, and no others."""
        self.grants.replace(Grants(grants))

    async def hang(self, repository: str, text: str | None = None, tags: Mapping[str, str] | None = None) -> None:
        """Make the repository, if it is not there, and give it a policy and resource tags."""
        name = RepositoryName(repository)
        await self.metadata.create_repository(RepositoryRecord(name, 0.0))
        await self.metadata.alter_repository(
            name,
            lambda record: replace(record, details=replace(record.details, policy=text, resource_tags=tags or {})),
        )

    async def may(self, caller: Caller, action: str, repository: str | None = None) -> bool:
        return await self.authorizer.permits(caller, wanted(action, repository))

    async def who(self, callers: Iterable[Caller], action: str, repository: str | None = None) -> list[str]:
        """Return the names of those of the callers who may."""
        return [caller.principal or "nobody" for caller in callers if await self.may(caller, action, repository)]


class Acquaintances:
    """Knows everybody by a password that is the name: the ports `Passwords` and `Users`."""

    async def check(self, user: str, password: str, address: str | None, *, stray: bool = False) -> Caller:
        del address, stray
        if not await self.verify(user, password):
            raise ProxyError(ErrorCode.UNAUTHORIZED)
        return Caller(Principal(user), Scheme.PASSWORD)

    async def verify(self, user: str, password: str) -> bool:
        return user == password

    def knows(self, user: str) -> bool:
        return bool(user)

    def version(self, user: str) -> str:
        return user


@dataclass
class Keeper:
    """Keeps a whole product by grants and policies: a value for `access`, and what it decides by once it is asked."""

    grants: tuple[GrantSettings, ...] = ()
    ecr: bool = False
    gate: Gate = field(init=False)
    tokens: BearerTokens = field(init=False)

    def __call__(self, rules: RuleBook, metadata: MemoryMetadataStore, clock: FakeClock) -> dict[str, Any]:
        """Return the fields of `Services` that say who may do what."""
        self.gate = Gate(rules, replace(IDENTITY, ecr=self.ecr), metadata, clock)
        self.gate.grant(*self.grants)
        self.tokens = BearerTokens(b"a key of thirty-two bytes, or so", clock)
        known, lifetime = Acquaintances(), None if self.ecr else timedelta(minutes=5)
        challenges = Challenges(None, basic=self.ecr)
        return {
            "authorizer": self.gate.authorizer,
            "authentication": Authenticator(Identities(known), known, self.tokens, challenges, lifetime=lifetime),
            "guarded": False,
        }

    def token(self, user: str, **scopes: str) -> tuple[str, str]:
        """Return a header line with a token of somebody for these actions, separated by spaces, by repository."""
        limits = {RepositoryName(name): frozenset(map(Action, words.split())) for name, words in scopes.items()}
        token = self.tokens.issue(Caller(Principal(user), Scheme.PASSWORD), limits, timedelta(minutes=5))
        return "Authorization", f"Bearer {token.text}"


def signed_in(user: str) -> tuple[tuple[str, str], ...]:
    """Return the header lines of somebody; none of nobody."""
    text = base64.b64encode(f"{user}:{user}".encode()).decode()
    return (("Authorization", f"Basic {text}"),) if user else ()
