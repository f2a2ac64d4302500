"""Lifecycle policies against an evaluator that is slow, and written from the description of ECR's."""

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.registry.lifecycle.evaluation import evaluate
from proxy.core.registry.lifecycle.policy import parse_lifecycle
from proxy.core.registry.records import ImageRecord
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag

DAY = 86_400
NOW = 1_700_000_000.0
DIGESTS = [Digest.of(str(number).encode()) for number in range(8)]

Parents = dict[Digest, set[Digest]]
Rule = dict[str, Any]

# Few values of everything, so that rules and images meet, and times tie.
ages = st.integers(0, 5).map(lambda days: NOW - days * DAY)
tags = st.sets(st.sampled_from(["a", "ab", "b", "b-a", "v1"]), max_size=3).map(
    lambda names: tuple(map(Tag, sorted(names)))
)
prefix_lists = st.lists(st.sampled_from(["a", "b", "v", "ab"]), min_size=1, max_size=2, unique=True)
pattern_lists = st.lists(st.sampled_from(["*", "a", "*a", "b*", "*-*", "v1"]), min_size=1, max_size=2, unique=True)
counts = st.one_of(
    st.fixed_dictionaries({"countType": st.just("imageCountMoreThan"), "countNumber": st.integers(1, 3)}),
    st.fixed_dictionaries(
        {
            "countType": st.sampled_from(["sinceImagePushed", "sinceImagePulled"]),
            "countUnit": st.just("days"),
            "countNumber": st.integers(1, 4),
        }
    ),
)
actions = st.sampled_from(
    [{"type": "expire"}, {"type": "expire"}, {"type": "transition", "targetStorageClass": "archive"}]
)
ARCHIVED: Rule = {
    "selection": {
        "tagStatus": "any",
        "storageClass": "archive",
        "countType": "sinceImageTransitioned",
        "countUnit": "days",
        "countNumber": 90,
    },
    "action": {"type": "expire"},
}


@st.composite
def rules(draw: st.DrawFn) -> list[Rule]:
    """Rules that ECR takes, in any order."""
    selections: list[Rule] = [
        {"tagStatus": "tagged", "tagPrefixList": list(some)}
        for some in draw(st.sets(prefix_lists.map(lambda names: tuple(sorted(names))), max_size=2))
    ]
    selections += [
        {"tagStatus": "tagged", "tagPatternList": some} for some in draw(st.lists(pattern_lists, max_size=2))
    ]
    selections += draw(st.sampled_from([[], [{"tagStatus": "untagged"}]]))
    selections = draw(st.permutations(selections)) + draw(st.sampled_from([[], [{"tagStatus": "any"}]]))
    made: list[Rule] = [
        {"selection": {**selection, **draw(counts)}, "action": draw(actions)} for selection in selections
    ]
    if draw(st.booleans()) or not made:
        made.append(ARCHIVED)
    priorities = sorted(draw(st.sets(st.integers(1, 20), min_size=len(made), max_size=len(made))))
    return draw(
        st.permutations([{"rulePriority": priority, **rule} for priority, rule in zip(priorities, made, strict=True)])
    )


@st.composite
def repositories(draw: st.DrawFn) -> tuple[list[ImageRecord], Parents]:
    """Images, and which of them name which."""
    digests = draw(st.permutations(DIGESTS))[: draw(st.integers(0, len(DIGESTS)))]
    images: list[ImageRecord] = []
    parents: Parents = {}
    for place, digest in enumerate(digests):
        # What names a manifest knows its digest: it came later.
        later = st.sampled_from(digests[place + 1 :] or [Digest.of(b"elsewhere")])
        images.append(
            ImageRecord(
                digest,
                OCI_MANIFEST,
                size=1,
                content_size=1,
                pushed_at=draw(ages),
                tags=draw(tags),
                subject=draw(st.one_of(st.none(), st.none(), st.none(), later)),
                pulled_at=draw(st.one_of(st.none(), ages)),
            )
        )
        if naming := draw(st.one_of(st.just(set()), st.just(set()), st.sets(later, max_size=2))):
            parents[digest] = naming
    return images, parents


