"""A pair of certificate and key: what can be served, and what is refused with which sentence."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from proxy.config.certificates import CertificateError, load_identity
from proxy.config.faults import ConfigurationError, spell
from proxy.config.loader import parse_settings
from proxy.config.settings import ServerSettings, TlsSettings
from tests.support.certificates import Authority, chain_of, put

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def tls(authority: Authority) -> TlsSettings:
    files = authority.issue()
    return TlsSettings(certificate=files.certificate, key=files.key)


def key_of(tls: TlsSettings) -> Path:
    assert tls.key is not None
    return tls.key


def refusal(tls: TlsSettings) -> tuple[str, str]:
    with pytest.raises(CertificateError) as raised:
        load_identity(tls)
    return raised.value.key, str(raised.value)


def test_a_pair_is_ready_for_handshakes(tls: TlsSettings, authority: Authority) -> None:
    end = datetime(2037, 1, 2, tzinfo=UTC)
    leaf = authority.leaf(end=end)
    put(tls.certificate, chain_of(leaf))
    put(key_of(tls), leaf.private_key_pem.bytes())
    identity = load_identity(tls)
    assert identity.expires == end
    assert identity.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert identity.context.verify_mode is ssl.CERT_NONE
    assert identity.context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("key_first", [True, False])
def test_the_key_may_be_in_the_file_of_the_certificate(
    authority: Authority, tmp_path: Path, *, key_first: bool
) -> None:
    leaf, file = authority.leaf(), tmp_path / "both.pem"
    parts = [leaf.private_key_pem.bytes(), chain_of(leaf)]
    file.write_bytes(b"".join(parts if key_first else reversed(parts)))
    assert load_identity(TlsSettings(certificate=file)).expires > NOW


def test_clients_are_asked_for_certificates_of_the_authorities_that_are_named(
    tls: TlsSettings, authority: Authority
) -> None:
    identity = load_identity(tls, authority.file)
    assert identity.context.verify_mode is ssl.CERT_OPTIONAL
    assert identity.context.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert(authority.file.read_text())]
    assert identity.pair != load_identity(tls).pair


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_file_without_authorities_is_told(tls: TlsSettings, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "client-ca.pem"
    file.write_bytes(content)
    with pytest.raises(CertificateError) as raised:
        load_identity(tls, file)
    assert (raised.value.setting, str(raised.value)) == ("auth.client_ca", f"{file} holds no certificates in PEM")


def test_neither_key_nor_certificate_is_shown_by_what_holds_them(tls: TlsSettings) -> None:
    assert "BEGIN" not in repr(load_identity(tls))


def test_a_file_that_is_not_there_is_told(tls: TlsSettings) -> None:
    key_of(tls).unlink()
    assert refusal(tls) == ("key", f"there is no file {tls.key}")
    with pytest.raises(CertificateError) as raised:
        load_identity(tls)
    assert raised.value.setting == "server.tls.key"
    tls.certificate.unlink()
    assert refusal(tls) == ("certificate", f"there is no file {tls.certificate}")


def test_a_file_with_something_else_in_it_is_told(tls: TlsSettings) -> None:
    key_of(tls).write_bytes(tls.certificate.read_bytes())
    assert refusal(tls) == ("key", f"{tls.key} holds no private key in PEM")
    tls.certificate.write_text("hello")
    assert refusal(tls) == ("certificate", f"{tls.certificate} holds no certificate in PEM")


def test_a_file_without_an_end_is_told(tls: TlsSettings) -> None:
    tls.certificate.write_bytes(b"x" * (1 << 20) + b"x")
    assert refusal(tls) == ("certificate", f"{tls.certificate} is longer than any certificate or key")


def test_a_certificate_alone_is_told(tls: TlsSettings) -> None:
    alone = TlsSettings(certificate=tls.certificate)
    assert refusal(alone) == ("certificate", f"{tls.certificate} holds no private key in PEM")


def test_the_key_of_another_certificate_is_told(tls: TlsSettings, authority: Authority) -> None:
    key_of(tls).write_bytes(authority.leaf().private_key_pem.bytes())
    assert refusal(tls) == ("key", f"the key in {tls.key} is not that of the first certificate in {tls.certificate}")


def test_a_key_with_a_password_is_told_and_nobody_is_asked_for_it(tls: TlsSettings) -> None:
    key = load_pem_private_key(key_of(tls).read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    key_of(tls).write_bytes(locked)
    name, sentence = refusal(tls)
    assert name == "key"
    assert sentence.startswith(f"the key in {tls.key} is protected by a password: ")


def test_a_broken_key_is_told(tls: TlsSettings) -> None:
    text = key_of(tls).read_text()
    key_of(tls).write_text(text[:80] + text[90:])
    name, sentence = refusal(tls)
    assert name == "key"
    assert sentence.startswith(f"{tls.certificate} and the key in {tls.key} cannot be used as a pair: ")


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [(NOW - 2 * DAY, NOW - DAY, "expired at"), (NOW + DAY, NOW + 2 * DAY, "is not valid before")],
)
def test_a_certificate_out_of_its_time_is_told(
    tls: TlsSettings, authority: Authority, begin: datetime, end: datetime, words: str
) -> None:
    leaf = authority.leaf(begin=begin, end=end)
    put(tls.certificate, chain_of(leaf))
    put(key_of(tls), leaf.private_key_pem.bytes())
    name, sentence = refusal(tls)
    assert name == "certificate"
    assert sentence.startswith(f"the certificate in {tls.certificate} {words} ")
    assert "\n" not in sentence


def test_the_loader_names_the_key_and_says_no_more_than_one_sentence(tls: TlsSettings) -> None:
    key_of(tls).unlink()
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(f"server: {{tls: {{certificate: '{tls.certificate}', key: '{tls.key}'}}}}", {})
    [fault] = raised.value.faults
    assert spell(fault.key) == "server.tls.key"
    assert str(fault) == f"<text>:1: server.tls.key: there is no file {tls.key}"


@pytest.mark.parametrize("version", ["1.1", "1.0", "1.4", "TLSv1.2"])
def test_no_other_version_can_be_the_oldest(tls: TlsSettings, version: str) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.tls\.min_version"):
        parse_settings(f"server: {{tls: {{certificate: '{tls.certificate}', min_version: '{version}'}}}}", {})


def test_the_environment_can_name_the_files(tls: TlsSettings) -> None:
    environ = {
        "PULLTHROUGH_SERVER__TLS__CERTIFICATE": str(tls.certificate),
        "PULLTHROUGH_SERVER__TLS__KEY": str(tls.key),
        "PULLTHROUGH_SERVER__TLS__MIN_VERSION": "1.3",
    }
    assert parse_settings("", environ).server.tls == tls.model_copy(update={"min_version": "1.3"})


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.0.2.7", "fd00::/8", "::1"])
def test_trusted_proxies_are_networks(network: str) -> None:
    assert ServerSettings(trusted_proxies=(network,)).trusted_proxies == (network,)


@pytest.mark.parametrize("network", ["", "proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*", "192.0.2.7:80", "[::1]"])
def test_nothing_else_is_a_trusted_proxy(network: str) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.trusted_proxies"):
        parse_settings(f"server: {{trusted_proxies: ['{network}']}}", {})
