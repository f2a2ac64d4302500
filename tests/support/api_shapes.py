"""Values and faults of the shapes of a service's model: requests that fit it, each way not to, and answers checked."""

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

Broken = tuple[str, str, Any]
"""Where a value does not fit (as messages name it), why, in a word, and the whole value with that one fault."""

_WRITTEN: Mapping[str, type] = {
    "structure": dict,
    "list": list,
    "map": dict,
    "boolean": bool,
    "integer": int,
    "long": int,
    "string": str,
    "blob": str,
}
"""What values are in JSON; all others are numbers, with a fraction or without."""

_NUMBERS = ("integer", "long", "float", "double", "timestamp")
_NOWHERE = "~"
"""A character that no pattern of the offered operations takes."""

_TEXTS = (
    "team/app",
    "000000000000",
    "11111111-2222-4333-8444-555555555555",
    f"sha256:{'ab' * 32}",
    "us-east-1",
    "dev-1",
    "2h",
    "arn:aws:secretsmanager:us-east-1:000000000000:secret:ecr-pullthroughcache/one-AbCdEf",
    "arn:aws:iam::000000000000:user/alice",
    "arn:aws:signer:us-east-1:000000000000:/signing-profiles/one",
    "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-4333-8444-555555555555",
)


def sample(shape: Shape) -> Any:  # noqa: ANN401 - JSON
    """Return a value that fits, with all members there are."""
    match shape:
        case StructureShape():
            return {name: sample(inner) for name, inner in shape.members.items()}
        case ListShape():
            return [sample(shape.member)] * max(1, shape.metadata.get("min", 1))
        case MapShape():
            return {sample(shape.key): sample(shape.value)}
        case _:
            return _scalar(shape)


def _scalar(shape: Shape) -> Any:  # noqa: ANN401 - JSON
    lowest = max(1, shape.metadata.get("min", 1))
    if shape.type_name == "boolean":
        return True
    if shape.type_name == "blob":
        return base64.b64encode(b"x" * lowest).decode()
    if shape.type_name == "string":
        return _text(shape)
    assert shape.type_name in _NUMBERS, shape
    return lowest


def violations(shape: Shape) -> Iterator[Broken]:
    """Yield values with one fault each: every constraint of the shape, at every depth, violated once."""
    yield from (("", "type", wrong) for wrong in _of_other_types(shape))
    match shape:
        case StructureShape():
            yield from _broken_structures(shape)
        case ListShape():
            yield from _broken_lists(shape)
        case MapShape():
            for path, why, broken in violations(shape.value):
                key = sample(shape.key)
                yield _joined(key, path), why, {key: broken}
        case _:
            yield from (("", why, broken) for why, broken in _broken_scalars(shape))


def _broken_structures(shape: StructureShape) -> Iterator[Broken]:
    fitting = sample(shape)
    for name in shape.required_members:
        yield name, "required", {key: value for key, value in fitting.items() if key != name}
        yield name, "null", fitting | {name: None}
    for name, inner in shape.members.items():
        for path, why, broken in violations(inner):
            yield _joined(name, path), why, fitting | {name: broken}


def _broken_lists(shape: ListShape) -> Iterator[Broken]:
    fitting = sample(shape)
    if shape.metadata.get("min", 0) > 0:
        yield "", "min", fitting[: shape.metadata["min"] - 1]
    if "max" in shape.metadata:
        yield "", "max", fitting[:1] * (shape.metadata["max"] + 1)
    yield "1.member", "null", [None, *fitting]
    for path, why, broken in violations(shape.member):
        yield _joined("2.member", path), why, [fitting[0], broken, *fitting[2:]]


def _broken_scalars(shape: Shape) -> Iterator[tuple[str, Any]]:
    lowest, highest = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name == "string":
        yield from _broken_texts(shape)
    elif shape.type_name == "blob":
        yield from (("base64", wrong) for wrong in ("=", "YQ", "YQ==\n", "Y_8=", "\u0661==="))
        if highest is not None:
            yield "max", base64.b64encode(b"x" * (highest + 1)).decode()
    elif shape.type_name in {"integer", "long"}:
        if lowest is not None:
            yield "min", lowest - 1
        yield "max", (highest if highest is not None else 1 << 63) + 1
        yield "bits", -(1 << 200)


