"""Values against shapes, where the generated violations do not reach."""

import math
from typing import Any

import pytest
from botocore.model import ServiceModel, Shape

from proxy.http.aws.validation import UnfitError, check

SHAPES = {
    "Fraction": {"type": "double", "min": 0},
    "Time": {"type": "timestamp"},
    "Whole": {"type": "integer", "min": 1, "max": 5},
    "Long": {"type": "long"},
    "Word": {"type": "string", "pattern": r"\w+", "max": 4},
    "Anchored": {"type": "string", "pattern": "^a|b$"},
    "Flag": {"type": "boolean"},
    "Data": {"type": "blob"},
    "Words": {"type": "list", "member": {"shape": "Word"}},
    "Counts": {"type": "map", "key": {"shape": "Word"}, "value": {"shape": "Whole"}, "max": 2},
    "Free": {"type": "string"},
    "Named": {"type": "map", "key": {"shape": "Free"}, "value": {"shape": "Flag"}},
    "Outer": {
        "type": "structure",
        "required": ["inner"],
        "members": {"inner": {"shape": "Inner"}, "words": {"shape": "Words"}, "counts": {"shape": "Counts"}},
    },
    "Inner": {"type": "structure", "required": ["flag"], "members": {"flag": {"shape": "Flag"}}},
}

MODEL = ServiceModel({"metadata": {}, "operations": {}, "shapes": SHAPES}, "example")


def shape(name: str) -> Shape:
    return MODEL.shape_for(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Fraction", 0),
        ("Fraction", 1.5),
        ("Time", 1_700_000_000),
        ("Time", -0.25),
        ("Whole", 5),
        ("Long", (1 << 63) - 1),
        ("Long", -(1 << 63)),
        ("Word", "a_1"),
        ("Flag", False),
        ("Data", ""),
        ("Counts", {}),
        ("Outer", {"inner": {"flag": True}, "words": [], "counts": {"a": 1}}),
        ("Outer", {"inner": {"flag": True, "later": [1]}, "words": None, "unknown": {}}),
    ],
)
def test_what_fits(name: str, value: object) -> None:
    check(shape(name), value)


@pytest.mark.parametrize(
    ("name", "value", "member", "constraint"),
    [
        ("Fraction", math.inf, "", "Member must be a number"),
        ("Fraction", math.nan, "", "Member must be a number"),
        ("Fraction", 10**400, "", "Member must be a number"),
        ("Fraction", True, "", "Member must be a number"),
        ("Fraction", -0.5, "", "Member must have value greater than or equal to 0"),
        ("Time", "2024-01-01T00:00:00Z", "", "Member must be a number"),
        ("Whole", 6, "", "Member must have value less than or equal to 5"),
        ("Whole", 1.0, "", "Member must be a whole number from -2147483648 to 2147483647"),
        ("Whole", 1 << 31, "", "Member must be a whole number from -2147483648 to 2147483647"),
        ("Long", 1 << 63, "", "Member must be a whole number from -9223372036854775808 to 9223372036854775807"),
        ("Word", "long-", "", "Member must have length less than or equal to 4"),
        ("Word", "é", "", r"Member must satisfy regular expression pattern: \w+"),
        ("Word", "a\n", "", r"Member must satisfy regular expression pattern: \w+"),
        ("Anchored", "axxb", "", "Member must satisfy regular expression pattern: ^a|b$"),
        ("Flag", 0, "the body", "Member must be true or false"),
        ("Data", 1, "the body", "Member must be text in base64"),
        ("Words", ["a", "b", "-"], "3.member", r"Member must satisfy regular expression pattern: \w+"),
        ("Words", [None], "1.member", "Member must be a string"),
        ("Counts", {"a": 9}, "a", "Member must have value less than or equal to 5"),
        ("Counts", {"-": 1}, "(a key)", r"Member must satisfy regular expression pattern: \w+"),
        ("Counts", {"a": None}, "a", "Member must be a whole number from -2147483648 to 2147483647"),
        ("Counts", {"a": 1, "b": 1, "c": 1}, "", "Member must have number of entries less than or equal to 2"),
        ("Outer", {}, "inner", "Member must not be null"),
        ("Outer", {"inner": {"flag": None}}, "inner.flag", "Member must not be null"),
        ("Outer", {"inner": {"flag": 1}}, "inner.flag", "Member must be true or false"),
        ("Outer", {"inner": {"flag": True}, "words": ["a", 1]}, "words.2.member", "Member must be a string"),
        ("Outer", [], "the body", "Member must be a structure"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(name: str, value: Any, member: str, constraint: str) -> None:  # noqa: ANN401 - JSON
    with pytest.raises(UnfitError) as caught:
        check(shape(name), value)
    assert (caught.value.member, caught.value.constraint) == (member, constraint)


def test_a_place_is_no_longer_than_a_message_bears() -> None:
    with pytest.raises(UnfitError) as caught:
        check(shape("Named"), {"a": True, "k" * 5000: 1})
    assert set(caught.value.member) == {"k"}
    assert len(caught.value.member) < 200
