"""Texts that are lifecycle policies, and texts that are not."""

import json
from typing import Any

import pytest

from proxy.core.registry.lifecycle.policy import (
    ActionType,
    CountType,
    LifecycleRule,
    StorageClass,
    TagStatus,
    parse_lifecycle,
)
from proxy.model.api_errors import ApiError, ApiErrorCode

PREFIX = (
    "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: "
)
EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}


def rule(priority: int = 1, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Return a rule that is right; `changes` are of its selection, or its `action`; None takes a member away."""
    selection: dict[str, Any] = {"tagStatus": "tagged", "tagPrefixList": ["v"]}
    selection |= {"countType": "imageCountMoreThan", "countNumber": 10}
    action = changes.pop("action", EXPIRE)
    members = {key: value for key, value in (selection | changes).items() if value is not None}
    return {"rulePriority": priority, "description": "keep few", "selection": members, "action": action}


def untagged(priority: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return rule(priority, tagStatus="untagged", tagPrefixList=None, **changes)


def everything(priority: int, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return rule(priority, tagStatus="any", tagPrefixList=None, **changes)


def days(count: str, number: Any = 14, unit: Any = "days") -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"countType": count, "countNumber": number, "countUnit": unit}


ARCHIVED = days("sinceImageTransitioned", 90) | {"storageClass": "archive"}


def text(*rules: object) -> str:
    return json.dumps({"rules": rules})


def refusal(given: str, *, ecr: bool = False) -> str:
    """Return what is wrong with a text, without the words that all refusals begin with."""
    with pytest.raises(ApiError) as caught:
        parse_lifecycle(given, ecr=ecr)
    assert caught.value.code is ApiErrorCode.InvalidParameterException
    assert caught.value.message.startswith(PREFIX)
    return caught.value.message.removeprefix(PREFIX).removesuffix("'")


def test_rules_come_in_order_of_priority_with_all_that_they_say() -> None:
    given = text(
        everything(30, **days("sinceImagePulled", 90), action=ARCHIVE),
        rule(2, tagPrefixList=None, tagPatternList=["*-rc*", "v*"], **days("sinceImagePushed")),
        untagged(1),
        everything(40, **ARCHIVED),
    )

    assert parse_lifecycle(given).rules == (
        LifecycleRule(1, TagStatus.UNTAGGED, CountType.IMAGES, 10),
        LifecycleRule(2, TagStatus.TAGGED, CountType.PUSHED, 14, patterns=("*-rc*", "v*")),
        LifecycleRule(30, TagStatus.ANY, CountType.PULLED, 90, ActionType.TRANSITION, target=StorageClass.ARCHIVE),
        LifecycleRule(40, TagStatus.ANY, CountType.TRANSITIONED, 90, storage=StorageClass.ARCHIVE),
    )


@pytest.mark.parametrize("given", ["", "{", "[" * 100_000, '"\ud800"', "NaN"])
def test_what_is_not_json_is_refused(given: str) -> None:
    assert refusal(given).startswith(("the text is", "the policy must be an object"))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ("[]", "the policy must be an object"),
        ("{}", "the policy has no rules"),
        ('{"rules": [], "more": 1}', "the policy has 'more', which is not known"),
        ('{"rules": []}', "rules must be a list of 1 to 50 rules"),
        ('{"rules": {}}', "rules must be a list of 1 to 50 rules"),
        (text(*(rule(n, tagPrefixList=[f"v{n}"]) for n in range(1, 52))), "rules must be a list of 1 to 50 rules"),
        (text(rule(), 7), "rules[1] must be an object"),
        (text({"rulePriority": 1, "selection": {}}), "rules[0] has no action"),
        (text(rule() | {"priority": 1}), "rules[0] has 'priority', which is not known"),
        (text(rule() | {"description": 7}), "rules[0].description must be a string"),
        (text(rule() | {"selection": []}), "rules[0].selection must be an object"),
        (text(rule(tags=["a"])), "rules[0].selection has 'tags', which is not known"),
        (text(rule(0)), "rules[0].rulePriority must be a whole number, 1 or greater"),
        (text(rule() | {"rulePriority": "1"}), "rules[0].rulePriority must be a whole number, 1 or greater"),
        (text(rule() | {"rulePriority": True}), "rules[0].rulePriority must be a whole number, 1 or greater"),
        (text(rule(countNumber=0)), "rules[0].selection.countNumber must be a whole number, 1 or greater"),
        (text(rule(countNumber=1.5)), "rules[0].selection.countNumber must be a whole number, 1 or greater"),
        (text(rule(countNumber=1 << 31)), "rules[0].selection.countNumber must be a whole number, 1 or greater"),
        (text(rule(countNumber=None)), "rules[0].selection has no countNumber"),
        (text(rule(tagStatus="TAGGED")), 'rules[0].selection.tagStatus cannot be "TAGGED"'),
        (text(rule(tagStatus=["any"])), 'rules[0].selection.tagStatus cannot be ["any"]'),
        (text(rule(countType="images")), 'rules[0].selection.countType cannot be "images"'),
        (text(rule(storageClass="glacier")), 'rules[0].selection.storageClass cannot be "glacier"'),
        (text(rule(action={"type": "delete"})), 'rules[0].action.type cannot be "delete"'),
        (text(rule(action={})), "rules[0].action has no type"),
    ],
)
def test_what_is_not_of_the_shape_is_refused(given: str, wrong: str) -> None:
    assert refusal(given) == wrong


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (rule(tagPrefixList=None), "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED"),
        (rule(tagPrefixList=[]), "Must specify tagPrefixList or tagPatternList when tagStatus=TAGGED"),
        (rule(tagPatternList=["v*"]), "tagPrefixList and tagPatternList exclude each other"),
        (rule(tagPatternList=[]), "tagPrefixList and tagPatternList exclude each other"),
        (rule(tagStatus="untagged"), "tagPrefixList can be specified only when tagStatus=TAGGED"),
        (everything(1, tagPatternList=["*"]), "tagPatternList can be specified only when tagStatus=TAGGED"),
        (rule(tagPrefixList="v"), "must be a list of strings of 1 to 128 characters"),
        (rule(tagPrefixList=[""]), "must be a list of strings of 1 to 128 characters"),
        (rule(tagPrefixList=["v" * 129]), "must be a list of strings of 1 to 128 characters"),
        (rule(tagPrefixList=None, tagPatternList=["test*1*2*3*4*5*6"]), "has more than 4 wildcards (*)"),
    ],
)
def test_tags_are_named_where_and_only_where_they_count(given: dict[str, Any], wrong: str) -> None:
    assert wrong in refusal(text(given))


@pytest.mark.parametrize("patterns", [["*test*1*2*3", "test*1*2*3*"], ["*"], ["prod"]])
def test_a_pattern_has_up_to_four_wildcards(patterns: list[str]) -> None:
    assert parse_lifecycle(text(rule(tagPrefixList=None, tagPatternList=patterns))).rules[0].patterns == tuple(patterns)


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (rule(countUnit="days"), "rules[0].selection.countUnit does not go with imageCountMoreThan"),
        (rule(**days("sinceImagePushed", unit=None)), "rules[0].selection.countUnit must be days"),
        (rule(**days("sinceImagePulled", unit="hours")), "rules[0].selection.countUnit must be days"),
        (rule(storageClass="archive"), "storageClass must be standard with imageCountMoreThan"),
        (rule(**days("sinceImageTransitioned", 90)), "storageClass must be archive with sinceImageTransitioned"),
        (rule(**{**ARCHIVED, "countNumber": 89}), "countNumber must be at least 90 with sinceImageTransitioned"),
        (rule(**ARCHIVED, action=ARCHIVE), "rules[0].action.type must be expire with sinceImageTransitioned"),
        (rule(action={**EXPIRE, "targetStorageClass": "archive"}), "targetStorageClass does not go with expire"),
        (rule(action={"type": "transition"}), "targetStorageClass must be archive with transition"),
        (
            rule(action={"type": "transition", "targetStorageClass": "standard"}),
            "targetStorageClass must be archive with transition",
        ),
    ],
)
def test_counts_and_actions_must_fit_together(given: dict[str, Any], wrong: str) -> None:
    assert wrong in refusal(text(given))


def test_expiry_by_the_last_pull_is_refused_as_ecr_does_only_where_that_is_asked_for() -> None:
    given = text(everything(1, **days("sinceImagePulled")))

    assert parse_lifecycle(given).rules[0].count is CountType.PULLED
    assert refusal(given, ecr=True) == "rules[0].action.type must be transition with sinceImagePulled"


@pytest.mark.parametrize(
    ("rules", "wrong"),
    [
        ([rule(7), untagged(7)], "rulePriority must be unique: 7 is that of more than one rule"),
        ([untagged(1), untagged(2)], "Only one rule can select Untagged images per storage class"),
        ([everything(1), everything(2)], "Only one rule can have tagStatus=ANY per storage class"),
        ([everything(1), untagged(2)], "Rule for tagStatus=ANY must have the lowest priority per storage class"),
        (
            [rule(1, tagPrefixList=["a", "b"]), rule(2, tagPrefixList=["b", "a"])],
            "tagPrefixList must be unique per storage class: a, b",
        ),
    ],
)
def test_rules_must_fit_together(rules: list[dict[str, Any]], wrong: str) -> None:
    assert refusal(text(*rules)) == wrong


def test_rules_of_different_storage_classes_are_apart() -> None:
    rules = [everything(1), everything(2, **ARCHIVED)]

    assert len(parse_lifecycle(text(*rules)).rules) == 2
    apart = [rule(1), rule(2, **ARCHIVED), untagged(3), untagged(4, **ARCHIVED)]
    assert len(parse_lifecycle(text(*apart)).rules) == 4


def test_a_text_has_a_longest_length() -> None:
    given = text(rule())

    assert parse_lifecycle(given + " " * (30_720 - len(given))) == parse_lifecycle(given)
    assert refusal(given + " " * (30_721 - len(given))) == "the text is longer than 30720 characters"


def test_a_text_may_have_fifty_rules() -> None:
    rules = [rule(n, tagPrefixList=[f"v{n}"]) for n in range(1, 51)]

    assert len(parse_lifecycle(text(*rules)).rules) == 50
