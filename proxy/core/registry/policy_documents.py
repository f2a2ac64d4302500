"""IAM policy documents of repositories and of the registry: from JSON text to statements that can be evaluated.

The grammar is https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html, as far as policies of
resources go.
"""

import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, NoReturn

from proxy.model.api_errors import ApiError, invalid

TEXT_LIMIT = 10_240
"""The most characters that ECR allows a policy."""

_VERSIONS = ("2008-10-17", "2012-10-17")
_PRINCIPALS: Mapping[str, re.Pattern[str]] = {
    # An account, one of its users, roles or sessions, or the unique id of a user or role. No wildcard in a part.
    "AWS": re.compile(r"\*|[0-9]{12}|arn:aws[a-z-]*:(?:iam|sts)::[0-9]{12}:[^*?\s]+|A[A-Z0-9]{15,}"),
    "Service": re.compile(r"[a-z0-9.-]+\.amazonaws\.com(?:\.cn)?|[a-z0-9.-]+\.internal"),
    "Federated": re.compile(r"[^*?\s]+"),
    "CanonicalUser": re.compile(r"[0-9a-f]{64}"),
}
_ACTION = re.compile(r"\*|ecr:[a-z*?]+", re.IGNORECASE)
_RESOURCE = re.compile(r"\*|arn:[a-z*?-]+:ecr:[a-z0-9*?-]*:[0-9*?]*:[^\s]+")
_ORDERINGS = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
_COMPARISONS = (
    *(f"String{end}" for end in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase", "Like", "NotLike")),
    *(f"{start}{end}" for start in ("Numeric", "Date") for end in _ORDERINGS),
    *(f"Arn{end}" for end in ("Equals", "Like", "NotEquals", "NotLike")),
    *("Bool", "BinaryEquals", "IpAddress", "NotIpAddress"),
)
_OPERATORS = frozenset(
    {
        "Null",
        *(
            f"{start}{comparison}{end}"
            for start in ("", "ForAllValues:", "ForAnyValue:")
            for comparison in _COMPARISONS
            for end in ("", "IfExists")
        ),
    }
)


_MEMBERS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)


class PolicyKind(Enum):
    """What a policy is about; the value is how ECR calls it when it refuses one."""

    REPOSITORY = "repository"
    REGISTRY = "registry"


class Effect(StrEnum):
    """What a statement does to the requests that it fits."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison of a statement: `key` with any of `values` by `operator`; all of a statement's must hold."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a policy.

    `principals` are by kind (``AWS``, ``Service``, …); the principal ``"*"`` is ``AWS: *``. `actions` and `resources`
    are patterns with ``*`` and ``?``; no resources means the one that the policy hangs on. What is `inverted` (some of
    ``Principal``, ``Action``, ``Resource``) was written with Not: it means all but those named.
    """

    effect: Effect
    principals: Mapping[str, tuple[str, ...]]
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    sid: str | None = None
    inverted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy, ready to be evaluated."""

    statements: tuple[Statement, ...]
    version: str


def parse_policy(text: str, kind: PolicyKind) -> PolicyDocument:
    """Return what a policy says; `ApiError` InvalidParameterException, with the reason, where it is none."""
    try:
        return _document(text, kind)
    except _UnfitError as unfit:
        raise refusal(kind, str(unfit)) from unfit


def refusal(kind: PolicyKind, reason: str) -> ApiError:
    """Return ECR's refusal of a policy, followed by the reason, which ECR does not tell."""
    error = invalid("PolicyText", f"Invalid {kind.value} policy provided")
    return ApiError(error.code, f"{error.message} ({reason})")


class _UnfitError(Exception):
    """Why a text is no policy."""


def _document(text: str, kind: PolicyKind) -> PolicyDocument:
    if len(text) > TEXT_LIMIT:
        raise _UnfitError(f"it has more than {TEXT_LIMIT} characters")
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _UnfitError("it is not JSON") from error
    members = _structure(document, "the policy", {"Version", "Id", "Statement"})
    version = members.get("Version", "2008-10-17")
    if version not in _VERSIONS:
        raise _UnfitError(f"its Version is none of {', '.join(_VERSIONS)}")
    if not isinstance(members.get("Id", ""), str):
        raise _UnfitError("its Id is not a string")
    given = members.get("Statement")
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list) or not given:
        raise _UnfitError("it has no Statement")
    statements = tuple(_statement(item, f"statement {place}", kind) for place, item in enumerate(given, start=1))
    sids = [statement.sid for statement in statements if statement.sid]
    if len(set(sids)) < len(sids):
        raise _UnfitError("two of its statements have one Sid")
    return PolicyDocument(statements, version)


