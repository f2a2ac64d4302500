"""Pages of tags (end-8), and how lists follow what is pushed and deleted."""

import re
from urllib.parse import urljoin

import pytest

from tests.conformance.conftest import REPOSITORY
from tests.conformance.data_sets import artifacts_with_subject, image
from tests.conformance.pushing import push, put_manifest
from tests.conformance.reading import referrers, tags
from tests.conformance.registry import Registry, digest_of

# In the order of bytes, which is not that of a dictionary.
NAMES = ["0.9", "A", "Z.1", "_x", "a", "a-b", "a.b", "a_b", "aa", "latest"]


@pytest.fixture
async def tagged(registry: Registry) -> bytes:
    """An image under all of `NAMES`, and under no other tag."""
    data = image()
    manifest = data.manifests[data.tags.pop("image")]
    await push(registry, REPOSITORY, data)
    for name in reversed(NAMES):
        (await put_manifest(registry, REPOSITORY, name, manifest)).expect(201)
    return manifest


@pytest.mark.usefixtures("tagged")
async def test_tags_are_in_the_order_of_bytes(registry: Registry) -> None:
    assert await tags(registry, REPOSITORY) == NAMES


@pytest.mark.usefixtures("tagged")
async def test_last_leaves_out_what_is_up_to_it(registry: Registry) -> None:
    for last in (*NAMES, "", "a.", "zzz", "b"):
        assert await tags(registry, REPOSITORY, last=last) == [name for name in NAMES if name > last]


@pytest.mark.usefixtures("tagged")
async def test_n_limits_a_page(registry: Registry) -> None:
    half = len(NAMES) // 2
    first = await tags(registry, REPOSITORY, n=str(half))
    assert first == NAMES[:half]
    assert await tags(registry, REPOSITORY, n=str(half), last=first[-1]) == NAMES[half:]
    assert await tags(registry, REPOSITORY, n="0") == []


@pytest.mark.usefixtures("tagged")
async def test_links_lead_through_all_tags(registry: Registry) -> None:
    for n in (1, 3, 5, 10, 11):
        found: list[str] = []
        target: str | None = f"/v2/{REPOSITORY}/tags/list?n={n}"
        while target is not None:
            answer = (await registry.get(target)).expect(200)
            page = answer.json["tags"]
            assert len(page) <= n
            found += page
            link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
            target = urljoin(answer.url, link[1]) if link is not None else None
        assert found == NAMES


async def test_a_deleted_manifest_takes_its_tags_with_it(registry: Registry, tagged: bytes) -> None:
    (await registry.delete(f"/v2/{REPOSITORY}/manifests/{digest_of(tagged)}")).expect(202)
    assert await tags(registry, REPOSITORY) == []
    for name in NAMES:
        (await registry.get(f"/v2/{REPOSITORY}/manifests/{name}")).expect_error(404, "MANIFEST_UNKNOWN")
    assert (await registry.head(f"/v2/{REPOSITORY}/manifests/{NAMES[0]}")).status == 404


async def test_a_deleted_tag_leaves_the_manifest_and_the_other_tags(registry: Registry, tagged: bytes) -> None:
    (await registry.delete(f"/v2/{REPOSITORY}/manifests/A")).expect(202)
    assert await tags(registry, REPOSITORY) == [name for name in NAMES if name != "A"]
    (await registry.get(f"/v2/{REPOSITORY}/manifests/{digest_of(tagged)}")).expect(200)
    (await registry.get(f"/v2/{REPOSITORY}/manifests/a")).expect(200)


async def test_what_was_deleted_can_be_pushed_again(registry: Registry, tagged: bytes) -> None:
    (await registry.delete(f"/v2/{REPOSITORY}/manifests/{digest_of(tagged)}")).expect(202)
    (await put_manifest(registry, REPOSITORY, "again", tagged)).expect(201)
    assert await tags(registry, REPOSITORY) == ["again"]


async def test_referrers_outlive_their_subject(registry: Registry) -> None:
    data = artifacts_with_subject()
    await push(registry, REPOSITORY, data)
    ((subject, expected),) = data.referrers.items()
    (await registry.delete(f"/v2/{REPOSITORY}/manifests/{subject}")).expect(202)
    assert {each["digest"] for each in await referrers(registry, REPOSITORY, subject)} == expected.keys()


async def test_referrers_are_those_of_their_repository(registry: Registry) -> None:
    data = artifacts_with_subject()
    await push(registry, REPOSITORY, data)
    for subject in data.referrers:
        assert await referrers(registry, "conformance/two", subject) == []
