"""Which tags a policy keeps from moving, and which policies there are."""

import pytest

from proxy.model.reference import Tag
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagMutability, TagPolicy, fits

MUTABLE = TagMutability.MUTABLE
IMMUTABLE = TagMutability.IMMUTABLE
ALL_BUT = TagMutability.IMMUTABLE_WITH_EXCLUSION
NONE_BUT = TagMutability.MUTABLE_WITH_EXCLUSION


def test_without_a_choice_every_tag_moves() -> None:
    assert ALL_TAGS_MOVE == TagPolicy() == TagPolicy(MUTABLE, ())
    assert ALL_TAGS_MOVE.may_move(Tag("latest"))


@pytest.mark.parametrize(
    ("mode", "filters", "moving", "staying"),
    [
        (MUTABLE, (), ["latest", "v1"], []),
        (IMMUTABLE, (), [], ["latest", "v1"]),  # no tag is special
        (ALL_BUT, ("latest", "dev-*"), ["latest", "dev-", "dev-1"], ["Latest", "latest1", "adev-1", "dev", "v1"]),
        (NONE_BUT, ("v*", "*.0"), ["latest", "1.1", "V1"], ["v", "v1", "1.0", ".0"]),
    ],
)
def test_each_mode_keeps_its_tags(
    mode: TagMutability, filters: tuple[str, ...], moving: list[str], staying: list[str]
) -> None:
    policy = TagPolicy(mode, filters)
    assert [tag for tag in moving + staying if policy.may_move(Tag(tag))] == moving


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("latest", ["latest"], ["latest1", "alatest", "LATEST", "lates"]),
        ("v1.0", ["v1.0"], ["v1x0", "v1.00"]),  # a point is a point
        ("*", ["a", "v1.0-rc_1"], []),
        ("**", ["a", "v1.0-rc_1"], []),
        ("v*", ["v", "v1", "vv"], ["av", "V1"]),
        ("*-dev", ["-dev", "1-dev", "-dev-dev"], ["-dev1", "dev"]),
        ("v*.beta", ["v.beta", "v1.2.beta"], ["v.betas", "vbeta", "v1.2.Beta"]),
        ("a*a", ["aa", "aba", "aaa"], ["a", "ab", "ba"]),  # the two ends never share a letter
        ("ab*b*b", ["abbb", "abxbxb"], ["ab", "abb", "abbx"]),
        ("*1*", ["1", "v1.0", "11"], ["v2.0"]),
        ("a**b", ["ab", "axb"], ["a", "b", "abc"]),
        ("-*_", ["-_", "-1_"], ["-", "_"]),
    ],
)
def test_a_filter_is_the_whole_tag_and_its_stars_are_any_characters(
    pattern: str, fitting: list[str], others: list[str]
) -> None:
    assert [tag for tag in fitting + others if fits(pattern, tag)] == fitting


@pytest.mark.parametrize("mode", [ALL_BUT, NONE_BUT])
@pytest.mark.parametrize("filters", [("a",), ("a", "b", "c", "d", "e"), ("*a*",), ("a" * 128,), ("**",), ("._-*9Z",)])
def test_a_mode_with_exclusion_has_filters(mode: TagMutability, filters: tuple[str, ...]) -> None:
    assert TagPolicy(mode, filters).filters == filters


@pytest.mark.parametrize("mode", [ALL_BUT, NONE_BUT])
@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ((), "needs 1 to 5 filters, not 0"),
        (("a", "b", "c", "d", "e", "f"), "needs 1 to 5 filters, not 6"),
        (("",), "'' is no filter: it has 1 to 128 letters"),
        (("a" * 129,), "is no filter: it has 1 to 128 letters"),
        (("a?",), "'a\\?' is no filter"),
        (("[ab]",), "is no filter"),
        (("a/b",), "is no filter"),
        (("a\n",), "is no filter"),
        (("ä",), "is no filter"),
        (("*a*b*",), "has more than 2 \\*"),
        (("good", "***"), "'\\*\\*\\*' is no filter: it has more than 2 \\*"),
    ],
)
def test_a_filter_that_is_none_is_refused_in_a_sentence(
    mode: TagMutability, filters: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        TagPolicy(mode, filters)


@pytest.mark.parametrize("mode", [MUTABLE, IMMUTABLE])
def test_a_plain_mode_takes_no_filters(mode: TagMutability) -> None:
    with pytest.raises(ValueError, match=f"^{mode} takes no filters: write {mode}_WITH_EXCLUSION, or leave them out$"):
        TagPolicy(mode, ("latest",))
