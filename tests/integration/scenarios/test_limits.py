"""Registries that count: pulls of Docker Hub, a pull a second of ECR Public, failed logins of GitLab."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
import trustme

from tests.emulators import Content, DockerHub, EcrPublic, Emulator, GitLab, Kubernetes, Route, run
from tests.integration.scenarios.bench import Bench, running
from tests.support.clock import FakeClock


@pytest.fixture
async def hub(samples: Content, clock: FakeClock, authority: trustme.CA) -> AsyncIterator[DockerHub]:
    async with run(DockerHub(samples, clock), authority=authority) as started:
        yield started


async def test_hub_counts_one_pull_for_each_new_digest_and_none_for_checks(hub: DockerHub) -> None:
    async with running(hub) as bench:
        public = bench.public
        most = hub.pulls.most
        head = await bench.registry.head(bench.path("manifests", "latest"))
        assert hub.pulls.left("127.0.0.1") == most
        for reference in (head.digest, public.children[0].digest):
            assert (await bench.manifest(reference)).status == 200
        assert hub.pulls.left("127.0.0.1") == most - 2
        for _ in range(3):
            bench.expire()
            assert (await bench.manifest("latest")).body == public.index.raw
            assert (await bench.manifest(public.children[0].digest)).status == 200
        assert hub.pulls.left("127.0.0.1") == most - 2
        assert len(bench.asked(Route.MANIFEST, "HEAD")) == 4


async def test_hub_without_pulls_left_serves_kept_tags_and_refuses_others_from_memory(hub: DockerHub) -> None:
    hub.pulls.most = 1
    async with running(hub) as bench:
        assert (await bench.manifest("latest")).status == 200
        assert hub.pulls.left("127.0.0.1") == 0
        bench.expire()
        kept = await bench.manifest("latest")
        assert (kept.status, kept.body) == (200, bench.public.index.raw)
        assert kept.headers["Warning"].startswith("299 - ")
        refused = await bench.manifest("nested")
        assert (refused.status, refused.code) == (429, "TOOMANYREQUESTS")
        assert int(refused.headers["Retry-After"]) >= 1
        asked = len(hub.journal.exchanges)
        # containerd asks five times at once, whatever Retry-After says.
        for _ in range(4):
            assert (await bench.manifest("nested")).status == 429
            assert (await bench.registry.head(bench.path("manifests", "nested"))).status == 429
        assert len(hub.journal.exchanges) == asked
        # Blobs are not counted: they go on.
        assert (await bench.blob(bench.public.layer.digest)).status == 200


async def test_hub_is_never_asked_for_a_name_without_library_nor_at_its_web_site(hub: DockerHub) -> None:
    async with running(hub) as bench:
        assert (await bench.manifest("latest", repository="alpine")).status == 200
        asked = hub.journal.of(Route.MANIFEST)
        assert all("/v2/library/alpine/" in each.target for each in asked)
        assert hub.journal.count(host="docker.io") == hub.journal.count(host="www.docker.com") == 0


async def test_ecr_public_is_asked_for_one_pull_a_second_and_for_pages_by_their_own_links(
    samples: Content, clock: FakeClock, authority: trustme.CA
) -> None:
    async with run(EcrPublic(samples, clock), authority=authority) as public, running(public) as bench:
        public.anonymous_pulls.enforced = True
        public.page = 2
        held = [*bench.public.children, bench.public.image, bench.public.nested, bench.public.index]
        for manifest in held:
            assert (await bench.manifest(manifest.digest)).body == manifest.raw
        pulls = [each.time for each in bench.asked(Route.MANIFEST, "GET")]
        assert len(pulls) == len(held)
        assert all(later - earlier >= 1 for earlier, later in pairwise(pulls))
        tags = await bench.registry.ask(f"{bench.path('tags/list')}?last=1.0&n=3")
        assert tags.json["tags"] == sorted(bench.public.tags)[1:4]
        assert {each.status for each in public.journal.exchanges} <= {200, 307, 401}


async def test_wrong_credentials_are_tried_once_and_then_rest(bench: Bench) -> None:
    emulator = bench.emulator
    if isinstance(emulator, Kubernetes):
        # It never asks who we are.
        assert (await bench.manifest("latest")).status == 200
        assert all(each.authorization is None for each in emulator.journal.exchanges)
        return
    async with running(emulator, with_account=True) as wrong:
        path = emulator.listener.ca_file.parent / "password"
        path.write_text("not the password")
        for number in range(40):
            refused = await wrong.manifest(f"tag-{number}", repository=f"some/where-{number % 7}")
            assert (refused.status, refused.code) == (403, "DENIED")
            assert "`credentials`" in refused.message
            assert "not the password" not in refused.message
        assert sum(proves(emulator)) == 1
        wrong.product.clock.advance(61)
        assert (await wrong.manifest("latest")).status == 403
        assert sum(proves(emulator)) == 2
        path.write_text(emulator.account.password)
        wrong.product.clock.advance(61)
        assert (await wrong.manifest("latest")).status == 200
    if isinstance(emulator, GitLab):
        assert not emulator.banned


def proves(emulator: Emulator) -> list[bool]:
    """Tell for each exchange whether the account was sent."""
    return [(each.authorization or "").startswith("Basic ") for each in emulator.journal.exchanges]
