"""What can be said about a kind of registry."""

from dataclasses import dataclass
from enum import Enum, auto


class Counted(Enum):
    """Which requests a registry counts against its rate."""

    REQUESTS = auto()  # every request to the registry's own host
    PULLS = auto()  # GETs of manifests: what registries call an image pull


class Forbidden(Enum):
    """What a token server's 403 to a request with credentials is about."""

    REPOSITORY = auto()
    CREDENTIALS = auto()


class Referrers(Enum):
    """How a registry tells the referrers of a manifest."""

    API = auto()  # by the referrers API (distribution-spec 1.1)
    REDIRECTED = auto()  # by the API of the registry behind it, at another host
    FALLBACK = auto()  # by the fallback tag only: any refusal of the API says nothing but that


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests a second, and how many may come at once after a pause."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class Pacing:
    """How fast a registry may be asked without its limits being met; None: no limit is known."""

    anonymous: Rate | None = None
    authenticated: Rate | None = None
    counted: Counted = Counted.REQUESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKind:
    """What is particular about one kind of upstream registry; the defaults describe one that follows the spec.

    `name` is ECR's word for it (``upstreamRegistry``) where ECR has one. `hosts` are patterns (see `host_fits`).
    `token_realms`: hosts of other sites that may issue its tokens. `storage`: hosts its redirects lead to, which a
    private link may give private addresses. `tenants`: suffixes below which every name belongs to somebody else,
    whatever the public suffix list says.

    `forbidden`: what a 403 of its token server means. `ban`: seconds for which it shuts out an address after failed
    logins, which it tells by a 403 that is no error document (0: it does not). `limit_pause`: seconds to wait after
    a 429 that names no time. `page_size`: the tags to ask for at a time. `token_service`: the AWS service whose
    GetAuthorizationToken gives its password ("" for none).
    """

    name: str
    hosts: tuple[str, ...] = ()
    token_realms: frozenset[str] = frozenset()
    storage: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    pacing: Pacing = Pacing()
    forbidden: Forbidden = Forbidden.REPOSITORY
    ban: float = 0.0
    limit_pause: float = 1.0
    referrers: Referrers = Referrers.API
    page_size: int = 1000
    token_service: str = ""

    def rate(self, *, authenticated: bool) -> Rate | None:
        """Return how fast an account, or the anonymous, may ask."""
        return self.pacing.authenticated if authenticated else self.pacing.anonymous
