"""Who makes a request, and what that person's credentials are good for."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from proxy.model.access import Action
from proxy.model.principal import ANONYMOUS, Principal
from proxy.model.reference import RepositoryName


class Scheme(StrEnum):
    """How a caller was known; also a label of metrics and a member of audit events."""

    NONE = "none"  # no credentials, or such as count for nothing (Docker Hub's, at a mirror)
    PASSWORD = "password"  # noqa: S105 - the name of a scheme
    REGISTRY_PASSWORD = "registry_password"  # noqa: S105 - the name of a scheme
    ACCESS_KEY = "access_key"
    OIDC = "oidc"
    CERTIFICATE = "certificate"
    TICKET = "ticket"  # a signed URL


Scopes = Mapping[RepositoryName, frozenset[Action]]
"""What a token is limited to, by the repository's canonical name."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    `address` is the client's, `secure` tells whether it came by TLS; None where that is unknown. `scopes` limits what
    the credentials are good for, whatever the principal may; None does not. `token` tells that the principal is known
    by a token of this registry, which a client can replace by one of other scopes.
    """

    principal: Principal = ANONYMOUS
    scheme: Scheme = Scheme.NONE
    address: str | None = None
    scopes: Scopes | None = None
    token: bool = False
    secure: bool | None = None

    @property
    def anonymous(self) -> bool:
        """Tell whether nobody knows who this is."""
        return self.principal == ANONYMOUS
