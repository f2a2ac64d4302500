"""What every command begins with: the settings, and what the command line means by them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy.cli.exits import fail, refuse
from proxy.cli.image import Image, parse_image
from proxy.config.faults import ConfigurationError
from proxy.config.loader import find_path, load_settings
from proxy.config.settings import Settings
from proxy.core.rules import Address, Resolution, RuleSet
from proxy.model.errors import ProxyError


def load(option: Path | None, *, surroundings: bool = True) -> tuple[Path, Settings]:
    """Return the configuration file that is meant and its settings, or leave with every fault on standard error.

    Without `surroundings`, what the settings name need not be there: for commands that make it.
    """
    path = find_path(option, os.environ)
    try:
        return path, load_settings(path, os.environ, RuleSet.of, surroundings=surroundings)
    except ConfigurationError as error:
        refuse(str(error))


def read_image(text: str) -> Image:
    """Return the image that `text` spells, or leave."""
    try:
        return parse_image(text)
    except ProxyError as error:
        refuse(f"{text}: {error.message}")


def mirrored(settings: Settings, port: int | None) -> str | None:
    """Return the prefix of the rule that the mirror on `port` belongs to, None without a port, or leave."""
    prefix = next((listener.rule for listener in settings.mirrors if listener.port == port), None)
    if port is not None and prefix is None:
        ports = ", ".join(str(listener.port) for listener in settings.mirrors) or "none"
        refuse(f"no mirror listens on port {port}; there are: {ports}")
    return prefix


def locate(rules: RuleSet, address: Address) -> Resolution:
    """Return where an address leads, or leave; it may be what its rule does not let be pulled."""
    try:
        return rules.locate(address)
    except ProxyError as error:
        fail(error.message)


def read_text(path: Path) -> str:
    """Return the text of a file, or of standard input for ``-``, or leave."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        refuse(f"{path} cannot be read: {reason}")


def read_pairs(pairs: Sequence[str]) -> list[tuple[str, str]]:
    """Return what ``KEY=VALUE`` spells, each, or leave."""
    found = [pair.partition("=") for pair in pairs]
    wrong = next((key for key, sign, _ in found if not sign), None)
    if wrong is not None:
        refuse(f"{wrong}: write KEY=VALUE")
    return [(key, value) for key, _, value in found]
