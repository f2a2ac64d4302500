"""Repository creation templates."""

import asyncio
import json

import pytest

from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import Encryption, Scenario
from proxy.core.registry.templates import TemplateAdministration, TemplateSettings
from proxy.model.api_errors import ApiError, ApiErrorCode
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagMutability, TagPolicy
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.metadata.store import SqlMetadataStore
from tests.support.clock import FakeClock

PULL, PUSH = Scenario.PULL_THROUGH_CACHE, Scenario.CREATE_ON_PUSH
POLICY = json.dumps({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}})
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5},
                "action": {"type": "expire"},
            }
        ]
    }
)
EXCLUDING = TagMutability.IMMUTABLE_WITH_EXCLUSION
FULL = TemplateSettings(
    applied_for=(PULL, PUSH, PULL),
    description="of the team",
    encryption=Encryption("KMS", "key"),
    resource_tags=(("team", "core"),),
    mutability=EXCLUDING,
    filters=("dev-*", "a*"),
    repository_policy=POLICY,
    lifecycle_policy=LIFECYCLE,
    custom_role_arn="arn:aws:iam::123456789012:role/x",
)


def administration(store: RegistryStore, clock: FakeClock) -> TemplateAdministration:
    return TemplateAdministration(store, RegistryIdentity(), clock)


@pytest.fixture
def templates(clock: FakeClock) -> TemplateAdministration:
    return administration(MemoryMetadataStore(), clock)


async def test_a_template_is_described_as_it_was_made(templates: TemplateAdministration, clock: FakeClock) -> None:
    made = await templates.create("quay/", FULL)

    assert made.prefix == "quay/"
    assert made.applied_for == (PULL, PUSH)
    assert (made.description, made.encryption) == ("of the team", Encryption("KMS", "key"))
    assert made.resource_tags == {"team": "core"}
    assert made.tag_policy == TagPolicy(EXCLUDING, ("dev-*", "a*"))
    assert (made.repository_policy, made.lifecycle_policy) == (POLICY, LIFECYCLE)
    assert made.custom_role_arn == "arn:aws:iam::123456789012:role/x"
    assert made.created_at == made.updated_at == clock.now()
    assert await templates.describe(["quay"]) == [made]


async def test_what_is_not_said_is_ecrs_default(templates: TemplateAdministration) -> None:
    made = await templates.create("ROOT", TemplateSettings(applied_for=[PULL], description="", repository_policy=""))

    assert (made.tag_policy, made.encryption, made.resource_tags) == (ALL_TAGS_MOVE, Encryption("AES256"), {})
    assert (made.description, made.repository_policy, made.lifecycle_policy) == (None, None, None)


@pytest.mark.parametrize(("first", "second"), [("a/b", "a/b/"), ("a/b/", "a/b"), ("ROOT", "ROOT")])
async def test_a_prefix_has_one_template_however_it_is_spelled(
    templates: TemplateAdministration, first: str, second: str
) -> None:
    made = await templates.create(first, FULL)

    with pytest.raises(ApiError) as refused:
        await templates.create(second, TemplateSettings(applied_for=[PUSH]))
    assert refused.value.code is ApiErrorCode.TemplateAlreadyExistsException

    assert await templates.describe([second, first]) == [made]
    assert (await templates.update(second, TemplateSettings())).prefix == first
    assert (await templates.delete(second)).prefix == first
    assert await templates.describe() == []


async def test_templates_are_described_in_order(templates: TemplateAdministration) -> None:
    for prefix in ("b", "ROOT", "a/"):
        await templates.create(prefix, FULL)

    assert [record.prefix for record in await templates.describe()] == ["ROOT", "a/", "b"]
    assert [record.prefix for record in await templates.describe(["b", "a"])] == ["b", "a/"]


async def test_a_template_that_is_not_there_is_told_so(templates: TemplateAdministration) -> None:
    await templates.create("a", FULL)

    assert [record.prefix for record in await templates.describe(["a/b", "a"])] == ["a"]
    for attempt in (templates.update("a/b", FULL), templates.delete("a/b")):
        with pytest.raises(ApiError, match="prefix 'a/b'") as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.TemplateNotFoundException


@pytest.mark.parametrize(
    "changed",
    [
        {"applied_for": (PUSH,)},
        {"description": "other"},
        {"encryption": Encryption("AES256")},
        {"repository_policy": POLICY.replace("ecr:*", "ecr:BatchGetImage")},
        {"custom_role_arn": "other"},
    ],
)
async def test_an_update_changes_only_what_is_sent(
    templates: TemplateAdministration, clock: FakeClock, changed: dict[str, object]
) -> None:
    before = await templates.create("a", FULL)
    clock.advance(5)

    after = await templates.update("a", TemplateSettings(**changed))  # type: ignore[arg-type] # one field by name

    differing = {name for name in before.__slots__ if getattr(before, name) != getattr(after, name)}
    assert differing == {*changed, "updated_at"}
    assert {name: getattr(after, name) for name in changed} == changed
    assert (after.created_at, after.updated_at) == (before.created_at, clock.now())
    assert await templates.describe(["a"]) == [after]


