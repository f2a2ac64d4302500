"""What `pullthrough serve` tells the person who started it on a terminal."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from proxy.config.checks import is_loopback
from proxy.config.settings import RuleSettings, Settings, parse_upstream
from proxy.config.values import format_duration

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound


def greeting(addresses: Sequence[tuple[str, str]], settings: Settings) -> RenderableType:
    """Return the greeting: addresses as (label, URL), the registry's own first; rules; a command; what is open."""
    width = max(len(label) for label, _ in addresses)
    lines = [Text.assemble((label.ljust(width), "dim"), "  ", (url, "bold")) for label, url in addresses]
    parts: list[RenderableType] = [Text("Pullthrough", style="bold"), *lines, Text()]
    if settings.rules:
        parts.append(_table(settings))
    command = pull_command(addresses[0][1], settings)
    parts += [Text(), Text.assemble(("try", "dim"), f"  {command}"), Text()]
    parts += [Text.assemble(("open", "yellow"), f" {sentence}") for sentence in exposures(settings)]
    return Group(*parts, Text())


def show_greeting(console: Console, addresses: Sequence[tuple[str, str]], settings: Settings) -> None:
    """Print the greeting where somebody sits at a terminal; write nothing into a file or a journal."""
    if console.is_terminal and addresses:
        console.print(greeting(addresses, settings), soft_wrap=True)


def pull_command(url: str, settings: Settings) -> str:
    """Return a `docker pull` line that works with these rules, to copy."""
    parts = urlsplit(url)
    host = "localhost" if (parts.hostname or "") in _EVERYWHERE else parts.netloc.rpartition(":")[0]
    server = f"{host}:{parts.port}"
    for rule in settings.rules:
        if parse_upstream(rule.upstream).is_docker_hub and not rule.upstream_prefix:
            return f"docker pull {server}/{_below(rule)}library/alpine"
    below = _below(settings.rules[0]) if settings.rules else ""
    return f"docker pull {server}/{below}NAME"


def exposures(settings: Settings) -> Iterator[str]:
    """Yield one sentence for each thing that others could use."""
    private = [rule.prefix for rule in settings.rules if rule.credentials is not None]
    reach = f", also with the credentials of {', '.join(private)}" if private else ""
    rights = f"to pull{reach}, to push and to delete"
    if is_loopback(settings.server.host) and settings.auth is None:
        yield f"to every user and program of this machine, without a password: {rights}."
    else:
        yield f"to everyone who reaches {settings.server.host}, without a password (auth: none): {rights}."
    for rule in settings.rules:
        if rule.upstream.startswith("http://"):
            yield f"on the wire: the rule {rule.prefix} speaks plain http to {rule.upstream.partition('//')[2]}."


def _below(rule: RuleSettings) -> str:
    return "" if rule.prefix == "ROOT" else f"{rule.prefix}/"


def _table(settings: Settings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("rule", "upstream", "credentials", "tags checked after"):
        table.add_column(heading)
    for written, rule in zip(settings.rules, settings.cache_rules(), strict=True):
        upstream = f"{rule.upstream}/{rule.upstream_prefix}".rstrip("/")
        credentials = "anonymous" if written.credentials is None else "yes"
        offline = settings.upstreams.offline or rule.offline
        table.add_row(
            Text(_below(written) or "ROOT"),
            Text(upstream),
            credentials,
            "never: offline" if offline else format_duration(rule.revalidate_after),
        )
    return table
