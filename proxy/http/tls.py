"""TLS of the listeners: a certificate, and the authorities of clients, which may be replaced while connections last."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from proxy.config.certificates import CertificateError, Identity, load_identity, read_pair
from proxy.config.settings import TlsSettings
from proxy.core.repeating import LOOK_SECONDS, Watch
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


class ServerCertificate:
    """The certificate that the listeners show, and the authorities whose client certificates they take, as in files.

    Each connection begins with the `context` that is in force at that moment; none notices that the certificate was
    replaced later. Files that do not fit change nothing, and the log says once why; they are tried again until they
    do. ``pullthrough_tls_certificate_expires_timestamp`` is the end of what is in force.

    With `client_ca`, `part` is called when the authorities were replaced: whoever showed a certificate to the old ones
    is to show it again. No session goes on across a renewal, as each context has tickets and sessions of its own: a
    session would carry the client's identity without anyone looking at its certificate (RFC 8446 §4.6.1).
    """

    def __init__(
        self,
        tls: TlsSettings,
        metrics: Metrics,
        client_ca: Path | None = None,
        part: Callable[[], None] = lambda: None,
        *,
        look_every: float = LOOK_SECONDS,
    ) -> None:
        """Read nothing yet: `load` does, and is called before all else. `look_every` is in seconds."""
        self._tls = tls
        self._metrics = metrics
        self._client_ca = client_ca
        self._part = part
        self._identity: Identity | None = None
        self._fault: str | None = None
        self._watch = Watch(self.renew, look_every)
        self._one_at_a_time = asyncio.Lock()

    @property
    def context(self) -> ssl.SSLContext:
        """Return what a connection that begins now does its handshake with; `load` has been called."""
        if self._identity is None:
            raise RuntimeError("a connection begins before the certificate is loaded")
        return self._identity.context

    async def load(self) -> None:
        """Take the files into force; raise `CertificateError`."""
        self._take(await asyncio.to_thread(load_identity, self._tls, self._client_ca))

    async def renew(self) -> bool:
        """Take the files into force if they have changed; tell whether what they have is in force now."""
        async with self._one_at_a_time:
            try:
                identity = await asyncio.to_thread(self._load_changed)
            except CertificateError as error:
                if self._fault != str(error):
                    _log.error("tls.certificate_refused", setting=error.setting, fault=str(error))
                self._fault = str(error)
                return False
            self._fault = None
            if identity is not None:
                self._take(identity)
            return True

    def request(self) -> None:
        """Ask `watch` to look at once, and return: what a signal handler calls, on the event loop."""
        self._watch.request()

    async def watch(self) -> None:
        """Take over what changes in the files, until cancelled."""
        await self._watch.run()

    def _load_changed(self) -> Identity | None:
        if self._identity is not None and read_pair(self._tls, self._client_ca) == self._identity.pair:
            return None
        return load_identity(self._tls, self._client_ca)

    def _take(self, identity: Identity) -> None:
        old, self._identity = self._identity, identity
        self._metrics.certificate_expires.set(identity.expires.timestamp())
        _log.info("tls.certificate", subject=identity.subject, expires=identity.expires.isoformat())
        if old is not None and old.pair.authorities != identity.pair.authorities:
            # Also for those that shake hands right now, and are not among the connections yet.
            old.context.retired = True
            _log.info("tls.authorities", setting="auth.client_ca")
            self._part()
