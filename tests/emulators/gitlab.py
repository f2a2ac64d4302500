"""GitLab's registry: deep names, scopes dropped in silence, and a ban for those who go on with a wrong password."""

from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content
from tests.emulators.emulator import BearerEmulator
from tests.emulators.limits import Limit
from tests.emulators.messages import Call, Reply, Request, failure, redirect, text
from tests.emulators.storage import GOOGLE, Storage, google_query


class GitLab(BearerEmulator):
    """``registry.gitlab.com``.

    What one may not see is refused with 403 at the registry, or (`denies_with_401`) with 401. `signs_head`: a HEAD
    of a blob is redirected to a link that is good for HEAD. After `failures` wrong passwords comes an hour's ban.
    """

    kind = "gitlab-container-registry"
    rule_prefix = "gitlab"
    host = "registry.gitlab.com"
    public_repository = "group/subgroup/team/project/image"
    private_repository = "group/private/image"
    token_hosts = ("gitlab.com",)
    cdn_hosts = ("cdn.registry.gitlab-static.net",)
    realm = "https://gitlab.com/jwt/auth"
    service = "container_registry"
    link_lifetime: ClassVar[float] = 1200.0
    ban: ClassVar[float] = 3600.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.failures = Limit(self.clock, 30, 180)
        self.banned: dict[str, float] = {}
        self.denies_with_401 = False
        self.signs_head = True
        self.storage = Storage(
            self.cdn_hosts[0],
            self.clock,
            GOOGLE,
            google_query,
            self.link_lifetime,
            "/gitlab/docker/registry/v2/blobs/sha256/{hex}/data",
        )
        self.places |= {self.storage.host: self._storage, "gitlab.com": self._registry}

    def wrong_password(self, request: Request) -> Reply:
        self.failures.take(request.address)
        return failure(401, "UNAUTHORIZED", "HTTP Basic: Access denied")

    def limit(self, request: Request) -> Reply | None:
        now, who = self.clock.monotonic(), request.address
        if self.failures.left(who) <= 0:
            self.banned.setdefault(who, now + self.ban)
        if self.banned.get(who, now) > now:
            return text(403, "Forbidden\n")
        self.banned.pop(who, None)
        return None

    def _storage(self, request: Request) -> Reply:
        return self.limit(request) or self.storage.answer(request)

    def denied(self, call: Call) -> Reply:
        if self.denies_with_401:
            return super().denied(call)
        return failure(403, "DENIED", "requested access to the resource is denied")

    def unknown_path(self, request: Request) -> Reply:
        if request.path == "/v2/_catalog":
            return self.challenge(None, "")
        return super().unknown_path(request)

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        method = call.request.method if self.signs_head else "GET"
        return redirect(self.storage.link(found, method))

    def storage_of(self, found: Blob) -> Storage:
        del found
        return self.storage
