"""NVIDIA's registry: the challenge to a token that has expired names another token server than the first one."""

from typing import ClassVar

from proxy.core.ports import Clock
from tests.emulators.content import Blob, Content
from tests.emulators.emulator import BearerEmulator
from tests.emulators.messages import Call, Reply, Request, failure
from tests.emulators.storage import AWS, Storage, cloudfront_query
from tests.emulators.tokens import Account


class Nvidia(BearerEmulator):
    """``nvcr.io``: the user of an access key is ``$oauthtoken``. ``authn.nvidia.com`` gives nothing to anonymous."""

    kind = "nvcr"
    rule_prefix = "nvcr"
    host = "nvcr.io"
    public_repository = "nvidia/cuda"
    private_repository = "acme/app"
    token_hosts = ("nvcr.io", "authn.nvidia.com")
    cdn_hosts = ("layers.nvcr.io",)
    realm = "https://nvcr.io/proxy_auth"
    service = ""
    token_fields = ("token", "expires_in")
    link_lifetime: ClassVar[float] = 1200.0

    def __init__(self, content: Content | None = None, clock: Clock | None = None) -> None:
        super().__init__(content, clock)
        self.account = Account("$oauthtoken", "nvapi-key")
        self.accounts = {self.account.username: self.account.password}
        self.storage = Storage(self.cdn_hosts[0], self.clock, AWS, cloudfront_query, self.link_lifetime, "/{digest}")
        self.places |= {self.storage.host: self.storage.answer, "authn.nvidia.com": self._authn}

    def accepts_service(self, service: str) -> bool:
        return service in {"", "registry"}

    def is_token_request(self, request: Request) -> bool:
        return super().is_token_request(request) or request.host == "authn.nvidia.com"

    def _authn(self, request: Request) -> Reply:
        if request.authorization is None:
            return failure(401, "UNAUTHORIZED", "anonymous access is not permitted")
        return self.token(request)

    def challenge(self, call: Call | None, error: str) -> Reply:
        scope = f"repository:{call.name}:pull" if call is not None else ""
        if error == "invalid_token":
            again = f'realm="https://authn.nvidia.com/token",service="registry",scope="{scope}",error="{error}"'
        else:
            again = f'realm="{self.realm}?scope={scope}"'
        return super().challenge(call, error).with_headers({"WWW-Authenticate": f"Bearer {again}"})

    def storage_of(self, found: Blob) -> Storage:
        del found
        return self.storage
