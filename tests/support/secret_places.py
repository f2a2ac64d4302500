"""Places of secrets that tests fill, break and watch."""

from dataclasses import dataclass, field

from proxy.core.registry.secrets.names import SecretReference
from proxy.core.registry.secrets.ports import Login, SecretError, SecretFailure


@dataclass
class ScriptedPlace:
    """The `SecretPlace` port: texts by name, or a failure for all of them. `asked` is the journal."""

    texts: dict[str, str] = field(default_factory=dict)
    failure: SecretFailure | None = None
    lifetime: float = 30.0
    asked: list[str] = field(default_factory=list)

    async def read(self, reference: SecretReference) -> str | None:
        self.asked.append(reference.text)
        if self.failure is not None:
            raise SecretError(self.failure, f"the secret {reference.name} is {self.failure}")
        return next((self.texts[name] for name in reference.names if name in self.texts), None)


@dataclass
class ScriptedLogins:
    """The `SecretLogins` port: accounts by secret, or a failure for all of them."""

    accounts: dict[str, tuple[str, str]] = field(default_factory=dict)
    failure: SecretFailure | None = None

    async def login(self, secret: str) -> Login:
        if self.failure is not None:
            raise SecretError(self.failure, f"the secret {secret} is {self.failure}")
        return Login(*self.accounts[secret])
