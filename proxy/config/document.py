"""The configuration file: YAML, with the line of every key, so that a fault can be found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from proxy.config.faults import ConfigurationError, Fault, Key


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds: plain data, and the line (from 1) on which each key stands."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: Mapping[Key, int] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """Return ``FILE:LINE`` of the key, or of the nearest section around it that the file names."""
        for length in range(len(key), 0, -1):
            line = self.lines.get(key[:length])
            if line is not None:
                return f"{self.path}:{line}"
        return str(self.path)


def read_document(path: Path) -> Document:
    """Read a file; an empty one is an empty configuration.

    Raises `ConfigurationError` where the file cannot be read, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "there is no such file; name one by --config or PULLTHROUGH_CONFIG"
        raise ConfigurationError([Fault(str(path), (), hint)]) from None
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text: wrong byte at position {error.start}"
        raise ConfigurationError([Fault(str(path), (), problem)]) from None
    except OSError as error:
        raise ConfigurationError([Fault(str(path), (), f"cannot be read: {error.strerror}")]) from None
    return parse_document(path, text)


def parse_document(path: Path, text: str) -> Document:
    """Return the document that `text` spells; see `read_document`."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(path)
        found = list(_walk(node, (), ()))
        repeated = [Fault(f"{path}:{line}", key, "this key is written twice") for key, line, twice in found if twice]
        if repeated:
            raise ConfigurationError(repeated)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        # Only the problem and its place: the snippet that PyYAML prints may hold a secret.
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise ConfigurationError([Fault(where, (), f"is not YAML: {error.problem or error.context}")]) from None
    except yaml.reader.ReaderError as error:
        problem = f"is not YAML: a character that is not allowed stands at position {error.position}"
        raise ConfigurationError([Fault(str(path), (), problem)]) from None
    except RecursionError:
        raise ConfigurationError([Fault(str(path), (), "is nested too deeply")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        raise ConfigurationError([Fault(str(path), (), "must hold sections such as `server:` and `rules:`")])
    return Document(path, data, {key: line for key, line, _ in found})


def _walk(node: yaml.Node, key: Key, above: tuple[int, ...]) -> Iterator[tuple[Key, int, bool]]:
    """Yield (key, line, whether the same mapping held it before) of everything inside `node`."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
    above = (*above, id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag == "tag:yaml.org,2002:merge":
                continue
            inner = (*key, name.value)
            yield inner, name.start_mark.line + 1, name.value in seen
            seen.add(name.value)
            yield from _walk(value, inner, above)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield (*key, place), value.start_mark.line + 1, False
            yield from _walk(value, (*key, place), above)
