"""Page sizes that clients choose: S17, named after distribution CVE-2023-2253, memory asked for by a query."""

import pytest

from proxy.model.digest import Digest
from tests.integration.scenarios.bench import Bench
from tests.integration.security.pusher import Pusher, image

SUBJECT = f"sha256:{'5' * 64}"
LISTS = [
    "/v2/_catalog",
    "/v2/team/app/tags/list",
    "/v2/docker-hub/library/alpine/tags/list",
    f"/v2/team/app/referrers/{SUBJECT}",
    f"/v2/docker-hub/library/alpine/referrers/{SUBJECT}",
]
HOSTILE = [
    "-1",
    str(1 << 31),
    str(1 << 63),
    "1e100",
    "abc",
    "",
    "0x10",
    "1.5",
    "%20",
    "%2B5",
    "9" * 5000,
    "1&n=2",
    "%D9%A1",
]


@pytest.fixture(autouse=True)
async def content(app: Pusher) -> None:
    subject = {"mediaType": "application/octet-stream", "digest": SUBJECT, "size": 1}
    await app.image(image(subject=subject), "latest")


def entries(document: dict[str, list[object]]) -> list[object]:
    """Return what a list holds, whichever list it is."""
    [found] = [document[key] for key in ("repositories", "tags", "manifests") if key in document]
    return found


@pytest.mark.parametrize("path", LISTS)
async def test_s17_a_page_size_outside_the_bounds_is_refused(hub: Bench, path: str, subtests: pytest.Subtests) -> None:
    for size in HOSTILE:
        with subtests.test(n=size[:20]):
            answered = await hub.registry.ask(f"{path}?n={size}")
            assert (answered.status, answered.code) == (400, "PAGINATION_NUMBER_INVALID")
            assert len(answered.body) < 1000


@pytest.mark.parametrize("path", LISTS)
async def test_s17_a_page_of_nothing_is_empty(hub: Bench, path: str) -> None:
    answered = await hub.registry.ask(f"{path}?n=0")
    assert answered.status == 200
    assert entries(answered.json) == []
    assert "Link" not in answered.headers


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("last", ["%00", "..", "%FF", "z" * 5000, "a&last=b", "%0d%0aX:%20y", "%22%3E"])
async def test_s17_the_place_to_go_on_at_is_no_way_in(hub: Bench, path: str, last: str) -> None:
    answered = await hub.registry.ask(f"{path}?n=1&last={last}")
    assert answered.status in {200, 400}
    assert "X" not in answered.headers
    assert len(answered.body) < 20_000


# As many as a request line holds: longer ones are refused unread.
BOMBS = [
    "n=1&",
    "last=a&",
    "ns=a&",
    "a&",
    "a=&",
    "&",
    "%26&",
    "artifactType=a&",
    "scope=a:b:pull&",
    "tag=a&",
    "digest=a&",
]


@pytest.mark.parametrize("path", [*LISTS, "/v2/", "/v2/token", "/livez", "/v2/team/app/manifests/latest"])
@pytest.mark.parametrize("part", BOMBS)
async def test_s17_thousands_of_parameters_are_refused_or_ignored(hub: Bench, path: str, part: str) -> None:
    query = part * (8000 // len(part))
    answered = await hub.registry.ask(f"{path}?{query}")
    assert answered.status in {200, 400, 404}
    assert len(answered.body) < 20_000


@pytest.mark.parametrize("part", ["tag=t{}&", "tag=&", "tag=a%00&"])
@pytest.mark.parametrize("reference", ["latest", str(Digest.of(b"{}"))])
async def test_s17_thousands_of_tags_are_not_written(app: Pusher, reference: str, part: str) -> None:
    query = "".join(part.format(number) for number in range(800))
    answered = await app.ask(f"manifests/{reference}?{query}", method="PUT", content=b"{}")
    assert answered.status == 400
