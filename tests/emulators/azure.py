"""Azure's registry: one access token without a lifetime, three ways to get it, referrers in pages."""

from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content, Manifest, Repository
from tests.emulators.emulator import BearerEmulator
from tests.emulators.limits import Limit
from tests.emulators.messages import Call, Reply, Request, document, failure
from tests.emulators.storage import AZURE, Storage, azure_query
from tests.emulators.tokens import Account, form_of

NO_USER = "00000000-0000-0000-0000-000000000000"
"""The user name whose password is a refresh token."""

_MANIFEST_LIMIT = 4 << 20


class Azure(BearerEmulator):
    """``myreg.azurecr.io``; `anonymous` opens it. `aad_token` is what ``/oauth2/exchange`` takes."""

    kind = "azure-container-registry"
    rule_prefix = "azure"
    host = "myreg.azurecr.io"
    public_repository = "samples/app"
    private_repository = "team/app"
    token_hosts = ("myreg.azurecr.io",)
    cdn_hosts = ("myreg.westeurope.data.azurecr.io", "weu0.blob.core.windows.net")
    realm = "https://myreg.azurecr.io/oauth2/token"
    service = "myreg.azurecr.io"
    token_lifetime = 75 * 60.0
    token_fields = ("access_token",)
    token_oauth = True
    needs_account = True
    has_referrers = True
    link_lifetime: ClassVar[float] = 1200.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.anonymous = False
        self.aad_token = Account("robot", "aad-access-token")
        self.requests = Limit(self.clock, 100, 1, enforced=False)
        self.referrers_page = 3
        self.dedicated_endpoint = False
        self.storages = [
            Storage(
                host, self.clock, AZURE, azure_query, self.link_lifetime, "/0123-registry/docker/blobs/{digest}/data"
            )
            for host in self.cdn_hosts
        ]
        self.places |= {storage.host: storage.answer for storage in self.storages}

    def prove(self, account: Account) -> str:
        user = self.tokens.refresh_tokens.get(account.password) if account.username == NO_USER else None
        return user or super().prove(account)

    def refuse_token(self, request: Request, user: str | None) -> Reply | None:
        return self.wrong_password(request) if user is None and not self.anonymous else None

    def wrong_password(self, request: Request) -> Reply:
        del request
        message = "authentication required, visit https://aka.ms/acr/authorization for more information."
        return failure(401, "UNAUTHORIZED", message, detail=[{"Type": "repository", "Name": "", "Action": "pull"}])

    def is_token_request(self, request: Request) -> bool:
        return super().is_token_request(request) or request.path == "/oauth2/exchange"

    def token(self, request: Request) -> Reply:
        if request.path != "/oauth2/exchange":
            return super().token(request)
        form = form_of(request)
        proven = form.get("access_token") == self.aad_token.password and form.get("service") == self.service
        if request.method != "POST" or form.get("grant_type") != "access_token" or not proven:
            return self.wrong_password(request)
        return document({"refresh_token": self.tokens.refresh_token(self.aad_token.username)})

    def limit(self, request: Request) -> Reply | None:
        if self.requests.take(request.address):
            return None
        refusal = failure(429, "TOOMANYREQUESTS", "too many requests", detail="You have exceeded the limit.")
        return refusal.having(Retry_After="2")

    def may_pull(self, user: str | None, name: str) -> bool:
        """Tell whether one may pull; to the registry's own account an absent repository is no secret."""
        return super().may_pull(user, name) or (user is not None and name not in self.repositories)

    def manifest_reply(self, call: Call, found: Manifest) -> Reply:
        if found.size > _MANIFEST_LIMIT:
            return failure(413, "SIZE_INVALID", "manifest is larger than 4 MiB")
        return super().manifest_reply(call, found)

    def blob_reply(self, call: Call, found: Blob) -> Reply:
        return super().blob_reply(call, found).having(X_Ms_Correlation_Request_Id="0a1b")

    def storage_of(self, found: Blob) -> Storage:
        """Return the dedicated data endpoint, or the shared storage account."""
        del found
        return self.storages[0 if self.dedicated_endpoint else 1]

    def referrers(self, call: Call, repository: Repository) -> Reply:
        return self.listed_referrers(call, repository)
