"""What an operation of an AWS API is, to the surface that answers it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from proxy.core.access.caller import Caller
from proxy.core.access.tokens import BearerTokens
from proxy.core.listings import Visible
from proxy.core.registry.administration import Administration
from proxy.core.registry.identity import RegistryIdentity
from proxy.model.access import Action
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.principal import Principal


@dataclass(frozen=True, slots=True)
class ApiCall:
    """One request to an AWS API. `endpoint` is the origin under which clients reach the registry.

    Unless `may_fetch`, nothing is asked of an upstream: the caller may have what is kept. `tickets` makes URLs that are
    good without credentials; None where none are needed. `visible` tells which repositories a list of all may
    show, of those in `spans`; None where all are. A handler adds to `withheld` what the caller may not have of what it
    answers all the same.
    """

    services: Administration
    identity: RegistryIdentity
    endpoint: str
    caller: Caller
    request_id: str
    may_fetch: bool = True
    tickets: BearerTokens | None = None
    visible: Visible | None = None
    spans: Sequence[NameSpan] = ALL_NAMES
    withheld: list[str] = field(default_factory=list)

    @property
    def principal(self) -> Principal:
        """Return who calls."""
        return self.caller.principal

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
    """An operation and how it differs from AWS's, in sentences (for the compatibility table).

    `action` is what a policy must grant for it, on the repositories that the request names, or on the registry as a
    whole where it names none; None where it is open to whoever is known. With `lists`, a request that names none is
    answered with those of which the action is granted.
    """

    handler: Handler
    state: State = State.ACTS
    differences: str = ""
    action: Action | None = Action.ADMIN
    lists: bool = False