class Oracle:
    """Judge one image after the other, each from the beginning."""

    def __init__(self, given_rules: list[Rule], images: list[ImageRecord], parents: Parents) -> None:
        self.rules = sorted(given_rules, key=lambda rule: int(rule["rulePriority"]))
        self.images = {image.digest: image for image in images}
        self.parents = parents

    def judge(self, image: ImageRecord) -> tuple[int | None, str] | None:
        """Return by which rule (None: by whichever its holders go by) and what becomes of an image, or None."""
        if holders := self.holders(image):
            follows = not image.tags and all((self.judge(one) or (0, ""))[1] == "expire" for one in holders)
            return (None, "expire") if follows else None
        for rule in self.rules:
            if self.speaks_of(rule, image):
                return (rule["rulePriority"], rule["action"]["type"]) if self.marks(rule, image) else None
        return None

    def holders(self, image: ImageRecord) -> list[ImageRecord]:
        naming = [one for one in self.images.values() if one.digest in self.parents.get(image.digest, set())]
        subjects = [one for one in self.images.values() if one.digest == image.subject and not image.tags]
        return naming + subjects

    def speaks_of(self, rule: Rule, image: ImageRecord) -> bool:
        selection = rule["selection"]
        if selection.get("storageClass") == "archive" or self.holders(image):
            return False
        if selection["tagStatus"] == "untagged":
            return not image.tags
        wanted = [re.escape(prefix) + ".*" for prefix in selection.get("tagPrefixList", [])]
        wanted += [re.escape(pattern).replace(r"\*", ".*") for pattern in selection.get("tagPatternList", [])]
        return all(any(re.fullmatch(one, tag) for tag in image.tags) for one in wanted)

    def marks(self, rule: Rule, image: ImageRecord) -> bool:
        selection = rule["selection"]
        number = int(selection["countNumber"])
        if selection["countType"] == "imageCountMoreThan":
            seen = [one for one in self.images.values() if self.speaks_of(rule, one)]
            newer = [one for one in seen if one.pushed_at > image.pushed_at]
            beside = [one for one in seen if one.pushed_at == image.pushed_at and str(one.digest) < str(image.digest)]
            return len(newer) + len(beside) >= number
        times = [image.pushed_at]
        if selection["countType"] == "sinceImagePulled" and image.pulled_at is not None:
            times.append(image.pulled_at)
        return (NOW - max(times)) / DAY > number


@given(rules(), repositories())
def test_each_image_is_judged_as_the_description_says(
    given_rules: list[Rule], repository: tuple[list[ImageRecord], Parents]
) -> None:
    images, parents = repository
    oracle = Oracle(given_rules, images, parents)

    verdicts = evaluate(parse_lifecycle(json.dumps({"rules": given_rules})), images, parents, NOW)

    found = {one.image.digest: (None if one.follows else one.priority, one.action.value) for one in verdicts}
    assert found == {image.digest: judged for image in images if (judged := oracle.judge(image)) is not None}
    assert len(verdicts) == len(found)


@given(rules(), repositories())
def test_the_order_is_one_in_which_images_can_go(
    given_rules: list[Rule], repository: tuple[list[ImageRecord], Parents]
) -> None:
    images, parents = repository

    verdicts = evaluate(parse_lifecycle(json.dumps({"rules": given_rules})), images, parents, NOW)

    gone: set[Digest] = set()
    for verdict in verdicts:
        assert verdict.follows <= gone
        assert parents.get(verdict.image.digest, set()) & {image.digest for image in images} <= gone
        gone.add(verdict.image.digest)
    alone = [verdict.image.pushed_at for verdict in verdicts if not verdict.follows]
    assert alone == sorted(alone)


@given(rules(), repositories(), st.randoms(use_true_random=False))
def test_the_order_in_which_images_are_read_does_not_matter(
    given_rules: list[Rule],
    repository: tuple[list[ImageRecord], Parents],
    random: Any,  # noqa: ANN401 - hypothesis's own kind of Random
) -> None:
    images, parents = repository
    policy = parse_lifecycle(json.dumps({"rules": given_rules}))
    shuffled = list(images)
    random.shuffle(shuffled)

    assert set(evaluate(policy, shuffled, parents, NOW)) == set(evaluate(policy, images, parents, NOW))


words = st.sampled_from(
    [
        "tagged",
        "untagged",
        "any",
        "imageCountMoreThan",
        "sinceImagePushed",
        "days",
        "expire",
        "transition",
        "archive",
        "",
    ]
)
names = st.sampled_from(
    [
        "rules",
        "rulePriority",
        "description",
        "selection",
        "action",
        "type",
        "targetStorageClass",
        "tagStatus",
        "tagPrefixList",
        "tagPatternList",
        "countType",
        "countNumber",
        "countUnit",
        "storageClass",
        "other",
    ]
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.floats(), words, st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=6)),
    max_leaves=20,
)


@st.composite
def damaged(draw: st.DrawFn) -> object:
    """Return a policy in which one value is another."""
    document = {"rules": draw(rules())}
    rule = draw(st.sampled_from(document["rules"]))
    where = draw(st.sampled_from([document, rule, rule["selection"], rule["action"]]))
    where[draw(names)] = draw(values)
    return document


@given(st.one_of(values, values.map(lambda value: {"rules": value}), damaged()).map(json.dumps) | st.text(max_size=20))
def test_every_text_is_a_policy_or_is_refused_as_ecr_does(text: str) -> None:
    try:
        priorities = [rule.priority for rule in parse_lifecycle(text).rules]
    except ApiError as error:
        refusal = error
    else:
        assert priorities == sorted(set(priorities))
        return
    assert refusal.code is ApiErrorCode.InvalidParameterException
    assert refusal.message.startswith(
        "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: "
        "'Lifecycle policy validation failure: "
    )
