"""Conditions of IAM policies: whether what is known of a request meets them.

The operators, and what they make of a key that is absent, are those of
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html. Where it cannot
be told here whether one holds, `IndeterminateError` is raised: who asked decides against the request then.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from ipaddress import ip_network
from typing import Final

from proxy.core.access.addresses import parse_address
from proxy.core.access.iam.wildcards import IndeterminateError, Text, exact, fill, like, plain
from proxy.core.registry.policy_documents import Condition

_UNKNOWABLE: Final = ("aws:requesttag/", "aws:tagkeys", "aws:useragent", "aws:referer", "aws:userid")
"""Keys that AWS has of some or of all requests, and that nobody looks at here: they are not absent, but unknown."""

_ARN_PARTS: Final = 6

_EPOCHS: Final = 10**8
"""Seconds since the epoch from which a number is that for sure, and not a year or a day of ISO 8601 (``20300101``)."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a request, by condition keys in lower case; each has one value.

    `unknown` are further keys that the request has, with values that nobody knows here.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()

    def get(self, key: str) -> str | None:
        """Return the value of a key, or None where the request has none. Raises `IndeterminateError`."""
        lower = key.lower()
        if lower in self.unknown or lower.startswith(_UNKNOWABLE):
            raise IndeterminateError
        return self.values.get(lower)

    def fill(self, text: str, *, variables: bool) -> Text:
        """Return a text of a policy, with `variables` what stands for keys replaced. Raises `IndeterminateError`."""
        return fill(text, self.get) if variables else plain(text)


def holds(condition: Condition, context: Context, *, variables: bool) -> bool:
    """Tell whether a condition holds, or raise `IndeterminateError`. With `variables`, its values may have such."""
    prefix, _, name = condition.operator.rpartition(":")
    base = name.removesuffix("IfExists")
    value = context.get(condition.key)
    if base == "Null":
        return _any(condition.values, lambda text: _boolean(text) == (value is None))
    negated = "Not" in base
    if value is None:
        # Without a key: IfExists and ForAllValues hold, ForAnyValue does not, and else what is negated does.
        return base != name or prefix == "ForAllValues" or (negated and prefix != "ForAnyValue")
    fits = _COMPARISONS[base.replace("Not", "", 1)]
    present = value
    return negated != _any(condition.values, lambda text: fits(context.fill(text, variables=variables), present))


def _any(texts: tuple[str, ...], fits: Callable[[str], bool]) -> bool:
    """Tell whether any fits; those of which it cannot be told count only where no other does."""
    indeterminate = False
    for text in texts:
        try:
            if fits(text):
                return True
        except IndeterminateError:
            indeterminate = True
    if indeterminate:
        raise IndeterminateError
    return False


def _arn_fits(pattern: Text, value: str) -> bool:
    # Part by part: a star stands for no colon but in the last one, which may have colons of its own.
    parts: list[list[tuple[str, bool]]] = [[]]
    for piece, written in pattern:
        first, *others = piece.split(":", _ARN_PARTS - len(parts))
        parts[-1].append((first, written))
        parts += [[(other, written)] for other in others]
    if exact(pattern) == "*":
        return True
    if len(parts) != _ARN_PARTS:
        raise IndeterminateError
    values = value.split(":", _ARN_PARTS - 1)
    return len(values) == _ARN_PARTS and all(like(tuple(part), text) for part, text in zip(parts, values, strict=True))


def _address_fits(written: Text, value: str) -> bool:
    try:
        network = ip_network(exact(written).strip(), strict=False)
    except ValueError:
        raise IndeterminateError from None
    address = parse_address(value)
    if address is None:
        raise IndeterminateError
    return address in network


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise IndeterminateError from None
    if not number.is_finite():
        raise IndeterminateError
    return number


def _time(text: str) -> Decimal:
    """Return a time, in ISO 8601 or in seconds since the epoch, as the latter."""
    try:
        number = _number(text)
    except IndeterminateError:
        pass
    else:
        if number < _EPOCHS:
            raise IndeterminateError
        return number
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise IndeterminateError from None
    return Decimal((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())


def _boolean(text: str) -> bool:
    found = {"true": True, "false": False}.get(text.lower())
    if found is None:
        raise IndeterminateError
    return found


def _indeterminate(_written: Text, _value: str) -> bool:
    raise IndeterminateError


_Comparison = Callable[[Text, str], bool]


def _ordered(read: Callable[[str], Decimal], compare: Callable[[Decimal, Decimal], bool]) -> _Comparison:
    return lambda written, value: compare(read(value), read(exact(written)))


_ORDERS: Final = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "LessThanEquals": operator.le,
    "GreaterThan": operator.gt,
    "GreaterThanEquals": operator.ge,
}
_COMPARISONS: Final[Mapping[str, _Comparison]] = {
    "StringEquals": lambda written, value: exact(written) == value,
    "StringEqualsIgnoreCase": lambda written, value: exact(written).casefold() == value.casefold(),
    "StringLike": like,
    "ArnEquals": _arn_fits,
    "ArnLike": _arn_fits,
    "Bool": lambda written, value: _boolean(exact(written)) == _boolean(value),
    "IpAddress": _address_fits,
    "BinaryEquals": _indeterminate,
    **{f"Numeric{end}": _ordered(_number, compare) for end, compare in _ORDERS.items()},
    **{f"Date{end}": _ordered(_time, compare) for end, compare in _ORDERS.items()},
}
