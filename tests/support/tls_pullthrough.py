"""The product as its users run it, with TLS."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority, serial_of
from tests.support.pullthrough import Pullthrough


class TlsPullthrough(Pullthrough):
    """A server with a certificate of `authority`; `settings` are as for any."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], authority: Authority) -> None:
        self.authority, self.files = authority, authority.issue()
        tls = {"certificate": str(self.files.certificate), "key": str(self.files.key)}
        super().__init__(folder, {**settings, "server": {**settings.get("server", {}), "tls": tls}})

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    @property
    def serial(self) -> int:
        """The number of the certificate that a new connection is shown."""
        return serial_of(ssl.get_server_certificate(("127.0.0.1", self.port)).encode())

    def _is_ready(self) -> bool:
        try:
            trusting = self.authority.trusting()
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5, context=trusting):  # noqa: S310 - loopback only
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
