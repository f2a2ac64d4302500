"""GitHub's registry: refuses at the token server, is strict about Accept, may redirect referrers to a web page."""

from enum import StrEnum
from typing import ClassVar
from urllib.parse import quote

from proxy.core.ports import Clock
from proxy.model.media_types import OCI_INDEX
from tests.emulators.content import Blob, Content, Manifest, Repository
from tests.emulators.emulator import BearerEmulator
from tests.emulators.limits import Limit
from tests.emulators.messages import Call, Reply, Request, failure, redirect
from tests.emulators.storage import AZURE, Storage, azure_query
from tests.emulators.tokens import Account, WrongPasswordError, names_of, scopes_of

_TOO_MANY = failure(429, "TOOMANYREQUESTS", "retry-after: 880.092µs, allowed: 44000/minute")


class ReferrersAnswer(StrEnum):
    """What ghcr.io answers to a request for referrers."""

    MISSING = "404"
    WEB_PAGE = "303"


class GitHub(BearerEmulator):
    """``ghcr.io``. Any user name goes with an access token. `rate` is not enforced until a test says so."""

    kind = "github-container-registry"
    rule_prefix = "ghcr"
    host = "ghcr.io"
    public_repository = "acme/tool"
    private_repository = "acme/private-tool"
    token_hosts = ("ghcr.io",)
    cdn_hosts = ("pkg-containers.githubusercontent.com",)
    other_hosts = ("github.com",)
    realm = "https://ghcr.io/token"
    service = "ghcr.io"
    readable_tokens = False
    link_lifetime: ClassVar[float] = 300.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.referrers_answer = ReferrersAnswer.MISSING
        self.rate = Limit(self.clock, 44000, 60, enforced=False)
        self.storage = Storage(
            self.cdn_hosts[0], self.clock, AZURE, azure_query, self.link_lifetime, "/ghcr1/blobs/{digest}"
        )
        self.places |= {self.storage.host: self.storage.answer, "github.com": lambda _: _TOO_MANY}

    def prove(self, account: Account) -> str:
        """Look at the access token only."""
        for user, password in self.accounts.items():
            if password == account.password:
                return user
        raise WrongPasswordError

    def refuse_token(self, request: Request, user: str | None) -> Reply | None:
        """Refuse a token for what one may not see, instead of giving one that is good for nothing."""
        if all(self.may_pull(user, name) for name in names_of(scopes_of(request))):
            return None
        return failure(403, "DENIED", "requested access to the resource is denied")

    def limit(self, request: Request) -> Reply | None:
        return None if self.rate.take(request.address) else _TOO_MANY

    def negotiated(self, call: Call, repository: Repository, found: Manifest) -> Reply | None:
        del repository
        if found.media_type in call.request.accept:
            return None
        what = "OCI index" if found.media_type == OCI_INDEX else "manifest"
        message = f"{what} found, but Accept header does not support {what}es"
        return failure(404, "MANIFEST_UNKNOWN", message.replace("manifestes", "its type"))

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        return self.direct_head(found) if call.request.method == "HEAD" else super().blob_reply(call, found)

    def storage_of(self, found: Blob) -> Storage:
        del found
        return self.storage

    def referrers(self, call: Call, repository: Repository) -> Reply:
        if self.referrers_answer is ReferrersAnswer.MISSING:
            return super().referrers(call, repository)
        # The digest is cut off: the page is no list, and its address is no place to look for one.
        place = quote(f"{call.name.partition('/')[2]}/referrers/{call.reference.partition(':')[0]}", safe="")
        return redirect(f"https://github.com/-/v2/packages/container/package/{place}", 303)
