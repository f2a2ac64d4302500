"""What pydantic finds wrong with a value, in the words of the configuration."""

from pydantic_core import ErrorDetails

from proxy.config.faults import Key
from proxy.config.schema import shape_at, suggest

_SECRET_KEYS = frozenset({"credentials", "password", "proxy", "secrets"})
_LONGEST_SHOWN = 60

_MUST_BE = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "byte_size": "a size is a number with a unit, such as 512 MiB or 1 GiB",
    "byte_size_unit": "a size is a number with a unit, such as 512 MiB or 1 GiB",
    "dict_type": "must be a mapping",
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "model_type": "must be a mapping",
    "path_type": "must be a path",
    "string_pattern_mismatch": "must match {pattern}",
    "string_type": "must be text",
    "too_short": "must have {min_length} or more entries",
    "tuple_type": "must be a list",
}


def describe(key: Key, details: ErrorDetails) -> str:
    """Say what is wrong with the value at `key`, and show the value where it cannot be a secret."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggest(key)}".removesuffix("; ")
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    found = shape_at(key)
    if found is not None and found.words:
        # Without what is there: it could be `user:password`.
        return f"must be a mapping, or the word {' or '.join(found.words)}"
    message = details["msg"]
    rule = _MUST_BE.get(kind, f"{message[:1].lower()}{message[1:]}")
    return f"{rule.format(**context) if kind in _MUST_BE else rule}{_shown(key, kind, details['input'])}"


def _shown(key: Key, kind: str, given: object) -> str:
    if _SECRET_KEYS.intersection(key) or isinstance(given, dict | list | tuple):
        return ""
    text = "empty" if given is None else repr(given)
    # YAML reads 000000000000 as a number and 2024-01-01 as a date.
    remedy = "; write it in quotes" if kind == "string_type" and given is not None else ""
    return f", not {text}{remedy}" if len(text) <= _LONGEST_SHOWN else remedy
