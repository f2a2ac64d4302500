"""What no single key can tell: whether the settings fit together, and whether the files they name are there."""

import shutil
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from proxy.config.auth import AuthSettings
from proxy.config.certificates import CertificateError, load_identity
from proxy.config.credentials import CredentialsSettings, SecretSettings
from proxy.config.faults import Key
from proxy.config.files import is_missing, unreadable
from proxy.config.identity_files import IdentityFileError, read_entries
from proxy.config.settings import Settings, TlsSettings
from proxy.model.access_keys import KEY_FILE
from proxy.model.hosts import is_loopback
from proxy.model.password_file import PASSWORD_FILE
from proxy.model.principal import EVERYONE

Problem = tuple[Key, str]


def check_together(settings: Settings) -> Iterator[Problem]:
    """Yield what is wrong among the settings themselves: a pure function of them."""
    yield from _check_exposure(settings)
    yield from _check_ports(settings)
    yield from _check_prefixes(settings)
    if isinstance(settings.auth, AuthSettings):
        yield from _check_auth(settings, settings.auth)


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
    if isinstance(settings.auth, AuthSettings):
        yield from _check_identities(settings.auth)


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


def _check_auth(settings: Settings, auth: AuthSettings) -> Iterator[Problem]:
    if auth.client_ca is not None and settings.server.tls is None:
        yield ("auth", "client_ca"), "clients show certificates where TLS is spoken: set server.tls, too"
    if settings.registry.compatibility == "ecr":
        for place, grant in enumerate(auth.policies or ()):
            if EVERYONE in grant.principals:
                problem = "ECR lets nobody in without a password: leave `anonymous` out, or set compatibility: relaxed"
                yield ("auth", "policies", place, "principals"), problem


def _check_identities(auth: AuthSettings) -> Iterator[Problem]:
    try:
        users = read_entries(auth.htpasswd, PASSWORD_FILE) if auth.htpasswd is not None else {}
    except IdentityFileError as error:
        yield ("auth", "htpasswd"), f"{error}{_makes(auth.htpasswd, 'users set NAME')}"
    else:
        for name in [provider.name for provider in auth.oidc if provider.name in users]:
            problem = f"the user {name!r} of {auth.htpasswd} has the name of an identity provider: rename one of them"
            yield ("auth", "htpasswd"), problem
    try:
        if auth.access_keys is not None:
            read_entries(auth.access_keys, KEY_FILE)
    except IdentityFileError as error:
        yield ("auth", "access_keys"), f"{error}{_makes(auth.access_keys, 'access-keys create NAME')}"
    yield from _check_authorities(("auth", "client_ca"), auth.client_ca)
    for place, provider in enumerate(auth.oidc):
        yield from _check_authorities(("auth", "oidc", place, "ca_file"), provider.ca_file)


def _makes(path: Path | None, command: str) -> str:
    """Say how a file that is not there is made."""
    return f": `pullthrough {command}` makes it" if path is not None and is_missing(path) else ""


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