def _broken_texts(shape: Shape) -> Iterator[tuple[str, str]]:
    fitting, lowest, highest = sample(shape), shape.metadata.get("min"), shape.metadata.get("max")
    if lowest:
        yield "min", fitting[: lowest - 1]
    if highest is not None:
        yield "max", fitting[:1] * (highest + 1)
    if "enum" in shape.metadata:
        yield from (("enum", wrong) for wrong in ("NO_SUCH", fitting.swapcase(), f"{fitting}\n", ""))
    if "pattern" in shape.metadata and fitting:
        for wrong in (f"{fitting[:-1]}{_NOWHERE}", f"{fitting}\n", f"\n{fitting}", "\u0661" * len(fitting)):
            assert not re.fullmatch(shape.metadata["pattern"], wrong, re.ASCII), (shape, wrong)
            yield "pattern", wrong


def _joined(name: str, path: str) -> str:
    return f"{name}.{path}".rstrip(".")


def _of_other_types(shape: Shape) -> list[Any]:
    wrong: dict[str, list[Any]] = {
        "structure": ["text", [], 7],
        "map": ["text", [], 7],
        "list": ["text", {}, 7],
        "boolean": ["true", 1, []],
        "integer": ["7", True, 1.5, []],
        "long": ["7", True, 1.5, []],
        "string": [7, True, [], {}],
        "blob": [7, True, [], {}],
    }
    return wrong.get(shape.type_name, ["7", True, []])


def _text(shape: Shape) -> str:
    lowest, highest = shape.metadata.get("min", 0), shape.metadata.get("max", 1 << 20)
    if "enum" in shape.metadata:
        return str(shape.metadata["enum"][0])
    for text in (*_TEXTS, "x" * max(1, lowest)):
        if lowest <= len(text) <= highest and re.fullmatch(shape.metadata.get("pattern", ".*"), text):
            return text
    raise AssertionError(f"no text here fits {shape.name}: {shape.metadata}")


def faults(shape: Shape | None, value: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield a sentence about each part of an answer, as it is on the wire, that is not as the model says.

    Stricter than clients are: members that the model does not know and null are faults, and times are numbers.
    """
    if shape is None:
        yield from ([f"{path}: {value!r} where nothing is"] if value else [])
    elif not isinstance(value, _WRITTEN.get(shape.type_name, (int, float))) or (
        isinstance(value, bool) and shape.type_name != "boolean"
    ):
        yield f"{path}: {value!r} is no {shape.type_name}"
    else:
        yield from _within(shape, value, path)


def _within(shape: Shape, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    match shape:
        case StructureShape():
            yield from (f"{path}: has no {name}" for name in shape.required_members if name not in value)
            yield from (f"{path}: {name} is not in the model" for name in value if name not in shape.members)
            for name in value.keys() & shape.members.keys():
                yield from faults(shape.members[name], value[name], f"{path}.{name}")
        case ListShape():
            for place, item in enumerate(value):
                yield from faults(shape.member, item, f"{path}[{place}]")
        case MapShape():
            for key, item in value.items():
                yield from faults(shape.key, key, f"{path} (a key)")
                yield from faults(shape.value, item, f"{path}[{key}]")
        case _:
            yield from _scalar_faults(shape, value, path)


def _scalar_faults(shape: Shape, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    if value not in shape.metadata.get("enum", [value]):
        yield f"{path}: {value!r} is none of {shape.metadata['enum']}"
    if "pattern" in shape.metadata and not re.fullmatch(shape.metadata["pattern"], value):
        yield f"{path}: {value!r} does not match {shape.metadata['pattern']}"
    if shape.type_name == "blob":
        base64.b64decode(value, validate=True)
    elif shape.type_name != "boolean":
        size = len(value) if shape.type_name == "string" else value
        if not shape.metadata.get("min", size) <= size <= shape.metadata.get("max", size):
            yield f"{path}: {value!r} is out of bounds {shape.metadata}"
