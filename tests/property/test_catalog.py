"""The catalog looks only where something may be seen, and shows the same as if it looked at every name."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.addresses import parse_upstream
from proxy.config.auth import GrantSettings
from proxy.core.access.authorizer import LISTED, Wanted
from proxy.core.access.caller import Caller
from proxy.core.access.iam.documents import PolicyDocuments
from proxy.core.access.policies import PolicyAuthorizer
from proxy.core.listings import ListingService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.registry.policies import REGISTRY_POLICY
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.model.access import Action
from proxy.model.credentials import SecretSource, UserPassword
from proxy.model.principal import Principal
from proxy.model.reference import RepositoryName
from proxy.model.rule import CacheRule
from proxy.telemetry.metrics import Metrics
from tests.support.access import ACCOUNT, ALICE, BOB, NOBODY, Gate, policy, resource, statement
from tests.support.fake_upstream import FakeUpstream

PRIVATE = CacheRule("b", parse_upstream("ghcr.io"), UserPassword("robot", SecretSource(env="X")))
RULES = RuleBook(RuleSet([PRIVATE, CacheRule("c", parse_upstream("quay.io"))]))
METRICS = Metrics()
OIDC = replace(ALICE, principal=Principal("oidc:alice"))

# Names that stand beside each other in the order of bytes, and patterns whose literal beginnings part them anywhere.
NAMES = ["a", "a-b", "a.b", "a/x", "a/x-1", "a/x/y", "a/y", "a0", "aa/x", "b/x", "b/x/y", "c/x", "ca/x", "d"]
patterns = st.sampled_from(
    ["**", "*", "*/**", "*/x", "a", "a/x", "a/**", "a/x/*", "a/*/y", "a*", "a*/x", "b/**", "b/x", "c/*", "z/**"]
)
places = st.sampled_from(
    [
        "*",
        f"arn:aws:ecr:*:{ACCOUNT}:repository/a/*",
        *map(resource, ("*", "a/*", "a/x", "a?x", "b/*", "c/x", "${aws:username}/x", "A/x", "z")),
    ]
)
conditions: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"StringEquals": {"aws:username": "alice"}}, {"StringEquals": {"ecr:ResourceTag/team": "x"}}]
)
operations = st.sampled_from(["ecr:*", "ecr:BatchGetImage", "ecr:PutImage"])
named: st.SearchStrategy[object] = st.sampled_from(["*", {"AWS": ACCOUNT}, "alice", "bob"])
effects = st.sampled_from(["Allow", "Allow", "Deny"])


@st.composite
def statements(draw: st.DrawFn, *, resources: bool) -> dict[str, Any]:
    made = statement(draw(effects), draw(named), draw(operations))
    if draw(st.integers(0, 3)) == 0:
        made["NotPrincipal"] = made.pop("Principal")
    if draw(st.integers(0, 3)) == 0:
        made["NotAction"] = made.pop("Action")
    if resources:
        made["NotResource" if draw(st.integers(0, 3)) == 0 else "Resource"] = draw(st.lists(places, min_size=1))
    return made | ({"Condition": condition} if (condition := draw(conditions)) else {})


grants = st.lists(
    st.builds(
        lambda who, what, where: GrantSettings.model_validate(
            {"principals": who, "actions": what, "repositories": where}
        ),
        st.lists(st.sampled_from(["*", "alice", "anonymous", "oidc:*"]), min_size=1, max_size=2),
        st.lists(st.sampled_from(["pull", "push"]), min_size=1, max_size=2),
        st.lists(patterns, min_size=1, max_size=3),
    ),
    max_size=3,
)
hung = st.dictionaries(
    st.sampled_from(NAMES), st.lists(statements(resources=False), min_size=1, max_size=2), max_size=3
)


async def shown(gate: Gate, caller: Caller, n: int | None) -> list[str]:
    """Return what somebody sees in the catalog, page by page."""
    upstreams = Upstreams(FakeUpstream(), Tasks(), gate.clock, Policy(), METRICS, Offloader())
    listings, authorizer = ListingService(gate.metadata, upstreams), gate.authorizer
    found, last, more = list[str](), "", True
    while more:
        visible, spans = partial(authorizer.visible, caller), await authorizer.spans(caller)
        page = await listings.catalog(n, last, visible, spans)
        assert n is None or len(page.repositories) == n or not page.more
        found += page.repositories
        last, more = (found or [""])[-1], page.more
    return found


async def compare(
    given_: list[GrantSettings], said: dict[str, list[Any]], registry: list[Any], caller: Caller, n: int | None
) -> None:
    gate = Gate(RULES)
    gate.grant(*given_)
    for name in NAMES:
        text = policy(*said[name]) if name in said else None
        await gate.hang(name, text, {"team": "x"} if name.startswith("a") else None)
    if registry:
        await gate.metadata.alter_document(REGISTRY_POLICY, lambda _: policy(*registry))
    # One by one, by an authorizer that has seen nothing yet.
    documents = PolicyDocuments(gate.metadata)
    naive = PolicyAuthorizer(gate.grants, documents, RULES, gate.identity, gate.clock)
    wanted = [(name, Wanted(Action.PULL, LISTED, RepositoryName(name))) for name in sorted(NAMES)]
    assert await shown(gate, caller, n) == [name for name, each in wanted if await naive.permits(caller, each)]


@settings(max_examples=300)
@given(
    grants,
    hung,
    st.lists(statements(resources=True), max_size=3),
    st.sampled_from([ALICE, BOB, NOBODY, OIDC]),
    st.sampled_from([1, 2, 5, None]),
)
def test_the_catalog_is_what_may_be_pulled_of_all_names(
    given_: list[GrantSettings], said: dict[str, list[Any]], registry: list[Any], caller: Caller, n: int | None
) -> None:
    asyncio.run(compare(given_, said, registry, caller, n))
