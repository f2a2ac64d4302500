"""Chainguard's registry: free images to everybody, others refused at the token server or at the registry."""

from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content, Repository
from tests.emulators.emulator import BearerEmulator
from tests.emulators.messages import Call, Reply, Request, failure
from tests.emulators.storage import AWS, Storage, aws_query
from tests.emulators.tokens import names_of, scopes_of


class Chainguard(BearerEmulator):
    """``cgr.dev``. `tokens_refuse`: who may not pull is told so with 403 by the token server, else by the registry."""

    kind = "chainguard"
    rule_prefix = "chainguard"
    host = "cgr.dev"
    public_repository = "chainguard/static"
    private_repository = "acme.com/app"
    token_hosts = ("cgr.dev",)
    cdn_hosts = ("9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com",)
    realm = "https://cgr.dev/token"
    service = "cgr.dev"
    token_fields = ("token", "expires_in")
    readable_tokens = False
    has_referrers = True
    link_lifetime: ClassVar[float] = 600.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.tokens_refuse = True
        self.storage = Storage(
            self.cdn_hosts[0], self.clock, AWS, aws_query, self.link_lifetime, "/chainguard/{digest}"
        )
        self.places |= {self.storage.host: self.storage.answer}

    def refuse_token(self, request: Request, user: str | None) -> Reply | None:
        if not self.tokens_refuse or all(self.may_pull(user, name) for name in names_of(scopes_of(request))):
            return None
        return failure(403, "DENIED", "permission denied")

    def denied(self, call: Call) -> Reply:
        del call
        return failure(403, "DENIED", "permission denied")

    def storage_of(self, found: Blob) -> Storage:
        del found
        return self.storage

    def referrers(self, call: Call, repository: Repository) -> Reply:
        return self.listed_referrers(call, repository)
