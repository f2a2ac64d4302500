"""TLS of the listeners: one certificate, which may be replaced while connections last."""

import asyncio
import ssl
from contextlib import suppress
from typing import Final

import structlog

from proxy.config.certificates import CertificateError, Identity, load_identity, read_pair
from proxy.config.settings import TlsSettings
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

# The contents of the files are compared: links that are exchanged, mounts and network disks tell no watcher.
_LOOK_SECONDS: Final = 2.0


class ServerCertificate:
    """The certificate that the listeners show, as its files have it.

    Each handshake takes the certificate that is in force at that moment; no connection notices that it was replaced
    later. Files that are no fit pair change nothing, and the log says once why; they are tried again until they are
    one. ``pullthrough_tls_certificate_expires_timestamp`` is the end of what is in force.
    """

    def __init__(self, tls: TlsSettings, metrics: Metrics, *, look_every: float = _LOOK_SECONDS) -> None:
        """Read nothing yet: `load` does, and is called before all else. `look_every` is in seconds."""
        self._tls = tls
        self._metrics = metrics
        self._look_every = look_every
        self._identity: Identity | None = None
        self._fault: str | None = None
        self._asked = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> ssl.SSLContext:
        """Take the certificate into force and return the context that all listeners use; raise `CertificateError`."""
        identity = await asyncio.to_thread(load_identity, self._tls)
        self._take(identity)
        # Another certificate could be loaded into this context only in steps that handshakes would see, and a pair
        # that does not fit would leave it with neither (SSL_CTX_use_certificate(3)). So each handshake is sent on
        # to the context in force; the callback is called for clients without SNI, too.
        identity.context.sni_callback = self._choose
        return identity.context

    async def renew(self) -> bool:
        """Take the files into force if they have changed; tell whether what they have is in force now."""
        async with self._one_at_a_time:
            try:
                identity = await asyncio.to_thread(self._load_changed)
            except CertificateError as error:
                if self._fault != str(error):
                    _log.error("tls.certificate_refused", setting=f"server.tls.{error.key}", fault=str(error))
                self._fault = str(error)
                return False
            self._fault = None
            if identity is not None:
                self._take(identity)
            return True

    def request(self) -> None:
        """Ask `watch` to look at once, and return: what a signal handler calls, on the event loop."""
        self._asked.set()

    async def watch(self) -> None:
        """Take over what changes in the files, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_every):
                    await self._asked.wait()
            self._asked.clear()
            await self.renew()

    def _load_changed(self) -> Identity | None:
        if self._identity is not None and read_pair(self._tls) == self._identity.pair:
            return None
        return load_identity(self._tls)

    def _take(self, identity: Identity) -> None:
        self._identity = identity
        self._metrics.certificate_expires.set(identity.expires.timestamp())
        _log.info("tls.certificate", subject=identity.subject, expires=identity.expires.isoformat())

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        if self._identity is not None:
            handshake.context = self._identity.context
