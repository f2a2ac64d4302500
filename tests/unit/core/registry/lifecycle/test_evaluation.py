"""What lifecycle policies do: the examples of ECR's documentation, and what hangs on other images."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from proxy.core.registry.lifecycle.evaluation import Verdict, evaluate
from proxy.core.registry.lifecycle.policy import ActionType, parse_lifecycle
from proxy.core.registry.records import ImageRecord
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag

DAY = 86_400
NOW = 1_700_000_000.0
EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}

ANY: dict[str, Any] = {"tagStatus": "any"}
UNTAGGED: dict[str, Any] = {"tagStatus": "untagged"}


def tagged(*patterns: str) -> dict[str, Any]:
    return {"tagStatus": "tagged", "tagPatternList": list(patterns)}


def prefixed(*prefixes: str) -> dict[str, Any]:
    return {"tagStatus": "tagged", "tagPrefixList": list(prefixes)}


def more_than(number: int) -> dict[str, Any]:
    return {"countType": "imageCountMoreThan", "countNumber": number}


def pushed(days: int) -> dict[str, Any]:
    return {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}


def pulled(days: int) -> dict[str, Any]:
    return {"countType": "sinceImagePulled", "countUnit": "days", "countNumber": days}


def archived(days: int) -> dict[str, Any]:
    return {
        "storageClass": "archive",
        "countType": "sinceImageTransitioned",
        "countUnit": "days",
        "countNumber": days,
    }


def policy(*selections: Mapping[str, Any], actions: Sequence[Mapping[str, str]] = ()) -> str:
    """Return a policy with these rules, of the priorities 1, 2, …"""
    return json.dumps(
        {
            "rules": [
                {
                    "rulePriority": place + 1,
                    "selection": selection,
                    "action": actions[place] if actions else EXPIRE,
                }
                for place, selection in enumerate(selections)
            ]
        }
    )


def image(name: str, days: float, *tags: str, **more: Any) -> ImageRecord:  # noqa: ANN401 - fields by name
    """Return an image that was pushed so many days ago."""
    digest, names = Digest.of(name.encode()), tuple(map(Tag, tags))
    return ImageRecord(digest, OCI_MANIFEST, size=1, content_size=1, pushed_at=NOW - days * DAY, tags=names, **more)


def judged(
    text: str, images: Sequence[ImageRecord], children: Mapping[str, Sequence[str]] | None = None
) -> list[Verdict]:
    """Evaluate; `children` are the images that others name."""
    parents: dict[Digest, set[Digest]] = {}
    for parent, some in (children or {}).items():
        for child in some:
            parents.setdefault(Digest.of(child.encode()), set()).add(Digest.of(parent.encode()))
    return evaluate(parse_lifecycle(text), images, parents, NOW)


def gone(text: str, images: Mapping[str, ImageRecord], children: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return the names of the images that expire, in the order in which they do, each with its rule."""
    names = {one.digest: name for name, one in images.items()}
    verdicts = judged(text, list(images.values()), children)
    assert all(verdict.action is ActionType.EXPIRE for verdict in verdicts)
    return " ".join(f"{names[verdict.image.digest]}{verdict.priority}" for verdict in verdicts)


def repository(*images: ImageRecord) -> dict[str, ImageRecord]:
    """Name images A, B, C, …: their digests are those of these letters."""
    return {chr(ord("A") + place): one for place, one in enumerate(images)}


BETA_AND_PROD = repository(
    image("A", 10, "beta-1", "prod-1"),
    image("B", 9, "beta-2", "prod-2"),
    image("C", 8, "beta-3"),
)
ALPHA_AND_BETA = repository(
    image("A", 12, "alpha-1"),
    image("B", 11, "beta-1"),
    image("C", 10, "alpha-2", "beta-2"),
    image("D", 4, "alpha-3"),
    image("E", 3, "beta-3"),
    image("F", 2, "alpha-4", "beta-4"),
)
THREE_TAGS = repository(
    image("A", 10, "alpha-1", "beta-1", "gamma-1"),
    image("B", 9, "alpha-2", "beta-2"),
    image("C", 8, "alpha-3", "beta-3", "gamma-2"),
)
ALL_KINDS = repository(image("A", 4, "alpha-1"), image("B", 3, "beta-1"), image("C", 2), image("D", 1, "alpha-2"))
COMBINED = repository(
    image("A", 4, "alpha-1", "beta-1"),
    image("B", 3),
    image("C", 2, "alpha-2"),
    image("D", 1, "githash"),
    image("E", 0.9),  # «1 day ago» as D, yet the newest
)


