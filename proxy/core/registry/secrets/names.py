"""How secrets are named: by name, or by an ARN that ends with six characters of its own or without them."""

import re
import secrets
import string
from dataclasses import dataclass
from typing import Self

from proxy.core.registry.identity import RegistryIdentity

_ARN = re.compile(
    r"arn:aws(?:-\w+)*:secretsmanager:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):secret:(?P<name>[^\s:]+)"
)
_SUFFIXED = re.compile(r"(?P<stem>.+)-(?P<suffix>[A-Za-z0-9]{6})")
_CHARACTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A secret as somebody names it.

    `name` is what follows ``secret:`` in an ARN, or the whole text. Region and account are None for a plain name.
    """

    text: str
    name: str
    region: str | None = None
    account: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `text` names; what is no ARN of a secret is a name."""
        arn = _ARN.fullmatch(text)
        return cls(text, text) if arn is None else cls(text, arn["name"], arn["region"], arn["account"])

    @property
    def is_arn(self) -> bool:
        """Tell whether it was named by an ARN."""
        return self.account is not None

    @property
    def parts(self) -> tuple[str, str] | None:
        """Return the name and the six characters, or None where it does not end as with six characters."""
        found = _SUFFIXED.fullmatch(self.name)
        return (found["stem"], found["suffix"]) if found is not None else None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that may be meant, the literal one first: only who keeps a secret knows its suffix."""
        return (self.name, self.parts[0]) if self.parts is not None else (self.name,)

    def is_elsewhere(self, identity: RegistryIdentity) -> bool:
        """Tell whether it is an ARN of another account or region."""
        return self.is_arn and (self.account, self.region) != (identity.account, identity.region)


def make_suffix() -> str:
    """Return six random characters, which tell a secret from an earlier one of the same name."""
    return "".join(secrets.choice(_CHARACTERS) for _ in range(6))


def secret_arn(identity: RegistryIdentity, name: str, suffix: str | None = None) -> str:
    """Return the ARN of a secret of this registry's account and region."""
    arn = f"arn:{identity.partition}:secretsmanager:{identity.region}:{identity.account}:secret:{name}"
    return f"{arn}-{suffix}" if suffix is not None else arn
