"""Certificates for servers of the tests, from an authority that only their clients trust."""

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme
from cryptography import x509

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

    def trusting(self) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.file))


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
