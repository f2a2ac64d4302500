"""From the file and the environment to `Settings`: either complete and checked, or every fault at once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from proxy.config.auth import EMPTY, TAGS
from proxy.config.checks import check_surroundings, check_together
from proxy.config.document import Document, parse_document, read_document
from proxy.config.environment import PATH_VARIABLE, Overrides, apply_environment
from proxy.config.faults import ConfigurationError, Fault, Key
from proxy.config.schema import Kind, shape_at
from proxy.config.settings import Settings
from proxy.config.wording import describe

DEFAULT_PATH = Path("config/pullthrough.yaml")

Check = Callable[[Settings], object]
"""A further check of whole settings, for what this package cannot know; it raises ValueError with one sentence."""


def find_path(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the configuration file that is meant: the option, the variable PULLTHROUGH_CONFIG, or the default."""
    return option or Path(environ.get(PATH_VARIABLE) or DEFAULT_PATH)


def load_settings(
    path: Path, environ: Mapping[str, str], check: Check | None = None, *, surroundings: bool = True
) -> Settings:
    """Read the file at `path`, lay the environment over it and check the result.

    Relative paths in the settings are relative to the working folder, wherever the file is. Without `surroundings`,
    the files and variables that the settings name need not be there. Raises `ConfigurationError` with every fault
    that can be told at once. Reads files: not for the event loop.
    """
    return _load(read_document(path), environ, check, surroundings=surroundings)


def parse_settings(text: str, environ: Mapping[str, str], check: Check | None = None) -> Settings:
    """As `load_settings`, for a configuration that is not in a file."""
    return _load(parse_document(Path("<text>"), text), environ, check, surroundings=True)


def _load(document: Document, environ: Mapping[str, str], check: Check | None, *, surroundings: bool) -> Settings:
    overrides = apply_environment(_without_empty_sections(document.data), environ)
    faults = list(overrides.faults)
    faults += [Fault(_where(document, overrides, key), key, EMPTY[key]) for key in _empty(overrides.data)]
    try:
        settings = Settings.model_validate(overrides.data)
    except ValidationError as error:
        for details in _own(error.errors(include_url=False)):
            key = _key(details["loc"])
            faults.append(Fault(_where(document, overrides, key), key, describe(key, details)))
        raise ConfigurationError(_in_order(document, faults)) from None
    around = check_surroundings(settings, environ) if surroundings else ()
    for key, problem in (*check_together(settings), *around):
        faults.append(Fault(_where(document, overrides, key), key, problem))
    if not faults and check is not None:
        try:
            check(settings)
        except ValueError as error:
            faults.append(Fault(document.where(("rules",)), ("rules",), str(error)))
    if faults:
        raise ConfigurationError(_in_order(document, faults))
    return settings


def _without_empty_sections(data: dict[str, Any]) -> dict[str, Any]:
    """Drop sections and lists with nothing in them: YAML reads ``rules:`` above comments only as null."""
    kinds = {name: shape_at((name,)) for name, value in data.items() if value is None and (name,) not in EMPTY}
    empty = {name for name, found in kinds.items() if found is not None and found.kind is not Kind.SCALAR}
    return {name: value for name, value in data.items() if name not in empty}


def _own(errors: Sequence[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Yield the errors without those that follow from others: a list is not too short whose entries are at fault."""
    for details in errors:
        place = details["loc"]
        inner = any(other["loc"][: len(place)] == place for other in errors if other is not details)
        if details["type"] != "too_short" or not inner:
            yield details


def _empty(data: Mapping[str, Any]) -> Iterator[Key]:
    """Yield the keys that have nothing behind them where that is a fault."""
    for key in EMPTY:
        *above, last = key
        section: Any = data
        for part in above:
            section = section.get(part) if isinstance(section, Mapping) else None
        if isinstance(section, Mapping) and last in section and section[last] is None:
            yield key


def _in_order(document: Document, faults: Iterable[Fault]) -> list[Fault]:
    """Sort faults as the file has them, then those of the environment by name."""

    def place(fault: Fault) -> tuple[bool, int, str]:
        file, _, line = fault.where.rpartition(":")
        in_file = fault.where == str(document.path) or file == str(document.path)
        return (not in_file, int(line) if in_file and line.isdecimal() else 0, fault.where)

    return sorted(faults, key=place)


def _where(document: Document, overrides: Overrides, key: Key) -> str:
    """Return the variable or the line of the file that a fault at `key` comes from."""
    for length in range(len(key), 0, -1):
        if (name := overrides.origins.get(key[:length])) is not None:
            return name
    if key not in document.lines:
        # A section that only the environment knows.
        for origin, name in overrides.origins.items():
            if key and origin[: len(key)] == key:
                return name
    if key[:-1] not in document.lines:
        # A key that is missing in a section which only the environment knows.
        for origin, name in overrides.origins.items():
            if len(key) > 1 and origin[: len(key) - 1] == key[:-1]:
                return name
    return document.where(key)


def _key(location: tuple[int | str, ...]) -> Key:
    """Return pydantic's location of an error as the key of a setting, without the names of its own machinery."""
    key: Key = ()
    for part in location:
        if part in TAGS and key == ("auth",):
            continue
        key = (*key, part)
        if part == "[key]":
            return key[:-2]
    return key
