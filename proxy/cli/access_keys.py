"""Commands about the keys that sign requests to the AWS APIs."""

import secrets
import string
from pathlib import Path

import typer

from proxy.cli.audit import Change, tell_audit
from proxy.cli.exits import refuse
from proxy.cli.identity_files import discard, edit, entries, load_auth, named
from proxy.cli.output import show, show_json, show_table
from proxy.config.settings import Settings
from proxy.model.access_keys import KEY_FILE, AccessKey
from proxy.model.hosts import authority, is_everywhere
from proxy.model.principal import plain_principal

_SETTING = "auth.access_keys"
_ID_PREFIX = "PT"
_ID_REST = 18
_SECRET_BYTES = 30


def list_keys(config: Path | None, *, json: bool) -> None:
    """Show all keys in order of principal, without their secrets."""
    found = entries(named(load_auth(config)[1].access_keys, _SETTING), KEY_FILE)
    keys = sorted(found.values(), key=lambda key: (key.principal, key.id))
    if json:
        show_json([{"access_key_id": key.id, "principal": key.principal} for key in keys])
    else:
        rows = [(key.id, key.principal) for key in keys]
        show_table(("access key id", "principal"), rows, otherwise="there are no access keys")


def create(config: Path | None, principal: str, *, json: bool) -> None:
    """Make a key, and show it with what its owner must set."""
    settings, auth = load_auth(config)
    path = named(auth.access_keys, _SETTING)
    try:
        owner = plain_principal(principal)
    except ValueError as error:
        refuse(str(error))
    alphabet = string.ascii_uppercase + string.digits
    key_id = _ID_PREFIX + "".join(secrets.choice(alphabet) for _ in range(_ID_REST))
    key = AccessKey(key_id, secrets.token_urlsafe(_SECRET_BYTES), owner)
    edit(path, KEY_FILE, lambda _: (key.id, key.line))
    tell_audit(settings, Change("access-keys.create", owner, key.id))
    url = _url(settings)
    answer = {
        "access_key_id": key.id,
        "secret_access_key": key.secret,
        "principal": key.principal,
        "region": settings.registry.region,
        "endpoint_url": url,
    }
    show(answer, json=json)
    if not json:
        typer.echo(_instructions(key, settings.registry.region, url))


def remove(config: Path | None, key: str, *, json: bool) -> None:
    """Remove a key, or leave where there is none."""
    settings, auth = load_auth(config)
    path = named(auth.access_keys, _SETTING)
    discard(path, KEY_FILE, key, absent=f"{path} has no access key {key}")
    tell_audit(settings, Change("access-keys.remove", key))
    show({"access_key_id": key, "state": "removed", "file": str(path)}, json=json)


def _url(settings: Settings) -> str:
    """Return the address of the API as clients are likely to reach it."""
    server = settings.server
    if server.public_url is not None:
        return server.public_url.rstrip("/")
    host = "localhost" if is_everywhere(server.host) else server.host
    scheme = "https" if server.tls is not None else "http"
    return f"{scheme}://{authority(host, server.port)}"


def _instructions(key: AccessKey, region: str, url: str) -> str:
    return f"""
The secret is shown this once. With the AWS CLI:

  export AWS_ACCESS_KEY_ID={key.id}
  export AWS_SECRET_ACCESS_KEY={key.secret}
  export AWS_DEFAULT_REGION={region}
  aws ecr describe-repositories --endpoint-url {url}
  aws ecr get-login-password --endpoint-url {url} | docker login -u AWS --password-stdin {url.partition("://")[2]}"""
