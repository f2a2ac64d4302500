"""The certificate with which the server shows itself, with its key: read, checked, and made ready for handshakes."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from proxy.config.files import unreadable
from proxy.config.settings import TlsSettings

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# Chains are a few KiB. What is much longer is another file than the one that was meant.
_LIMIT: Final = 1 << 20

AUTHORITIES: Final = "client_ca"
"""The setting, of `auth`, that names the authorities of clients."""


class CertificateError(ValueError):
    """Files that handshakes cannot be done with; the message is one sentence.

    `key` is the setting at fault, of `server.tls` or, as `AUTHORITIES`, of `auth`.
    """

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key

    @property
    def setting(self) -> str:
        """Return the whole name of the setting at fault."""
        return f"auth.{self.key}" if self.key == AUTHORITIES else f"server.tls.{self.key}"


@dataclass(frozen=True, slots=True)
class Pair:
    """What was in the files of the settings: the chain, the server's own certificate first, and the key; both PEM.

    `authorities` are those whose client certificates are taken, None where none are.
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    authorities: bytes | None = field(default=None, repr=False)


class ServerContext(ssl.SSLContext):
    """A context that knows whether those who certified its clients have been replaced since."""

    retired = False
    """Whether no client is known any more by a certificate that it showed to this context."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A checked pair: `context` does handshakes with it, which clients accept until `expires`."""

    pair: Pair
    context: ServerContext
    expires: datetime
    subject: str


def read_pair(tls: TlsSettings, client_ca: Path | None = None) -> Pair:
    """Read the files as they are now; `CertificateError` where that cannot be. Not for the event loop."""
    chain = _read("certificate", tls.certificate)
    key = chain if tls.key is None else _read("key", tls.key)
    return Pair(chain, key, None if client_ca is None else _read(AUTHORITIES, client_ca))


def load_identity(tls: TlsSettings, client_ca: Path | None = None, now: datetime | None = None) -> Identity:
    """Return the pair of the settings, fit to be served at `now`; raise `CertificateError` otherwise.

    With `client_ca`, clients may show a certificate, and those of other authorities fail the handshake. Reads the
    files: not for the event loop.
    """
    from cryptography import x509  # noqa: PLC0415 - few servers speak TLS themselves

    pair, now = read_pair(tls, client_ca), now or datetime.now(UTC)
    key_setting, key_file = ("certificate", tls.certificate) if tls.key is None else ("key", tls.key)
    try:
        certificate = x509.load_pem_x509_certificates(pair.chain)[0]
    except ValueError:
        raise CertificateError("certificate", f"{tls.certificate} holds no certificate in PEM") from None
    if b"PRIVATE KEY-----" not in pair.key:
        raise CertificateError(key_setting, f"{key_file} holds no private key in PEM")
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(tls.certificate, key_file, password="")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(key_setting, _explain(error, tls, pair, key_file)) from None
    if client_ca is not None and pair.authorities is not None:
        _ask_clients(context, client_ca, pair.authorities)
    if certificate.not_valid_after_utc <= now:
        ended = certificate.not_valid_after_utc.isoformat()
        raise CertificateError("certificate", f"the certificate in {tls.certificate} expired at {ended}: renew it")
    if certificate.not_valid_before_utc > now:
        begins = certificate.not_valid_before_utc.isoformat()
        raise CertificateError(
            "certificate", f"the certificate in {tls.certificate} is not valid before {begins}: look at the clock"
        )
    return Identity(pair, context, certificate.not_valid_after_utc, certificate.subject.rfc4514_string())


def _ask_clients(context: ServerContext, client_ca: Path, authorities: bytes) -> None:
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):  # ValueError: the file is empty
        raise CertificateError(AUTHORITIES, f"{client_ca} holds no certificates in PEM") from None
    # Asked for, not demanded: others show passwords or tokens, or nothing where that is enough.
    context.verify_mode = ssl.CERT_OPTIONAL
    # An authority may be named that has another above it. What is in the file is the end of the chain.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _read(key: str, path: Path) -> bytes:
    try:
        if (trouble := unreadable(path)) is not None:
            raise CertificateError(key, trouble)
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except OSError as error:
        raise CertificateError(key, f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LIMIT:
        raise CertificateError(key, f"{path} is longer than any certificate or key")
    return content


def _explain(error: OSError, tls: TlsSettings, pair: Pair, key_file: Path) -> str:
    reason = getattr(error, "reason", None) or error.strerror or "unknown"
    if reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
        return f"the key in {key_file} is not that of the first certificate in {tls.certificate}"
    if b"ENCRYPTED" in pair.key:
        return f"the key in {key_file} is protected by a password: write it without one, readable by this user only"
    words = str(reason).replace("_", " ").lower()
    return f"{tls.certificate} and the key in {key_file} cannot be used as a pair: {words}"
