"""The catalog as somebody may see it: full pages, in order, and nothing of what is between them."""

import asyncio
from collections.abc import Sequence

import pytest

from proxy.core.ports import RepositoryRecord
from proxy.model.name_spans import join_spans, span_of_name, span_of_prefix
from proxy.model.reference import RepositoryName
from tests.unit.core.conftest import Bench

NAMES = [f"{letter}/{number:04}" for letter in "abc" for number in range(600)]


@pytest.fixture
async def many(bench: Bench) -> Bench:
    for name in NAMES:
        await bench.metadata.create_repository(RepositoryRecord(RepositoryName(name), 0.0))
    return bench


async def every_third(names: Sequence[RepositoryName]) -> list[RepositoryName]:
    return [name for name in names if int(name[2:]) % 3 == 0]


async def last_only(names: Sequence[RepositoryName]) -> list[RepositoryName]:
    return [name for name in names if name == NAMES[-1]]


@pytest.mark.parametrize("n", [1, 7, 171, 400, 600, 601, None])
async def test_pages_are_full_and_their_last_one_says_so(many: Bench, n: int | None) -> None:
    visible = [name for name in NAMES if int(name[2:]) % 3 == 0]
    last, found = "", []
    while True:
        page = await many.listings.catalog(n, last, every_third)
        found += page.repositories
        if not page.more:
            break
        assert len(page.repositories) == n
        last = page.repositories[-1]
    assert found == visible


async def test_what_may_be_seen_is_found_behind_what_may_not(many: Bench) -> None:
    page = await many.listings.catalog(1, "", last_only)
    assert (page.repositories, page.more) == (NAMES[-1:], False)
    page = await many.listings.catalog(1, NAMES[-1], last_only)
    assert (page.repositories, page.more) == ([], False)


async def test_what_cannot_be_seen_does_not_make_another_page(many: Bench) -> None:
    page = await many.listings.catalog(200, "a/0", every_third)
    assert (len(page.repositories), page.more) == (200, True)
    page = await many.listings.catalog(200, "b/0599", every_third)
    assert (len(page.repositories), page.more) == (200, False)


async def test_a_page_of_nothing_looks_at_nothing(many: Bench) -> None:
    async def never(names: Sequence[RepositoryName]) -> list[RepositoryName]:
        raise AssertionError(names)

    page = await many.listings.catalog(0, "", never)
    assert (page.repositories, page.more) == ([], False)


async def test_names_are_looked_at_in_order_with_none_between_them(many: Bench) -> None:
    looked = list[RepositoryName]()

    async def look(names: Sequence[RepositoryName]) -> list[RepositoryName]:
        looked.extend(names)
        return []

    await many.listings.catalog(None, "a/0300", look)
    assert looked == NAMES[301:]


async def test_few_catalogs_are_made_at_a_time(many: Bench) -> None:
    running, most = 0, 0

    async def slow(names: Sequence[RepositoryName]) -> list[RepositoryName]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return list(names)

    await asyncio.gather(*(many.listings.catalog(10, "", slow) for _ in range(20)))
    assert 1 < most <= 4


async def test_names_outside_of_the_spans_are_not_looked_at(many: Bench) -> None:
    looked = list[RepositoryName]()

    async def look(names: Sequence[RepositoryName]) -> list[RepositoryName]:
        looked.extend(names)
        return list(names)

    spans = join_spans([span_of_prefix("a/000"), span_of_name("b/0007"), span_of_prefix("c/059")])
    expected = [*NAMES[:10], "b/0007", *NAMES[-10:]]
    page = await many.listings.catalog(15, "", look, spans)
    assert (page.repositories, page.more, looked) == (expected[:15], True, expected)
    page = await many.listings.catalog(15, expected[14], look, spans)
    assert (page.repositories, page.more, looked) == (expected[15:], False, expected + expected[15:])
    page = await many.listings.catalog(None, "", look, ())
    assert (page.repositories, page.more, len(looked)) == ([], False, 27)
