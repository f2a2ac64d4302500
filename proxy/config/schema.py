"""The settings tree seen from outside: which keys exist, of which shape, and which is meant by a misspelt one."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from proxy.config.faults import Key, spell
from proxy.config.section import Section
from proxy.config.settings import Settings


class Kind(Enum):
    """How a value is written."""

    SECTION = auto()  # keys that the settings tree names
    LIST = auto()
    MAPPING = auto()  # keys that the operator chooses
    SCALAR = auto()


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a value.

    `section` is set for a SECTION, `item` for what a LIST or a MAPPING holds; `words` may stand in place of a section.
    """

    kind: Kind
    section: type[Section] | None = None
    item: Any = None
    optional: bool = False
    words: tuple[str, ...] = ()


def shape(annotation: Any) -> Shape:  # noqa: ANN401 - an annotation can be anything
    """Return the shape that values of a type are written in."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape(arguments[0])
    if origin in {Union, UnionType}:
        # The tree knows two unions: something or None, and a section or a word.
        first, *others = (argument for argument in arguments if argument is not NoneType)
        inner = shape(first)
        words = inner.words or tuple(word for other in others for word in _words(other))
        return Shape(inner.kind, inner.section, inner.item, optional=NoneType in arguments, words=words)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Shape(Kind.SECTION, annotation)
    if origin is tuple:
        return Shape(Kind.LIST, item=arguments[0])
    if origin is dict:
        return Shape(Kind.MAPPING, item=arguments[1])
    return Shape(Kind.SCALAR)


def _words(annotation: Any) -> tuple[str, ...]:  # noqa: ANN401 - an annotation can be anything
    if get_origin(annotation) is Annotated:
        return _words(get_args(annotation)[0])
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def step(found: Shape, part: str | int) -> Shape | None:
    """Return the shape of one key inside another, or None where there is none."""
    if found.section is not None and isinstance(part, str):
        field = found.section.model_fields.get(part)
        return shape(field.annotation) if field is not None else None
    if found.kind is Kind.LIST and isinstance(part, int):
        return shape(found.item)
    if found.kind is Kind.MAPPING and isinstance(part, str):
        return shape(found.item)
    return None


def shape_at(key: Key) -> Shape | None:
    """Return the shape of a key of the configuration, or None where there is no such key."""
    found: Shape | None = Shape(Kind.SECTION, Settings)
    for part in key:
        if found is None:
            return None
        found = step(found, part)
    return found


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the configuration that holds a value: `key` with ``[]`` after lists, such as ``rules[].prefix``."""

    key: str
    field: FieldInfo


def settings_of(section: type[Section] = Settings, prefix: str = "") -> Iterator[Setting]:
    """Yield every key of the tree, in the order in which it is declared."""
    for name, field in section.model_fields.items():
        found = shape(field.annotation)
        inner = shape(found.item) if found.kind is Kind.LIST else found
        key = f"{prefix}{name}"
        if inner.section is None or inner.words:
            yield Setting(key, field)
        if inner.section is not None:
            yield from settings_of(inner.section, f"{key}[]." if found.kind is Kind.LIST else f"{key}.")


def suggest(key: Key) -> str:
    """Return a hint for a key that does not exist: the nearest one that does, or those that there are."""
    *above, name = key
    parent = shape_at(tuple(above))
    if parent is None or parent.section is None:
        return ""
    names = list(parent.section.model_fields)
    near = get_close_matches(str(name).lower().replace("-", "_"), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{spell((*above, near[0]))}`?"
    elsewhere = [setting.key for setting in settings_of() if setting.key.rpartition(".")[2] == name]
    if elsewhere:
        return f"did you mean `{elsewhere[0]}`?"
    return f"known here: {', '.join(sorted(names))}"