async def test_what_is_sent_empty_is_taken_away(templates: TemplateAdministration) -> None:
    await templates.create("a", FULL)
    empty = TemplateSettings(
        description="", repository_policy="", lifecycle_policy="", custom_role_arn="", resource_tags=()
    )

    after = await templates.update("a", empty)

    texts = (after.description, after.repository_policy, after.lifecycle_policy, after.custom_role_arn)
    assert texts == (None, None, None, None)
    assert after.resource_tags == {}
    assert after.applied_for == (PULL, PUSH)


async def test_a_plain_mode_drops_the_filters_and_the_other_with_exclusion_keeps_them(
    templates: TemplateAdministration,
) -> None:
    await templates.create("a", FULL)
    other = TagMutability.MUTABLE_WITH_EXCLUSION

    changed = await templates.update("a", TemplateSettings(mutability=other))
    assert changed.tag_policy == TagPolicy(other, ("dev-*", "a*"))
    changed = await templates.update("a", TemplateSettings(filters=("a*", "dev-*")))
    assert changed.tag_policy == TagPolicy(other, ("a*", "dev-*"))
    changed = await templates.update("a", TemplateSettings(mutability=TagMutability.IMMUTABLE))
    assert changed.tag_policy == TagPolicy(TagMutability.IMMUTABLE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"applied_for": ()},
        {"mutability": TagMutability.MUTABLE, "filters": ("a*",)},
        {"mutability": EXCLUDING, "filters": ()},
        {"mutability": EXCLUDING, "filters": ("***",)},
        {"repository_policy": "{}"},
        {"lifecycle_policy": "none"},
        {"resource_tags": (("aws:a", "b"),)},
        {"resource_tags": tuple((str(number), "") for number in range(51))},
    ],
)
async def test_what_no_template_may_have_is_refused_and_changes_nothing(
    templates: TemplateAdministration, wrong: dict[str, object]
) -> None:
    made = await templates.create("a", FULL)
    settings = {"applied_for": (PULL,), **wrong}

    for attempt in (
        templates.create("b", TemplateSettings(**settings)),  # type: ignore[arg-type] # fields by name
        templates.update("a", TemplateSettings(**wrong)),  # type: ignore[arg-type] # fields by name
    ):
        with pytest.raises(ApiError) as refused:
            await attempt
        assert refused.value.code is ApiErrorCode.InvalidParameterException
    assert await templates.describe() == [made]


async def test_a_template_must_be_for_something(templates: TemplateAdministration) -> None:
    with pytest.raises(ApiError, match="appliedFor"):
        await templates.create("a", TemplateSettings())


async def test_filters_need_a_mode_with_exclusion_also_of_a_template_that_has_another(
    templates: TemplateAdministration,
) -> None:
    made = await templates.create("a", TemplateSettings(applied_for=[PULL]))

    with pytest.raises(ApiError, match="set as MUTABLE'"):
        await templates.update("a", TemplateSettings(filters=("a*",)))
    assert await templates.describe() == [made]


async def test_parallel_updates_lose_nothing(sql: SqlMetadataStore, clock: FakeClock) -> None:
    templates = administration(sql, clock)
    await templates.create("a", TemplateSettings(applied_for=[PULL]))
    changes = [
        TemplateSettings(description="of the team"),
        TemplateSettings(resource_tags=(("team", "core"),)),
        TemplateSettings(mutability=TagMutability.IMMUTABLE),
        TemplateSettings(lifecycle_policy=LIFECYCLE),
        TemplateSettings(applied_for=(PUSH,)),
    ]

    await asyncio.gather(*(templates.update("a", change) for change in changes * 3))

    (found,) = await templates.describe()
    assert (found.description, found.lifecycle_policy) == ("of the team", LIFECYCLE)
    assert found.tag_policy == TagPolicy(TagMutability.IMMUTABLE)
    assert (found.resource_tags, found.applied_for) == ({"team": "core"}, (PUSH,))


@pytest.mark.parametrize("ecr", [False, True])
async def test_a_lifecycle_policy_is_held_to_what_repositories_are_held_to(clock: FakeClock, *, ecr: bool) -> None:
    unused = LIFECYCLE.replace('"imageCountMoreThan"', '"sinceImagePulled", "countUnit": "days"')
    templates = TemplateAdministration(MemoryMetadataStore(), RegistryIdentity(ecr=ecr), clock)
    asked = templates.create("quay", TemplateSettings(applied_for=[PULL], lifecycle_policy=unused))

    if ecr:
        with pytest.raises(ApiError, match=r"action\.type must be transition with sinceImagePulled"):
            await asked
    else:
        assert (await asked).lifecycle_policy == unused
