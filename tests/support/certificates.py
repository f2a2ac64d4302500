"""Certificates for servers of the tests, from an authority that only their clients trust."""

import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.support.docker_registry import Certificate

NAMES = ("localhost", "127.0.0.1")


@dataclass
class Authority:
    """An authority whose own certificate is ``authority.pem`` in `folder`."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca.cert_pem.write_to_path(str(self.file))

    @property
    def file(self) -> Path:
        return self.folder / "authority.pem"

    def leaf(self, *names: str, begin: datetime | None = None, end: datetime | None = None) -> trustme.LeafCert:
        """Return a certificate for `names`, of this machine by default, that nobody has in a file yet."""
        return self.ca.issue_cert(*(names or NAMES), not_before=begin, not_after=end)

    def issue(self, *names: str, end: datetime | None = None) -> Certificate:
        """Return a new certificate with its key in the files ``certificate.pem`` and ``key.pem``."""
        files = Certificate(self.folder / "certificate.pem", self.folder / "key.pem", self.file)
        leaf = self.leaf(*names, end=end)
        put(files.certificate, chain_of(leaf))
        put(files.key, leaf.private_key_pem.bytes())
        return files

    def trusting(self, shown: Path | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority alone, and shows a certificate of `client`."""
        context = ssl.create_default_context(cafile=str(self.file))
        if shown is not None:
            context.load_cert_chain(shown)
        return context

    def client(
        self,
        *names: str,
        usages: Sequence[ObjectIdentifier] | None = (ExtendedKeyUsageOID.CLIENT_AUTH,),
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> Path:
        """Return a file with a new certificate, and its key, for a client whose common names are `names`.

        `usages` are those that the certificate is limited to, None for no limit.
        """
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        issuer = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of names that are too long
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False) for name in names])
        made = (
            x509.CertificateBuilder(issuer.subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(begin or now - timedelta(days=1))
            .not_valid_after(end or now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if usages is not None:
            made = made.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        signer = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        certificate = made.sign(signer, hashes.SHA256())
        file = self.folder / f"client-{certificate.serial_number}.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        return file


def chain_of(leaf: trustme.LeafCert) -> bytes:
    """Return the certificate and those behind it, in PEM."""
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def put(path: Path, content: bytes) -> None:
    """Replace a file as a whole, as programs that renew certificates do."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def serial_of(pem_or_der: bytes) -> int:
    """Return the number by which certificates are told apart."""
    if pem_or_der.startswith(b"-----"):
        return x509.load_pem_x509_certificates(pem_or_der)[0].serial_number
    return x509.load_der_x509_certificate(pem_or_der).serial_number
