"""Commands that look and change nothing."""

from pathlib import Path

import typer

from proxy.cli.configured import load, locate, mirrored, read_image
from proxy.cli.exits import FAILED
from proxy.cli.kept_rules import rules_in_force
from proxy.cli.output import show
from proxy.cli.settings_text import settings_text
from proxy.core.rules import Address


def check_config(config: Path | None, *, show_settings: bool) -> None:
    """Report on the configuration."""
    path, settings = load(config)
    if show_settings:
        typer.echo(settings_text(settings), nl=False)
    else:
        count = len(settings.rules)
        typer.echo(f"{path}: no faults; {count} {'rule' if count == 1 else 'rules'}")


def resolve(config: Path | None, image: str, *, ns: str | None, mirror: int | None, json: bool) -> int:
    """Show what an image means; return the exit code."""
    settings = load(config)[1]
    asked, prefix = read_image(image), mirrored(settings, mirror)
    found = locate(rules_in_force(settings), Address(asked.name, ns, prefix))
    shown = str(asked.reference or "latest")
    remote = found.remote
    url = f"{remote.rule.upstream.origin}/v2/{remote.repository}/manifests/{shown}" if remote is not None else None
    answer = {
        "rule": remote.rule.prefix if remote is not None else None,
        "repository": found.repository,
        "reference": shown,
        "upstream": url if found.refusal is None else None,
        "reason": found.reason,
    }
    show(answer, json=json)
    return 0 if found.refusal is None else FAILED
