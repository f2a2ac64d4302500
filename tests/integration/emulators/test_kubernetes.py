from collections.abc import AsyncIterator

import pytest

from tests.emulators import Content, Kubernetes, run
from tests.integration.emulators.plain_client import PlainClient
from tests.support.clock import FakeClock

NAME = "ingress-nginx/controller"


@pytest.fixture
async def k8s(samples: Content, clock: FakeClock) -> AsyncIterator[Kubernetes]:
    async with run(Kubernetes(samples, clock)) as running:
        yield running


@pytest.fixture
async def plain(k8s: Kubernetes) -> AsyncIterator[PlainClient]:
    async with PlainClient(k8s) as client:
        yield client


async def test_nothing_but_get_and_head(plain: PlainClient) -> None:
    assert (await plain.ask("/v2/")).status == 200
    assert (await plain.ask("/v2/", method="POST")).status == 405
    assert (await plain.ask("/v2/_catalog")).status == 404


async def test_manifests_are_redirected_to_changing_regions(plain: PlainClient, k8s: Kubernetes) -> None:
    hosts = set()
    for _ in range(2):
        moved = await plain.ask(f"/v2/{NAME}/manifests/latest")
        assert moved.status == 307
        assert moved.location.endswith(f".pkg.dev/v2/k8s-artifacts-prod/images/{NAME}/manifests/latest")
        hosts.add(moved.location.split("/")[2])
        assert (await plain.ask(moved.location)).body == k8s.content.public.index.raw
        assert (await plain.ask(moved.location, token="any")).status == 401
    assert hosts == set(k8s.regions)


async def test_the_regions_ping_asks_for_a_token_that_nobody_needs(plain: PlainClient) -> None:
    challenge = (await plain.ask("https://us-west1-docker.pkg.dev/v2/")).challenge
    assert (challenge.realm, challenge.service) == ("https://us-west1-docker.pkg.dev/v2/token", "")


async def test_the_query_is_dropped_on_the_way(plain: PlainClient, k8s: Kubernetes) -> None:
    k8s.page = k8s.first_page = 3
    moved = await plain.ask(f"/v2/{NAME}/tags/list?n=1&last=latest")
    assert "?" not in moved.location
    listed = await plain.ask(moved.location)
    assert set(listed.json) == {"child", "manifest", "name", "tags"}
    assert listed.json["tags"] == sorted(k8s.content.public.tags)[:3]
    assert listed.headers["Link"].startswith(f"</v2/k8s-artifacts-prod/images/{NAME}/tags/list?n=3&last=")


async def test_signatures_are_at_a_registry_of_their_own(plain: PlainClient, k8s: Kubernetes) -> None:
    tag = f"sha256-{k8s.content.public.image.digest.encoded}.sig"
    moved = await plain.ask(f"/v2/{NAME}/manifests/{tag}")
    assert moved.location.startswith("https://europe-docker.pkg.dev/")
    assert (await plain.ask(moved.location)).body == k8s.content.public.signature.raw


async def test_blobs_are_in_a_public_bucket_or_behind_the_region(plain: PlainClient, k8s: Kubernetes) -> None:
    layer = k8s.content.public.layer
    moved = await plain.ask(f"/v2/{NAME}/blobs/{layer.digest}")
    assert moved.location == f"https://{k8s.cdn_hosts[0]}/containers/images/{layer.digest}"
    assert (await plain.ask(moved.location, token="any")).status == 400
    other = next(iter(k8s.outside_s3))
    moved = await plain.ask(f"/v2/{NAME}/blobs/{other}")
    again = await plain.ask(moved.location)
    assert (again.status, again.location.split("/")[2]) == (302, "storage.googleapis.com")
    assert (await plain.ask(again.location)).status == 200


async def test_referrers_are_at_the_region(plain: PlainClient, k8s: Kubernetes) -> None:
    moved = await plain.ask(f"/v2/{NAME}/referrers/{k8s.content.public.index.digest}")
    assert moved.status == 307
    listed = (await plain.ask(moved.location)).json["manifests"]
    assert [each["digest"] for each in listed] == [str(k8s.content.public.artifact.digest)]
