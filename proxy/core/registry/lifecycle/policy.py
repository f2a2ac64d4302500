"""Lifecycle policies of repositories as text: what ECR takes, and what it refuses.

The facts are in https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from proxy.model.api_errors import ApiError, invalid
from proxy.model.reference import Tag
from proxy.model.tag_policy import fits

RULES_LIMIT: Final = 50
TEXT_LIMIT: Final = 30_720

_NUMBER_LIMIT: Final = (1 << 31) - 1
_STARS_LIMIT: Final = 4
_TAG_LIMIT: Final = 128
_LEAST_DAYS_ARCHIVED: Final = 90
_SHOWN: Final = 60

E = TypeVar("E", bound=StrEnum)
V = TypeVar("V")


class TagStatus(StrEnum):
    """Which images a rule speaks of, by whether they have tags."""

    TAGGED = "tagged"
    UNTAGGED = "untagged"
    ANY = "any"


class CountType(StrEnum):
    """What a rule counts."""

    IMAGES = "imageCountMoreThan"
    PUSHED = "sinceImagePushed"
    PULLED = "sinceImagePulled"
    TRANSITIONED = "sinceImageTransitioned"


class StorageClass(StrEnum):
    """Where ECR keeps an image. Here all images are standard: nothing is ever archived."""

    STANDARD = "standard"
    ARCHIVE = "archive"


class ActionType(StrEnum):
    """What is done with the images that a rule marks."""

    EXPIRE = "expire"
    TRANSITION = "transition"


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """One rule. `number` is of images, or of days; `prefixes` and `patterns` are those that an image's tags must meet.

    A `target` is where an action other than expiry moves images.
    """

    priority: int
    tag_status: TagStatus
    count: CountType
    number: int
    action: ActionType = ActionType.EXPIRE
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    storage: StorageClass = StorageClass.STANDARD
    target: StorageClass | None = None

    def selects(self, tags: Collection[Tag]) -> bool:
        """Tell whether an image with these tags is one that the rule speaks of.

        Each prefix, and each pattern, must be met by one of the tags; one tag may meet several.
        """
        match self.tag_status:
            case TagStatus.ANY:
                return True
            case TagStatus.UNTAGGED:
                return not tags
            case TagStatus.TAGGED:
                return all(any(tag.startswith(prefix) for tag in tags) for prefix in self.prefixes) and all(
                    any(fits(pattern, tag) for tag in tags) for pattern in self.patterns
                )


@dataclass(frozen=True, slots=True)
class LifecyclePolicy:
    """Rules in order of priority: what comes first has the say."""

    rules: tuple[LifecycleRule, ...]


def parse_lifecycle(text: str, *, ecr: bool = False) -> LifecyclePolicy:
    """Return the policy that a text describes; `ApiError` InvalidParameterException, saying what and where, for none.

    With `ecr`, expiry by the last pull is refused as ECR does: it only archives by it.
    """
    if len(text) > TEXT_LIMIT:
        raise _failure(f"the text is longer than {TEXT_LIMIT} characters")
    try:
        # Half a surrogate is a character to JSON, but to no file.
        given = json.loads(text.encode())
    except (ValueError, RecursionError) as error:
        raise _failure("the text is not JSON") from error
    document = _members(given, "the policy", {"rules"}, set())
    if not isinstance(document["rules"], list) or not 1 <= len(document["rules"]) <= RULES_LIMIT:
        raise _failure(f"rules must be a list of 1 to {RULES_LIMIT} rules")
    rules = [_rule(rule, f"rules[{place}]", ecr=ecr) for place, rule in enumerate(document["rules"])]
    _check_together(rules)
    return LifecyclePolicy(tuple(sorted(rules, key=lambda rule: rule.priority)))


def _rule(given: object, where: str, *, ecr: bool) -> LifecycleRule:
    rule = _members(given, where, {"rulePriority", "selection", "action"}, {"description"})
    if not isinstance(rule.get("description", ""), str):
        raise _failure(f"{where}.description must be a string")
    selected = f"{where}.selection"
    selection = _members(
        rule["selection"],
        selected,
        {"tagStatus", "countType", "countNumber"},
        {"tagPrefixList", "tagPatternList", "countUnit", "storageClass"},
    )
    action = _members(rule["action"], f"{where}.action", {"type"}, {"targetStorageClass"})
    tag_status = _choice(TagStatus, selection["tagStatus"], f"{selected}.tagStatus")
    prefixes = _texts(selection, "tagPrefixList", selected)
    patterns = _texts(selection, "tagPatternList", selected)
    _check_tags(selection, tag_status, selected)
    for pattern in patterns:
        if pattern.count("*") > _STARS_LIMIT:
            raise _failure(
                f"{selected}.tagPatternList: {pattern[:_SHOWN]!r} has more than {_STARS_LIMIT} wildcards (*)"
            )
    parsed = LifecycleRule(
        priority=_number(rule["rulePriority"], f"{where}.rulePriority"),
        tag_status=tag_status,
        count=_choice(CountType, selection["countType"], f"{selected}.countType"),
        number=_number(selection["countNumber"], f"{selected}.countNumber"),
        action=_choice(ActionType, action["type"], f"{where}.action.type"),
        prefixes=prefixes,
        patterns=patterns,
        storage=_choice(StorageClass, selection.get("storageClass", "standard"), f"{selected}.storageClass"),
        target=(
            _choice(StorageClass, action["targetStorageClass"], f"{where}.action.targetStorageClass")
            if "targetStorageClass" in action
            else None
        ),
    )
    _check_count(parsed, selection, selected)
    _check_action(parsed, f"{where}.action", ecr=ecr)
    return parsed


def _check_tags(selection: Mapping[str, Any], status: TagStatus, where: str) -> None:
    lists = [name for name in ("tagPrefixList", "tagPatternList") if name in selection]
    if status is TagStatus.TAGGED:
        if not any(selection[name] for name in lists):
            raise _failure(f"Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED ({where})")
        if len(lists) > 1:
            raise _failure(f"tagPrefixList and tagPatternList exclude each other ({where})")
    elif lists:
        raise _failure(f"{lists[0]} can be specified only when tagStatus=TAGGED ({where})")


def _check_count(rule: LifecycleRule, selection: Mapping[str, Any], where: str) -> None:
    if rule.count is CountType.IMAGES:
        if "countUnit" in selection:
            raise _failure(f"{where}.countUnit does not go with {rule.count}")
    elif selection.get("countUnit") != "days":
        raise _failure(f"{where}.countUnit must be days with {rule.count}")
    archived = rule.count is CountType.TRANSITIONED
    if archived is not (rule.storage is StorageClass.ARCHIVE):
        fitting = StorageClass.ARCHIVE if archived else StorageClass.STANDARD
        raise _failure(f"{where}.storageClass must be {fitting} with {rule.count}")
    if archived and rule.number < _LEAST_DAYS_ARCHIVED:
        raise _failure(f"{where}.countNumber must be at least {_LEAST_DAYS_ARCHIVED} with {rule.count}")


def _check_action(rule: LifecycleRule, where: str, *, ecr: bool) -> None:
    if rule.action is ActionType.EXPIRE:
        if rule.target is not None:
            raise _failure(f"{where}.targetStorageClass does not go with {rule.action}")
        if ecr and rule.count is CountType.PULLED:
            raise _failure(f"{where}.type must be {ActionType.TRANSITION} with {rule.count}")
    else:
        if rule.target is not StorageClass.ARCHIVE:
            raise _failure(f"{where}.targetStorageClass must be {StorageClass.ARCHIVE} with {rule.action}")
        if rule.count is CountType.TRANSITIONED:
            raise _failure(f"{where}.type must be {ActionType.EXPIRE} with {rule.count}")


def _check_together(rules: list[LifecycleRule]) -> None:
    """Raise for rules that each are right, but not beside each other; storage classes are apart."""
    if twice := _repeated([rule.priority for rule in rules]):
        raise _failure(f"rulePriority must be unique: {twice[0]} is that of more than one rule")
    for storage in StorageClass:
        here = [rule for rule in rules if rule.storage is storage]
        statuses = [rule.tag_status for rule in here]
        if statuses.count(TagStatus.UNTAGGED) > 1:
            raise _failure("Only one rule can select Untagged images per storage class")
        if statuses.count(TagStatus.ANY) > 1:
            raise _failure("Only one rule can have tagStatus=ANY per storage class")
        last = max(here, key=lambda rule: rule.priority, default=None)
        if TagStatus.ANY in statuses and last is not None and last.tag_status is not TagStatus.ANY:
            raise _failure("Rule for tagStatus=ANY must have the lowest priority per storage class")
        if same := _repeated([tuple(sorted(set(rule.prefixes))) for rule in here if rule.prefixes]):
            raise _failure(f"tagPrefixList must be unique per storage class: {', '.join(same[0])[:_SHOWN]}")


def _members(given: object, where: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _failure(f"{where} must be an object")
    if missing := sorted(required - given.keys()):
        raise _failure(f"{where} has no {missing[0]}")
    if unknown := sorted(given.keys() - required - optional):
        raise _failure(f"{where} has {unknown[0][:_SHOWN]!r}, which is not known")
    return given


def _choice(kind: Callable[[str], E], given: object, where: str) -> E:
    try:
        return kind(given if isinstance(given, str) else "")
    except ValueError as error:
        raise _failure(f"{where} cannot be {json.dumps(given)[:_SHOWN]}") from error


def _number(given: object, where: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= _NUMBER_LIMIT:
        raise _failure(f"{where} must be a whole number, 1 or greater")
    return given


def _texts(selection: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    given = selection.get(name, [])
    if not isinstance(given, list) or not all(isinstance(one, str) and 1 <= len(one) <= _TAG_LIMIT for one in given):
        raise _failure(f"{where}.{name} must be a list of strings of 1 to {_TAG_LIMIT} characters")
    return tuple(given)


def _repeated(values: list[V]) -> list[V]:
    return [value for place, value in enumerate(values) if value in values[:place]]


def _failure(sentence: str) -> ApiError:
    return invalid("LifecyclePolicyText", f"Lifecycle policy validation failure: {sentence}")