@pytest.mark.parametrize(
    ("images", "rules", "expected"),
    [
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_examples.html, in its order
        pytest.param(
            repository(image("A", 15, "prod1"), image("B", 13, "prod2"), image("C", 15, "dev")),
            [tagged("prod*") | pushed(14)],
            "A1",
            id="image age",
        ),
        pytest.param(
            repository(image("A", 3), image("B", 2), image("C", 1), image("D", 9, "kept")),
            [UNTAGGED | more_than(1)],
            "A1 B1",
            id="image count",
        ),
        pytest.param(
            BETA_AND_PROD, [tagged("prod*") | more_than(1), tagged("beta*") | more_than(1)], "A1", id="two rules"
        ),
        pytest.param(
            BETA_AND_PROD,
            [tagged("beta*") | more_than(1), tagged("prod*") | more_than(1)],
            "A1 B1",
            id="two rules, the other first",
        ),
        pytest.param(ALPHA_AND_BETA, [tagged("alpha*", "beta*") | pushed(5)], "C1", id="two patterns in a rule"),
        pytest.param(ALPHA_AND_BETA, [prefixed("alpha", "beta") | pushed(5)], "C1", id="two prefixes in a rule"),
        pytest.param(THREE_TAGS, [tagged("alpha*", "beta*") | more_than(1)], "A1 B1", id="tags are not exclusive"),
        pytest.param(ALL_KINDS, [ANY | more_than(1)], "A1 B1 C1", id="all images"),
        pytest.param(
            COMBINED,
            [tagged("alpha*") | more_than(1), UNTAGGED | pushed(1), ANY | more_than(1)],
            "A1 B2 D3",
            id="all kinds of rules",
        ),
    ],
)
def test_the_documented_examples(images: dict[str, ImageRecord], rules: list[dict[str, Any]], expected: str) -> None:
    assert gone(policy(*rules), images) == expected


def test_the_last_pull_counts_or_the_push_of_what_was_never_pulled() -> None:
    images = repository(
        image("A", 100, "a", pulled_at=NOW - 2 * DAY),
        image("B", 90, "b", pulled_at=NOW - 40 * DAY),
        image("C", 31, "c"),
        image("D", 30, "d"),
    )

    assert gone(policy(ANY | pulled(30)), images) == "B1 C1"


def test_an_image_that_is_exactly_so_old_is_not_older() -> None:
    images = repository(image("A", 7), image("B", 7 + 1 / DAY))

    assert gone(policy(UNTAGGED | pushed(7)), images) == "B1"


def test_of_images_pushed_at_once_the_same_ones_stay_each_time() -> None:
    images = [image(name, 1, name) for name in ("a", "b", "c", "d")]
    kept = sorted(str(one.digest) for one in images)[:2]

    for some in (images, images[::-1], images[2:] + images[:2]):
        verdicts = judged(policy(tagged("*") | more_than(2)), some)
        assert {str(one.digest) for one in some} - {str(one.image.digest) for one in verdicts} == set(kept)


def test_a_pattern_without_wildcards_is_a_whole_tag() -> None:
    images = repository(image("A", 9, "prod"), image("B", 9, "prod1"), image("C", 9, "preprod"))

    assert gone(policy(tagged("prod") | pushed(1)), images) == "A1"
    assert gone(policy(tagged("*prod") | pushed(1)), {"A": images["A"], "B": images["B"]}) == "A1"


