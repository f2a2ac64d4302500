"""What `pullthrough serve` tells the person who started it on a terminal."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.config.auth import AuthSettings
from proxy.config.settings import Settings
from proxy.config.values import format_duration
from proxy.model.hosts import is_everywhere, is_loopback
from proxy.model.principal import EVERYONE
from proxy.model.rule import ROOT, CacheRule


def greeting(addresses: Sequence[tuple[str, str]], settings: Settings, rules: Sequence[CacheRule]) -> RenderableType:
    """Return the greeting: addresses as (label, URL), the registry's own first; rules; a command; what is open."""
    width = max(len(label) for label, _ in addresses)
    lines = [Text.assemble((label.ljust(width), "dim"), "  ", (url, "bold")) for label, url in addresses]
    parts: list[RenderableType] = [Text("Pullthrough", style="bold"), *lines, Text()]
    if rules:
        parts.append(_table(settings, rules))
    command = pull_command(addresses[0][1], rules)
    parts += [Text(), Text.assemble(("try", "dim"), f"  {command}"), Text()]
    parts += [Text.assemble(("open", "yellow"), f" {sentence}") for sentence in exposures(settings, rules)]
    return Group(*parts, Text())


def show_greeting(
    console: Console, addresses: Sequence[tuple[str, str]], settings: Settings, rules: Sequence[CacheRule]
) -> None:
    """Print the greeting where somebody sits at a terminal; write nothing into a file or a journal."""
    if console.is_terminal and addresses:
        console.print(greeting(addresses, settings, rules), soft_wrap=True)


def pull_command(url: str, rules: Sequence[CacheRule]) -> str:
    """Return a `docker pull` line that works with these rules, to copy."""
    parts = urlsplit(url)
    host = "localhost" if is_everywhere(parts.hostname or "") else parts.netloc.rpartition(":")[0]
    server = f"{host}:{parts.port}"
    for rule in rules:
        if rule.upstream.is_docker_hub and not rule.upstream_prefix:
            return f"docker pull {server}/{_below(rule)}library/alpine"
    below = _below(rules[0]) if rules else ""
    return f"docker pull {server}/{below}NAME"


def exposures(settings: Settings, rules: Sequence[CacheRule]) -> Iterator[str]:
    """Yield one sentence for each thing that others could use."""
    private = [rule.prefix for rule in rules if rule.credentials is not None]
    reach = f", also with the credentials of {', '.join(private)}" if private else ""
    rights = f"to pull{reach}, to push, to delete, and to administer: rules, repositories, secrets"
    if isinstance(settings.auth, AuthSettings):
        yield from _granted(settings, settings.auth)
    elif is_loopback(settings.server.host) and settings.auth is None:
        yield f"to every user and program of this machine, without a password: {rights}."
    else:
        yield f"to everyone who reaches {settings.server.host}, without a password (auth: none): {rights}."
    for rule in rules:
        if rule.upstream.scheme == "http":
            yield f"on the wire: the rule {rule.prefix} speaks plain http to {rule.upstream.authority}."


def _granted(settings: Settings, auth: AuthSettings) -> Iterator[str]:
    host = settings.server.host
    for grant in auth.grants:
        if EVERYONE in grant.principals:
            actions, names = ", ".join(grant.actions), ", ".join(grant.repositories)
            yield f"to everyone who reaches {host}, without a password (auth.policies): {actions} of {names}."
    if not is_loopback(host) and settings.server.tls is None:
        yield f"on the wire: passwords come to {host} over plain http, unless a proxy before it speaks TLS."


def _below(rule: CacheRule) -> str:
    return "" if rule.prefix == ROOT else f"{rule.prefix}/"


def _table(settings: Settings, rules: Sequence[CacheRule]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("rule", "upstream", "credentials", "tags checked after"):
        table.add_column(heading)
    for rule in rules:
        upstream = f"{rule.upstream}/{rule.upstream_prefix}".rstrip("/")
        offline = settings.upstreams.offline or rule.offline
        table.add_row(
            Text(_below(rule) or ROOT),
            Text(upstream),
            "anonymous" if rule.credentials is None else "yes",
            "never: offline" if offline else format_duration(rule.revalidate_after),
        )
    return table
