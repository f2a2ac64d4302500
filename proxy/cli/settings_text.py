"""The settings in force, as YAML that could be their configuration file."""

from datetime import timedelta
from typing import Any

import yaml
from pydantic import BaseModel, ByteSize

from proxy.config.auth import EMPTY
from proxy.config.settings import Settings
from proxy.config.values import format_duration, format_size
from proxy.telemetry.redaction import redact_text


def settings_text(settings: Settings) -> str:
    """Return the whole tree, defaults included; user and password of forward proxies are masked."""
    tree = _plain(settings)
    for *above, last in EMPTY:
        section = tree
        for part in above:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and section.get(last, "") is None:
            del section[last]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a tree of anything that settings hold
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, ByteSize):
        return format_size(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int) else redact_text(str(value))
