"""What no single key can tell: whether the settings fit together, and whether the files they name are there."""

import shutil
import ssl
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from proxy.config.certificates import CertificateError, load_identity
from proxy.config.credentials import CredentialsSettings, SecretSettings
from proxy.config.faults import Key
from proxy.config.files import unreadable
from proxy.config.settings import Settings, TlsSettings

Problem = tuple[Key, str]


def check_together(settings: Settings) -> Iterator[Problem]:
    """Yield what is wrong among the settings themselves: a pure function of them."""
    yield from _check_exposure(settings)
    yield from _check_ports(settings)
    yield from _check_prefixes(settings)


def check_surroundings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield which files, variables and programs the settings name in vain. Reads files: not for the event loop."""
    yield from _check_certificate(settings.server.tls)
    yield from _check_authorities(("upstreams", "ca_file"), settings.upstreams.ca_file)
    for place, rule in enumerate(settings.rules):
        yield from _check_authorities(("rules", place, "ca_file"), rule.ca_file)
        yield from _check_client_cert(("rules", place, "client_cert"), rule.client_cert)
        if rule.credentials is not None:
            yield from _check_credentials(("rules", place, "credentials"), rule.credentials, environ)
    yield from _check_secret(("secrets", "key"), settings.secrets.key, environ)
    for place, value in enumerate(settings.secrets.values):
        yield from _check_secret(("secrets", "values", place, "access_token"), value.access_token, environ)


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine reaches a listener on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_exposure(settings: Settings) -> Iterator[Problem]:
    if settings.auth is None and not is_loopback(settings.server.host):
        problem = (
            f"{settings.server.host!r} is reachable from other machines, and `auth` is not set: everyone could pull "
            "with your credentials. Listen on 127.0.0.1, or write `auth: none` if that is meant"
        )
        yield ("server", "host"), problem


def _check_ports(settings: Settings) -> Iterator[Problem]:
    taken = {settings.server.port: "server.port"}
    for place, mirror in enumerate(settings.mirrors):
        if mirror.port != 0 and mirror.port in taken:
            yield ("mirrors", place, "port"), f"port {mirror.port} is already that of {taken[mirror.port]}"
        taken.setdefault(mirror.port, f"mirrors[{place}].port")


def _check_prefixes(settings: Settings) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for place, rule in enumerate(settings.rules):
        if rule.prefix in first:
            yield ("rules", place, "prefix"), f"{rule.prefix!r} is already the prefix of rules[{first[rule.prefix]}]"
        first.setdefault(rule.prefix, place)
    for place, mirror in enumerate(settings.mirrors):
        if mirror.rule not in first:
            known = ", ".join(sorted(first)) or "none"
            yield ("mirrors", place, "rule"), f"there is no rule with the prefix {mirror.rule!r}; there are: {known}"


def _check_certificate(tls: TlsSettings | None) -> Iterator[Problem]:
    if tls is None:
        return
    try:
        load_identity(tls)
    except CertificateError as error:
        yield ("server", "tls", error.key), str(error)


def _check_authorities(key: Key, path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    trouble = unreadable(path)
    if trouble is None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except ssl.SSLError:
            trouble = f"{path} holds no certificates in PEM"
    if trouble is not None:
        yield key, trouble


def _check_client_cert(key: Key, path: Path | None) -> Iterator[Problem]:
    if path is None:
        return
    trouble = unreadable(path)
    if trouble is None:
        try:
            # Without a password given, OpenSSL would ask for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password="")
        except ssl.SSLError:
            trouble = f"{path} holds no certificate with its key in PEM, without a password"
    if trouble is not None:
        yield key, trouble


def _check_credentials(key: Key, credentials: CredentialsSettings, environ: Mapping[str, str]) -> Iterator[Problem]:
    yield from _check_secret((*key, "password"), credentials.password, environ)
    if credentials.docker_config is not None and (trouble := unreadable(credentials.docker_config)):
        yield (*key, "docker_config"), trouble
    program = f"docker-credential-{credentials.helper}"
    if credentials.helper is not None and shutil.which(program, path=environ.get("PATH")) is None:
        yield (*key, "helper"), f"there is no program {program} on PATH"


def _check_secret(key: Key, secret: SecretSettings | None, environ: Mapping[str, str]) -> Iterator[Problem]:
    if secret is None:
        return
    if secret.env is not None and not environ.get(secret.env):
        yield (*key, "env"), f"the environment variable {secret.env} is not set"
    if secret.file is not None and (trouble := unreadable(secret.file)):
        yield (*key, "file"), trouble
