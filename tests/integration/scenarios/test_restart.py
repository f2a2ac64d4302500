"""The server closed in the middle of a transfer and opened again on the same folder."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from proxy.app.core import open_core
from proxy.config.settings import ServerSettings, Settings, StorageSettings
from proxy.config.values import Size
from proxy.core.rules import Address, RuleBook, RuleSet
from proxy.http.server import Server
from proxy.http.services import Services
from proxy.model.reference import parse_repository
from proxy.storage.layout import Layout
from tests.emulators import Emulator, Gate, Route
from tests.emulators import faults as fault
from tests.integration.scenarios.product import Registry, plain_session, sha256


@asynccontextmanager
async def serving(emulator: Emulator, folder: Path, session: aiohttp.ClientSession) -> AsyncIterator[Registry]:
    """Run the product as its command does, on a store in `folder`."""
    settings = Settings(storage=StorageSettings(path=folder, min_free=Size(0)), upstreams=emulator.settings)
    async with open_core(settings) as core:
        services = Services(
            rules=RuleBook(RuleSet([emulator.rule(requests_per_second=1000.0)])),
            manifests=core.manifests,
            blobs=core.blobs,
            pulls=core.completer,
            listings=core.listings,
            repositories=core.repositories,
            uploads=core.uploads,
            pushes=core.pushes,
            deletions=core.deletions,
            metrics=core.metrics,
            server=ServerSettings(port=0, drain_timeout=timedelta(0)),
            ready=lambda: True,
        )
        async with Server(services) as server:
            yield Registry(f"http://127.0.0.1:{server.address[1]}", session)
            core.tasks.draining = True


@pytest.mark.parametrize("emulator", ["docker-hub", "k8s"], indirect=True)
async def test_a_blob_that_was_half_there_is_resumed_and_never_served_as_whole(
    emulator: Emulator, tmp_path: Path
) -> None:
    blob = emulator.content.public.big_blob
    gate = Gate()
    emulator.faults.add(fault.stall(blob.size // 2, gate), route=Route.STORAGE)
    path = f"/v2/{emulator.rule_prefix}/{emulator.public_repository}/blobs/{blob.digest}"
    async with plain_session() as session, AsyncExitStack() as client:
        async with serving(emulator, tmp_path, session) as registry:
            answer = await client.enter_async_context(registry.open(path))
            await answer.content.readexactly(blob.size // 4)
            await gate.reached.wait()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
        layout = Layout(tmp_path)
        assert layout.part(blob.digest).exists()
        assert not layout.blob(blob.digest).exists()
        async with serving(emulator, tmp_path, session) as registry:
            whole = await registry.ask(path)
    assert (whole.status, whole.whole, sha256(whole.body)) == (200, True, str(blob.digest))
    resumed = emulator.journal.of(Route.STORAGE, "GET")[-1]
    assert "Range" in resumed.request.headers
    assert resumed.sent < blob.size


@pytest.mark.parametrize("emulator", ["docker-hub"], indirect=True)
async def test_what_an_upstream_showed_last_is_known_after_the_end(emulator: Emulator, tmp_path: Path) -> None:
    settings = Settings(storage=StorageSettings(path=tmp_path, min_free=Size(0)), upstreams=emulator.settings)
    name = parse_repository(f"{emulator.rule_prefix}/{emulator.public_repository}")
    resolution = RuleSet([emulator.rule(requests_per_second=1000.0)]).resolve(Address(name))
    digest = emulator.content.public.big_blob.digest
    assert resolution.remote is not None
    async with open_core(settings) as core:
        source = await core.blobs.open(resolution, digest)
        source.close()
    async with open_core(settings) as core:
        proven = await core.store.metadata.proven(resolution.repository, digest, resolution.remote.provenance)
    assert proven
