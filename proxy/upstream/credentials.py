"""Credentials of a rule, read from where the operator keeps them, when they are needed."""

import asyncio
import base64
import binascii
import re
import subprocess
from pathlib import Path

import msgspec

from proxy.config.secret_text import SecretUnreadableError, read_secret, read_text
from proxy.model.credentials import CredentialHelper, DockerConfig, UserPassword
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.rule import DOCKER_HUB, CacheRule, UpstreamAddress
from proxy.upstream.credential import Credential

_CONFIG_LIMIT = 4 << 20
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_TIMEOUT = 15.0
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_IDENTITY_USER = "<token>"  # how Docker's helpers say that the secret is an identity token


class _AuthEntry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _ConfigFile(msgspec.Struct):
    auths: dict[str, _AuthEntry] = {}
    credHelpers: dict[str, str] = {}  # noqa: N815 - Docker's spelling
    credsStore: str = ""  # noqa: N815 - Docker's spelling


class _HelperAnswer(msgspec.Struct):
    Username: str = ""
    Secret: str = ""


class _UnusableError(Exception):
    """Why there is no credential, as half a sentence without any secret."""


KeptHere = UserPassword | DockerConfig | CredentialHelper
"""Sources of credentials on this machine."""


async def read_credential(rule: CacheRule, source: KeptHere) -> Credential:
    """Return what `source`, that of `rule`, holds.

    Files are read and helper programs run in a thread, anew each time. Raises `UpstreamError` CREDENTIALS_REFUSED,
    with the reason, if there is nothing.
    """
    try:
        return await asyncio.to_thread(_read, source, rule.upstream)
    except (_UnusableError, SecretUnreadableError) as error:
        raise UpstreamError(
            UpstreamFailure.CREDENTIALS_REFUSED, f"the `credentials` of rule {rule.prefix} cannot be used: {error}"
        ) from None


def _read(source: KeptHere, upstream: UpstreamAddress) -> Credential:
    match source:
        case UserPassword(username, password):
            return Credential(username, read_secret(password))
        case DockerConfig(path):
            return _from_docker_config(path, upstream)
        case CredentialHelper(name):
            found = _ask_helper(name, _keys(upstream)[0])
            if found is None:
                raise _UnusableError(f"docker-credential-{name} has none for {_keys(upstream)[0]}")
            return found


def _keys(upstream: UpstreamAddress) -> list[str]:
    """Return the names under which Docker keeps credentials for `upstream`, the usual one first."""
    if upstream.host == DOCKER_HUB:
        return [_DOCKER_HUB_KEY, "docker.io", "index.docker.io", DOCKER_HUB, f"https://{DOCKER_HUB}"]
    plain = upstream.authority
    prefixed = [f"{scheme}{plain}" for scheme in ("https://", "http://")]
    return [plain, *prefixed, *(f"{key}{path}" for key in (plain, *prefixed) for path in ("/", "/v1/", "/v2/"))]


def _from_docker_config(path: Path, upstream: UpstreamAddress) -> Credential:
    try:
        config = msgspec.json.decode(read_text(path, _CONFIG_LIMIT), type=_ConfigFile)
    except (msgspec.MsgspecError, RecursionError):
        raise _UnusableError(f"{path} is not a Docker config.json") from None
    keys = _keys(upstream)
    helper = next((config.credHelpers[key] for key in keys if key in config.credHelpers), config.credsStore)
    found = _ask_helper(helper, keys[0]) if helper else None
    if found is None:
        entry = next((config.auths[key] for key in keys if key in config.auths), None)
        found = _from_entry(entry) if entry is not None else None
    if found is None:
        raise _UnusableError(f"{path} has no entry for {keys[0]}")
    return found


def _from_entry(entry: _AuthEntry) -> Credential | None:
    username, password = entry.username, entry.password
    if entry.auth:
        try:
            decoded = base64.b64decode(entry.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        username, _, password = decoded.partition(":")
        password = password.rstrip("\0")
    if entry.identitytoken:
        return Credential(username, entry.identitytoken, identity=True)
    return Credential(username, password) if username and password else None


def _ask_helper(name: str, server: str) -> Credential | None:
    """Run ``docker-credential-<name> get``; None if it knows no credential for `server`."""
    program = f"docker-credential-{name}"
    if _HELPER_NAME.fullmatch(name) is None:
        raise _UnusableError("the name of a credential helper may hold letters, digits, . _ and - only")
    try:
        done = subprocess.run(  # noqa: S603 - the operator names the program; no shell
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT, check=False
        )
    except OSError as error:
        raise _UnusableError(f"{program} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _UnusableError(f"{program} did not answer within {_HELPER_TIMEOUT:g} s") from None
    if done.returncode != 0:
        if b"credentials not found" in done.stdout:
            return None
        raise _UnusableError(f"{program} failed with exit status {done.returncode}")
    try:
        answer = msgspec.json.decode(done.stdout, type=_HelperAnswer)
    except (msgspec.MsgspecError, RecursionError):
        raise _UnusableError(f"{program} did not answer as a credential helper does") from None
    if not answer.Secret:
        return None
    return Credential(answer.Username, answer.Secret, identity=answer.Username == _IDENTITY_USER)