class TestTransitions:
    def test_are_told_and_keep_images_from_later_rules(self) -> None:
        text = policy(tagged("v*") | pushed(30), ANY | pushed(1), actions=[ARCHIVE, EXPIRE])

        verdicts = judged(text, [image("A", 31, "v1"), image("B", 29, "v2"), image("C", 2)])

        assert [(one.priority, one.action) for one in verdicts] == [(1, ActionType.TRANSITION), (2, ActionType.EXPIRE)]

    def test_leave_nothing_that_a_rule_for_archived_images_could_see(self) -> None:
        text = policy(ANY | pulled(90), ANY | archived(365), actions=[ARCHIVE, EXPIRE])

        assert [one.action for one in judged(text, [image("A", 1000, "a")])] == [ActionType.TRANSITION]

    def test_of_archived_images_come_first_and_hide_nothing(self) -> None:
        assert gone(policy(ANY | archived(90), ANY | pushed(1)), repository(image("A", 9, "a"))) == "A2"

    def test_take_no_followers_with_them(self) -> None:
        images = [image("A", 91, "a"), image("B", 91)]

        verdicts = judged(policy(tagged("a") | pushed(90), actions=[ARCHIVE]), images, {"A": ["B"]})

        assert [one.image.digest for one in verdicts] == [Digest.of(b"A")]


class TestIndexes:
    OLD = repository(image("A", 9, "v1"), image("B", 9), image("C", 9))

    def test_keep_their_images(self) -> None:
        assert gone(policy(UNTAGGED | pushed(1)), self.OLD) in {"B1 C1", "C1 B1"}
        assert gone(policy(UNTAGGED | pushed(1)), self.OLD, {"A": ["B", "C"]}) == ""

    def test_take_their_images_with_them(self) -> None:
        assert gone(policy(tagged("v*") | pushed(1)), self.OLD, {"A": ["B", "C"]}) in {"A1 B1 C1", "A1 C1 B1"}

    def test_leave_images_that_another_one_names(self) -> None:
        images = self.OLD | {"D": image("D", 2, "v2")}

        assert gone(policy(tagged("v*") | pushed(5)), images, {"A": ["B", "C"], "D": ["C"]}) == "A1 B1"

    def test_leave_images_with_tags_until_they_have_gone(self) -> None:
        images = repository(image("A", 9, "v1"), image("B", 9, "v1-arm64"))

        assert gone(policy(tagged("v*") | pushed(1)), images, {"A": ["B"]}) == "A1"
        assert gone(policy(tagged("v*") | pushed(1)), {"B": images["B"]}, {"A": ["B"]}) == "B1"

    def test_count_as_one_image(self) -> None:
        images = repository(
            image("A", 3, "v1"), image("B", 3), image("C", 2, "v2"), image("D", 2), image("E", 1, "v3"), image("F", 1)
        )

        assert gone(policy(ANY | more_than(2)), images, {"A": ["B"], "C": ["D"], "E": ["F"]}) == "A1 B1"

    def test_of_indexes_go_from_above(self) -> None:
        images = repository(image("A", 9), image("B", 9), image("C", 9, "v1"))

        assert gone(policy(tagged("v*") | pushed(1)), images, {"C": ["B"], "B": ["A"]}) == "C1 B1 A1"

    def test_that_are_not_here_hold_nothing(self) -> None:
        assert gone(policy(UNTAGGED | pushed(1)), repository(image("A", 9)), {"other": ["A"]}) == "A1"


class TestArtifacts:
    def test_without_tags_stay_with_their_subject_and_go_with_it(self) -> None:
        signature = image("B", 9, subject=Digest.of(b"A"))
        images = repository(image("A", 9, "v1"), signature)

        assert gone(policy(UNTAGGED | pushed(1)), images) == ""
        assert gone(policy(ANY | more_than(1)), images | {"C": image("C", 1, "v2")}) == "A1 B1"

    def test_with_tags_are_images_like_others(self) -> None:
        images = repository(image("A", 9, "v1"), image("B", 9, "sig", subject=Digest.of(b"A")))

        assert gone(policy(tagged("sig") | pushed(1)), images) == "B1"
        assert gone(policy(tagged("v1") | pushed(1)), images) == "A1"

    def test_whose_subject_is_not_here_are_images_like_others(self) -> None:
        assert gone(policy(UNTAGGED | pushed(1)), repository(image("A", 9, subject=Digest.of(b"x")))) == "A1"
