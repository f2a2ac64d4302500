"""What every command begins with: the settings, and what an image on the command line means by them."""

import os
from pathlib import Path

from proxy.cli.exits import fail, refuse
from proxy.cli.image import parse_image
from proxy.config.faults import ConfigurationError
from proxy.config.loader import find_path, load_settings
from proxy.config.settings import Settings
from proxy.core.rules import Address, Resolution, RuleSet
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError
from proxy.model.reference import Tag


def load(option: Path | None) -> tuple[Path, Settings]:
    """Return the configuration file that is meant and its settings, or leave with every fault on standard error."""
    path = find_path(option, os.environ)
    try:
        return path, load_settings(path, os.environ, RuleSet.of)
    except ConfigurationError as error:
        refuse(str(error))


def find(
    settings: Settings, image: str, *, ns: str | None = None, mirror: int | None = None
) -> tuple[Resolution, Tag | Digest | None]:
    """Return what an image means here, and its tag or digest where one was given, or leave.

    It may be one that its rule does not let be pulled: `Resolution.refusal`.
    """
    try:
        parsed = parse_image(image)
    except ProxyError as error:
        refuse(f"{image}: {error.message}")
    prefix = next((listener.rule for listener in settings.mirrors if listener.port == mirror), None)
    if mirror is not None and prefix is None:
        ports = ", ".join(str(listener.port) for listener in settings.mirrors) or "none"
        refuse(f"no mirror listens on port {mirror}; there are: {ports}")
    try:
        return RuleSet.of(settings).locate(Address(parsed.name, ns, prefix)), parsed.reference
    except ProxyError as error:
        fail(error.message)
