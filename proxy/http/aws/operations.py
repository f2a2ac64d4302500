"""What an operation of an AWS API is, to the surface that answers it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proxy.core.registry.administration import Administration
from proxy.core.registry.identity import RegistryIdentity
from proxy.model.principal import Principal


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request to an AWS API. `endpoint` is the origin under which clients reach the registry."""

    services: Administration
    identity: RegistryIdentity
    endpoint: str
    principal: Principal
    request_id: str

    @property
    def host(self) -> str:
        """Return ``host[:port]`` as image names begin with it."""
        return self.endpoint.partition("://")[2]


Given = Mapping[str, Any]
Answer = dict[str, Any]
Handler = Callable[[ApiCall, Given], Awaitable[Answer]]
"""Answers one operation: what the request gave, decoded and validated by the service's model, to what is answered."""


class State(StrEnum):
    """How far an operation goes here."""

    ACTS = "acts"  # on the real registry
    KEPT = "kept"  # validated, stored and returned; nothing else follows from it
    REFUSED = "refused"  # with an error that names what is not offered


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation and how it differs from AWS's, in sentences (for the compatibility table)."""

    handler: Handler
    state: State = State.ACTS
    differences: str = ""
