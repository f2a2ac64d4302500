"""Which images of a repository a lifecycle policy marks, and for what: pure decisions.

The facts are in https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html. Times are in seconds
since the epoch.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.core.registry.lifecycle.policy import ActionType, CountType, LifecyclePolicy, LifecycleRule, StorageClass
from proxy.core.registry.records import ImageRecord
from proxy.model.digest import Digest

_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an image, by the rule of which priority.

    `follows` are the images that it hangs on: it goes when all of them have gone, and not before.
    """

    image: ImageRecord
    priority: int
    action: ActionType
    follows: frozenset[Digest] = frozenset()


def evaluate(
    policy: LifecyclePolicy,
    images: Iterable[ImageRecord],
    parents: Mapping[Digest, Collection[Digest]],
    now: float,
) -> list[Verdict]:
    """Return what becomes of those of all `images` of a repository that a rule marks, in an order to do it in.

    `parents` says which images name one among their children. Each rule is looked at as if it were alone, and marks
    images from the oldest; of the rules that speak of an image's tags, the first alone decides about it.

    No rule sees an image that an index of the repository names, or one without tags whose subject is there: it does
    not count, and stays while they stay. Without tags, it goes when the last of them goes.
    """
    known = {image.digest: image for image in images}
    held = {image.digest: hangs for image in known.values() if (hangs := _held_by(image, known, parents))}
    verdicts = _ruled(policy, [image for image in known.values() if image.digest not in held], now)
    return verdicts + _followers(verdicts, known, held)


def _held_by(
    image: ImageRecord, known: Collection[Digest], parents: Mapping[Digest, Collection[Digest]]
) -> frozenset[Digest]:
    holders = {parent for parent in parents.get(image.digest, ()) if parent in known}
    if image.subject is not None and image.subject in known and not image.tags:
        holders.add(image.subject)
    return frozenset(holders - {image.digest})


def _ruled(policy: LifecyclePolicy, images: Sequence[ImageRecord], now: float) -> list[Verdict]:
    newest_first = sorted(images, key=lambda image: (-image.pushed_at, str(image.digest)))
    decided: set[Digest] = set()
    verdicts: list[Verdict] = []
    for rule in policy.rules:
        # Nothing is archived here: such a rule sees no image, and so keeps none from later ones.
        if rule.storage is StorageClass.ARCHIVE:
            continue
        seen = [image for image in newest_first if rule.selects(image.tags)]
        # What earlier rules decided about counts as being there: a rule can only not mark it.
        marked = [image for image in _marked(rule, seen, now) if image.digest not in decided]
        verdicts += [Verdict(image, rule.priority, rule.action) for image in marked]
        decided.update(image.digest for image in seen)
    return sorted(verdicts, key=lambda verdict: (verdict.image.pushed_at, str(verdict.image.digest)))


def _marked(rule: LifecycleRule, newest_first: Sequence[ImageRecord], now: float) -> Sequence[ImageRecord]:
    oldest = now - rule.number * _DAY
    match rule.count:
        case CountType.IMAGES:
            return newest_first[rule.number :]
        case CountType.PUSHED:
            return [image for image in newest_first if image.pushed_at < oldest]
        case CountType.PULLED:
            return [image for image in newest_first if max(image.pushed_at, image.pulled_at or 0.0) < oldest]
        case CountType.TRANSITIONED:
            return []


def _followers(
    verdicts: Iterable[Verdict], known: Mapping[Digest, ImageRecord], held: Mapping[Digest, frozenset[Digest]]
) -> list[Verdict]:
    """Return the images without tags that go with what they hang on, each after all of that."""
    hanging: dict[Digest, list[Digest]] = {}
    for digest, holders in held.items():
        for holder in holders:
            hanging.setdefault(holder, []).append(digest)
    missing = {digest: len(holders) for digest, holders in held.items()}
    going = deque(verdict for verdict in verdicts if verdict.action is ActionType.EXPIRE)
    found: list[Verdict] = []
    while going:
        gone = going.popleft()
        for digest in sorted(hanging.get(gone.image.digest, ()), key=str):
            missing[digest] -= 1
            if missing[digest] == 0 and not known[digest].tags:
                follower = Verdict(known[digest], gone.priority, ActionType.EXPIRE, held[digest])
                found.append(follower)
                going.append(follower)
    return found
