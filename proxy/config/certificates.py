"""The certificate with which the server shows itself, with its key: read, checked, and made ready for handshakes."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from proxy.config.files import unreadable
from proxy.config.settings import TlsSettings

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# Chains are a few KiB. What is much longer is another file than the one that was meant.
_LIMIT: Final = 1 << 20


class CertificateError(ValueError):
    """A pair of certificate and key that cannot be served; the message is one sentence, `key` the setting at fault."""

    def __init__(self, key: str, sentence: str) -> None:
        super().__init__(sentence)
        self.key = key


@dataclass(frozen=True, slots=True)
class Pair:
    """What was in the files of the settings: the chain, the server's own certificate first, and the key; both PEM."""

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """A checked pair: `context` does handshakes with it, which clients accept until `expires`."""

    pair: Pair
    context: ssl.SSLContext
    expires: datetime
    subject: str


def read_pair(tls: TlsSettings) -> Pair:
    """Read the files as they are now; `CertificateError` where that cannot be. Not for the event loop."""
    chain = _read("certificate", tls.certificate)
    return Pair(chain, chain if tls.key is None else _read("key", tls.key))


def load_identity(tls: TlsSettings, now: datetime | None = None) -> Identity:
    """Return the pair of the settings, fit to be served at `now`; raise `CertificateError` otherwise.

    Reads the files: not for the event loop.
    """
    pair, now = read_pair(tls), now or datetime.now(UTC)
    key_setting, key_file = ("certificate", tls.certificate) if tls.key is None else ("key", tls.key)
    try:
        certificate = x509.load_pem_x509_certificates(pair.chain)[0]
    except ValueError:
        raise CertificateError("certificate", f"{tls.certificate} holds no certificate in PEM") from None
    if b"PRIVATE KEY-----" not in pair.key:
        raise CertificateError(key_setting, f"{key_file} holds no private key in PEM")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password given, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(tls.certificate, key_file, password="")
    except (ssl.SSLError, OSError) as error:
        raise CertificateError(key_setting, _explain(error, tls, pair, key_file)) from None
    if certificate.not_valid_after_utc <= now:
        ended = certificate.not_valid_after_utc.isoformat()
        raise CertificateError("certificate", f"the certificate in {tls.certificate} expired at {ended}: renew it")
    if certificate.not_valid_before_utc > now:
        begins = certificate.not_valid_before_utc.isoformat()
        raise CertificateError(
            "certificate", f"the certificate in {tls.certificate} is not valid before {begins}: look at the clock"
        )
    return Identity(pair, context, certificate.not_valid_after_utc, certificate.subject.rfc4514_string())


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
