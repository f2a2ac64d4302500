"""The configuration in the environment: ``PULLTHROUGH_SERVER__PORT=5002`` sets ``server.port``, above the file."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from proxy.config.faults import ConfigurationError, Fault, Key
from proxy.config.schema import Kind, Shape, settings_of, shape_at, step

PREFIX = "PULLTHROUGH_"
PATH_VARIABLE = "PULLTHROUGH_CONFIG"
SEPARATOR = "__"

# Kubernetes gives every pod variables for each Service of its namespace (kubernetes.io, "Accessing the Service",
# environment variables). A Service called `pullthrough` must not stop the server of that name.
_SERVICE = re.compile(rf"{PREFIX}(?:[A-Z0-9_]*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_[A-Z0-9_]+)")
_SERVICE_URL = re.compile(r"(?:tcp|udp|sctp)://")


@dataclass(slots=True)
class Overrides:
    """The file's data with the environment laid over it; `origins` names the variable that set a key."""

    data: dict[str, Any]
    origins: dict[Key, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def lay(self, name: str, key: Key, value: object) -> None:
        """Set `key`; a mapping is laid over what is there key by key, anything else replaces it."""
        if isinstance(value, dict):
            for inner, item in value.items():
                self.lay(name, (*key, str(inner)), item)
            if value:
                return
        *above, last = key
        container: Any = self.data
        try:
            for depth, (part, following) in enumerate(zip(above, key[1:], strict=True), start=1):
                words = _words(key[:depth])
                container = _enter(container, part, [] if isinstance(following, int) else {}, words)
            _put(container, last, value)
        except IndexError as error:
            self.faults.append(Fault(name, key, str(error)))
        self.origins[key] = name


def _words(key: Key) -> tuple[str, ...]:
    found = shape_at(key)
    return found.words if found is not None else ()


def _enter(container: Any, part: str | int, empty: object, words: tuple[str, ...]) -> Any:  # noqa: ANN401 - data of a file can be anything
    """Return what stands at `part`; where nothing stands, or one of `words` for a section, put `empty` there."""
    if isinstance(container, list) and isinstance(part, int):
        if part == len(container):
            container.append(empty)
        if part > len(container):
            raise _beyond(container)
        return container[part]
    if isinstance(container, dict):
        if container.get(part) is None or container[part] in words:
            container[part] = empty
        return container[part]
    return None  # the file has something of another shape here, and that is the fault that is told


def _put(container: Any, part: str | int, value: object) -> None:  # noqa: ANN401 - as in _enter
    if isinstance(container, list) and isinstance(part, int):
        if part > len(container):
            raise _beyond(container)
        container[part : part + 1] = [value]
    elif isinstance(container, dict):
        container[part] = value


def _beyond(container: list[Any]) -> IndexError:
    return IndexError(f"the list has {len(container)} entries: the next one has the number {len(container)}")


def apply_environment(data: Mapping[str, Any], environ: Mapping[str, str]) -> Overrides:
    """Lay the variables ``PULLTHROUGH_*`` over `data`, which is not changed.

    Names are the keys in capitals, joined by two underscores; places in lists are numbers from 0. Lists and mappings
    are JSON. An empty variable counts as not set. A deeper key wins over the section around it.
    """
    result = Overrides(_copy(data))
    found: list[tuple[str, Key]] = []
    secrets = set(_secret_variables(data))
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == PATH_VARIABLE or not environ[name]:
            continue
        key = _key(name.removeprefix(PREFIX))
        if key is not None:
            found.append((name, key))
        elif not _foreign(name, environ[name]):
            result.faults.append(Fault(name, (), f"there is no such setting; {_nearest(name)}"))
    # A section before what is inside it, places of lists in their order.
    for name, key in sorted(found, key=lambda item: [str(part).zfill(9) for part in item[1]]):
        try:
            value = _value(name, key, environ[name])
        except ConfigurationError as error:
            result.faults.extend(error.faults)
        else:
            result.lay(name, key, value)
    secrets.update(_secret_variables(result.data))
    result.faults = [fault for fault in result.faults if fault.where not in secrets]
    return result


def _copy(value: Any) -> Any:  # noqa: ANN401 - data of a file can be anything
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _key(name: str) -> Key | None:
    """Return the key that a variable's name (without prefix) means, or None where there is no such key."""
    found = shape_at(())
    key: Key = ()
    for text in name.split(SEPARATOR):
        if found is None:
            return None
        part: str | int = int(text) if found.kind is Kind.LIST and text.isdecimal() else text.lower()
        found = None if found.kind is Kind.MAPPING else step(found, part)
        key = (*key, part)
    return key if found is not None else None


def _value(name: str, key: Key, text: str) -> object:
    """Return what a variable holds: text, or the JSON value where the key takes a list, a mapping or a section."""
    found = shape_at(key)
    if found is None or found.kind is Kind.SCALAR or text in found.words:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, list if found.kind is Kind.LIST else dict):
        raise ConfigurationError([Fault(name, key, f"must be JSON: {_example(found)}")])
    return value


def _example(found: Shape) -> str:
    if found.kind is Kind.LIST:
        return 'a list such as ["a", "b"]'
    return " or ".join(['an object such as {"key": "value"}', *(f"the word {word}" for word in found.words)])


def _secret_variables(data: object) -> Iterator[str]:
    """Yield the variables that the configuration itself names as places of secrets."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            if key == "env" and isinstance(value, str):
                yield value
            yield from _secret_variables(value)
    elif isinstance(data, list):
        for item in data:
            yield from _secret_variables(item)


def _foreign(name: str, value: str) -> bool:
    return _SERVICE.fullmatch(name) is not None or (name.endswith("_PORT") and _SERVICE_URL.match(value) is not None)


def variable(key: str) -> str:
    """Return the variable that sets a key, spelt as `settings_of` does; ``rules[].prefix`` is for the first rule."""
    return PREFIX + key.replace("[].", ".0.").replace(".", SEPARATOR).upper()


def _nearest(name: str) -> str:
    known = [variable(setting.key).removeprefix(PREFIX) for setting in settings_of()]
    spelt = re.sub(r"__\d+__", "__0__", name.removeprefix(PREFIX))
    near = get_close_matches(spelt, known, n=1, cutoff=0.7)
    return f"did you mean {PREFIX}{near[0]}?" if near else "sections and keys are joined by two underscores"
