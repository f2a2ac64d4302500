"""Upstreams that do not answer: clients get their headers in time all the same, from the cache or as an error."""

from datetime import timedelta
from typing import Any

from proxy.config.settings import FillSettings, UpstreamSettings
from tests.emulators import Emulator, Gate, Route
from tests.emulators import faults as fault
from tests.integration.scenarios.bench import running
from tests.integration.scenarios.product import Stores

SHORT = {"header_timeout": timedelta(milliseconds=60), "budget": timedelta(milliseconds=80)}
CONTAINERD_WAITS = timedelta(seconds=30)


def test_the_defaults_answer_before_containerd_gives_up() -> None:
    assert UpstreamSettings().budget < CONTAINERD_WAITS
    assert FillSettings().headers_deadline < CONTAINERD_WAITS


async def test_an_upstream_that_never_answers_is_504_and_kept_content_goes_on(emulator: Emulator) -> None:
    stores = Stores()
    async with running(emulator, stores=stores) as bench:
        public = bench.public
        for path in (f"manifests/{public.index.digest}", f"blobs/{public.layer.digest}", "manifests/latest"):
            assert (await bench.registry.ask(bench.path(path))).status == 200
        await bench.product.settle()
    emulator.faults.add(fault.delayed(Gate()), times=None)
    # One pull a second, as ECR Public grants, would leave no time at all.
    keys: dict[str, Any] = {"stale_after": timedelta(milliseconds=20), "requests_per_second": 1000.0}
    async with running(emulator, stores=stores, limits=SHORT, **keys) as bench:
        for path in ("manifests/nested", f"blobs/{public.big_blob.digest}", "tags/list"):
            answered = await bench.registry.ask(bench.path(path))
            assert (answered.status, answered.code) == (504, "UPSTREAM_TIMEOUT"), path
        bench.expire()
        stale = await bench.manifest("latest")
        assert (stale.status, stale.body) == (200, public.index.raw)
        assert stale.headers["Warning"].startswith("299 - ")
        assert "stale-" in stale.cache
        assert (await bench.manifest(public.index.digest)).status == 200
        assert (await bench.blob(public.layer.digest)).status == 200


async def test_an_upstream_that_is_down_is_502_and_kept_content_goes_on(emulator: Emulator) -> None:
    async with running(emulator) as bench:
        assert (await bench.manifest("latest")).status == 200
        await emulator.listener.stop()
        for path in ("manifests/nested", f"blobs/{bench.public.big_blob.digest}", "tags/list"):
            answered = await bench.registry.ask(bench.path(path))
            assert (answered.status, answered.code) == (502, "UPSTREAM_UNAVAILABLE"), path
        bench.expire()
        stale = await bench.manifest("latest")
        assert (stale.status, stale.body) == (200, bench.public.index.raw)
        assert stale.headers["Warning"].startswith("299 - ")
        assert emulator.journal.count(Route.TAGS) == 0