def _statement(given: object, where: str, kind: PolicyKind) -> Statement:
    members = _structure(given, where, _MEMBERS)
    sid = members.get("Sid")
    if sid is not None and not isinstance(sid, str):
        raise _UnfitError(f"{where}: Sid is not a string")
    if members.get("Effect") not in ("Allow", "Deny"):
        raise _UnfitError(f"{where}: Effect is neither Allow nor Deny")
    inverted = frozenset(name for name in ("Principal", "Action", "Resource") if f"Not{name}" in members)
    principals = _principals(_either(members, "Principal", where), where)
    actions = _matching(
        _either(members, "Action", where), _ACTION, f"{where}: Action", "an action such as ecr:BatchGetImage"
    )
    resources: tuple[str, ...] = ()
    if kind is PolicyKind.REGISTRY:
        given = _either(members, "Resource", where)
        resources = _matching(given, _RESOURCE, f"{where}: Resource", "the ARN of repositories")
    elif {"Resource", "NotResource"} & members.keys():
        raise _UnfitError(f"{where}: Resource has no place in the policy of a repository, which is the resource")
    conditions = _conditions(members["Condition"], where) if "Condition" in members else ()
    return Statement(Effect(members["Effect"]), principals, actions, resources, conditions, sid, inverted)


def _either(members: Mapping[str, Any], name: str, where: str) -> object:
    """Return the member of that name, or its Not form: one of them must be there, and one only."""
    given = [members[spelling] for spelling in (name, f"Not{name}") if spelling in members]
    if len(given) != 1:
        raise _UnfitError(
            f"{where}: it has {'both' if given else 'neither'} {name} {'and' if given else 'nor'} Not{name}"
        )
    return given[0]


def _principals(given: object, where: str) -> Mapping[str, tuple[str, ...]]:
    if given == "*":
        return {"AWS": ("*",)}
    if not isinstance(given, dict) or not given:
        raise _UnfitError(f'{where}: Principal is neither "*" nor an object such as {{"AWS": "arn:…"}}')
    unknown = next((name for name in given if name not in _PRINCIPALS), None)
    if unknown is not None:
        raise _UnfitError(f"{where}: Principal has the kind {unknown!r}, which is none of {', '.join(_PRINCIPALS)}")
    return {
        name: _matching(values, _PRINCIPALS[name], f"{where}: Principal", f"a principal of the kind {name}")
        for name, values in given.items()
    }


def _conditions(given: object, where: str) -> tuple[Condition, ...]:
    operators = _structure(given, f"{where}: Condition", _OPERATORS)
    conditions = []
    for operator, keys in operators.items():
        place = f"{where}: Condition {operator}"
        if not isinstance(keys, dict) or not keys:
            raise _UnfitError(f"{place} is not an object of keys and values")
        conditions += [Condition(operator, key, _scalars(values, f"{place} {key}")) for key, values in keys.items()]
    return tuple(conditions)


def _scalars(given: object, where: str) -> tuple[str, ...]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, str | bool | int | float) for value in values):
        raise _UnfitError(f"{where} is neither a value nor a list of values")
    return tuple(value if isinstance(value, str) else json.dumps(value) for value in values)


def _matching(given: object, pattern: re.Pattern[str], where: str, what: str) -> tuple[str, ...]:
    values = given if isinstance(given, list) else [given]
    if not values:
        raise _UnfitError(f"{where} is empty")
    for value in values:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise _UnfitError(f"{where} {str(value)[:100]!r} is not {what}")
    return tuple(values)


def _structure(given: object, where: str, names: AbstractSet[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _UnfitError(f"{where} is not an object")
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise _UnfitError(f"{where} has {unknown[:100]!r}, which means nothing there")
    return given


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # Readers of JSON differ in which of the two they take: a policy must not mean two things.
        raise _UnfitError("one of its objects has a name twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
