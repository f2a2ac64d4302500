"""The spellings by which clients name one repository, and names that lead nowhere."""

from collections.abc import AsyncIterator

import pytest
import trustme

from tests.emulators import Content, DockerHub, Kubernetes, Quay, Route, run, settings_of
from tests.integration.scenarios.bench import Bench, running
from tests.integration.scenarios.product import Product, run_product
from tests.support.clock import FakeClock

HUB_SPELLINGS = (
    "/v2/library/alpine/manifests/latest?ns=docker.io",
    "/v2/library/alpine/manifests/latest?ns=registry-1.docker.io",
    "/v2/library/alpine/manifests/latest?ns=index.docker.io",
    "/v2/library/alpine/manifests/latest?ns=DOCKER.IO",
    "/v2/alpine/manifests/latest?ns=docker.io",
    "/v2/docker-hub/library/alpine/manifests/latest",
    "/v2/docker-hub/alpine/manifests/latest",
    "/v2/docker-hub/library/alpine/manifests/latest?ns=docker.io",
    "/docker-hub/v2/library/alpine/manifests/latest",
    "/docker-hub/v2/library/alpine/manifests/latest?ns=docker.io",
)
MIRROR_SPELLINGS = ("/v2/library/alpine/manifests/latest", "/v2/alpine/manifests/latest?ns=docker.io")
NOWHERE = (
    "/v2/library/alpine/manifests/latest?ns=attacker.test",
    "/v2/library/alpine/manifests/latest?ns=169.254.169.254",
    "/v2/library/alpine/manifests/latest?ns=localhost:5000",
    "/v2/library/alpine/manifests/latest?ns=quay.io.attacker.test",
    "/v2/library/alpine/manifests/latest?ns=docker.io:8443",
    "/docker-hub/v2/library/alpine/manifests/latest?ns=quay.io",
    "/v2/docker-hubx/library/alpine/manifests/latest",
    "/v2/docker/library/alpine/manifests/latest",
    "/v2/attacker.test/library/alpine/manifests/latest",
    "/v2/library/alpine/manifests/latest",
)


@pytest.fixture
async def both(
    samples: Content, clock: FakeClock, authority: trustme.CA
) -> AsyncIterator[tuple[Product, DockerHub, Quay]]:
    """The product with a rule for Docker Hub and one for quay.io."""
    hub, quay = DockerHub(samples, clock), Quay(samples, clock)
    async with (
        run(hub, authority=authority),
        run(quay, authority=authority),
        run_product([hub.rule(), quay.rule()], settings_of([hub, quay]), clock) as product,
    ):
        yield product, hub, quay


async def test_all_spellings_of_a_repository_are_one(both: tuple[Product, DockerHub, Quay]) -> None:
    product, hub, quay = both
    answers = [await product.registry.ask(path) for path in HUB_SPELLINGS]
    answers += [await product.mirror("docker-hub").ask(path) for path in MIRROR_SPELLINGS]
    assert {(each.status, each.body) for each in answers} == {(200, hub.content.public.index.raw)}
    gets = [each for each in hub.journal.of(Route.MANIFEST, "GET") if each.status == 200]
    assert len(gets) == 1
    assert quay.journal.lines == []
    echoed = [each.headers.get("OCI-Namespace") for each in answers]
    assert echoed[0] == "docker.io"


async def test_names_that_lead_nowhere_are_404_and_no_host_is_asked(both: tuple[Product, DockerHub, Quay]) -> None:
    product, hub, quay = both
    for path in NOWHERE:
        answered = await product.registry.ask(path)
        assert answered.status == 404, path
        assert answered.code in {"NAME_UNKNOWN", "MANIFEST_UNKNOWN"}
    assert hub.journal.lines == quay.journal.lines == []


async def test_a_namespace_wins_over_what_looks_like_another_prefix(both: tuple[Product, DockerHub, Quay]) -> None:
    product, hub, quay = both
    hub.repositories["quay/mirror"] = hub.content.public
    answered = await product.registry.ask("/v2/quay/mirror/manifests/latest?ns=docker.io")
    assert (answered.status, answered.body) == (200, hub.content.public.index.raw)
    assert quay.journal.lines == []


async def test_a_mirror_listener_serves_its_own_rule_only(both: tuple[Product, DockerHub, Quay]) -> None:
    product, hub, quay = both
    mirror = product.mirror("docker-hub")
    for path in ("/v2/_catalog", "/quay/v2/prometheus/node-exporter/manifests/latest"):
        assert (await mirror.ask(path)).status == 404
    assert (await mirror.ask("/v2/prometheus/node-exporter/manifests/latest?ns=quay.io")).status == 404
    assert hub.journal.lines == quay.journal.lines == []


async def test_signatures_of_kubernetes_come_from_where_it_keeps_them_and_no_token_is_sent(
    samples: Content, clock: FakeClock, authority: trustme.CA
) -> None:
    async with run(Kubernetes(samples, clock), authority=authority) as emulator, running(emulator) as bench:
        tag = f"sha256-{bench.public.image.digest.encoded}.sig"
        signature = await bench.manifest(tag)
        assert (signature.status, signature.body) == (200, bench.public.signature.raw)
        assert emulator.journal.count(Route.MANIFEST, host=emulator.signatures) == 1
        for path in ("manifests/latest", "tags/list?n=2", f"blobs/{bench.public.layer.digest}"):
            assert (await bench.registry.ask(bench.path(path))).status == 200
        assert {each.authorization for each in emulator.journal.exchanges} == {None}
        assert emulator.journal.count(Route.TOKEN) == emulator.journal.count(containing="n=2") == 0


async def test_conversions_for_old_clients_never_enter_the_cache(bench: Bench) -> None:
    emulator = bench.emulator
    # As if our Accept had been lost on the way: quay.io and Docker Hub make up a manifest, ghcr.io says 404.
    lost = emulator.faults.add(
        lambda request, answer: answer(request.without("Accept")), route=Route.MANIFEST, times=None
    )
    spoilt = await bench.manifest("latest")
    assert spoilt.status == {"quay": 502, "docker-hub": 502, "github-container-registry": 404}.get(emulator.kind, 200)
    lost.disarm()
    bench.product.clock.advance(61)
    assert (await bench.manifest("latest")).body == bench.public.index.raw
    old = await bench.manifest("old")
    assert old.status == (404 if emulator.kind == "github-container-registry" else 502)
    kept = await bench.registry.ask("/v2/_catalog")
    assert kept.json["repositories"] == [f"{bench.prefix}/{emulator.public_repository}"]
    assert not await bench.is_kept(bench.public.schema1.digest)
