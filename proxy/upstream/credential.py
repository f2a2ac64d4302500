"""What a registry or its token server is shown."""

import base64
import hashlib
from dataclasses import dataclass, field

from proxy.model.errors import UpstreamFailure


@dataclass(frozen=True, slots=True)
class Credential:
    """An account's user name and secret; `identity`: the secret is a refresh token for the token server."""

    username: str
    secret: str = field(repr=False)
    identity: bool = False

    @property
    def fingerprint(self) -> str:
        """Tell this credential from others without holding it."""
        return hashlib.sha256(f"{self.username}\0{self.secret}\0{self.identity}".encode()).hexdigest()

    @property
    def basic(self) -> str:
        """Return the value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.secret}".encode()).decode("ascii")


class NoCredentialError(Exception):
    """Why whoever gives credentials gave none, as half a sentence without any secret."""

    def __init__(self, reason: str, failure: UpstreamFailure = UpstreamFailure.CREDENTIALS_REFUSED) -> None:
        super().__init__(reason)
        self.failure = failure
