"""Proofs that nobody waits for: they are written down many at a time, and one that cannot be takes no other with it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from proxy.core.proofs import ProofService
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance, Remote
from tests.support.background import started
from tests.support.filling_metadata import FillingMetadata
from tests.support.routes import Gate
from tests.unit.core.conftest import Bench

BROKEN = RepositoryName("quay/broken")
DIGEST = Digest.of(b"a layer")


class BrokenMetadata(FillingMetadata):
    """Metadata that cannot be written for one repository, and take a moment for others."""

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        if repository == BROKEN:
            raise OSError("the device fails")
        await asyncio.sleep(0)
        return await super().prove(repository, digest, provenance, make=make)


class HeldMetadata(FillingMetadata):
    """Metadata that are written once the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.calls = 0

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        self.calls += 1
        await self.gate.wait()
        return await super().prove(repository, digest, provenance, make=make)


@pytest.fixture
def remote(bench: Bench) -> Remote:
    found = bench.resolve().remote
    assert found is not None
    return found


async def test_a_proof_that_cannot_be_written_takes_no_other_with_it(bench: Bench, remote: Remote) -> None:
    bench.metadata = BrokenMetadata()
    proofs = ProofService(bench.metadata, bench.store, bench.upstreams)
    names = [RepositoryName(f"quay/app{number}") for number in range(200)]
    with capture_logs() as logs:
        for name in (BROKEN, *names):
            proofs.shown(name, remote, Digest.of(name.encode()), 7)
        await bench.tasks.drain(10)
    assert [entry["event"] for entry in logs] == ["proofs.failed"]
    proven = [await bench.metadata.proven(name, Digest.of(name.encode()), remote.provenance) for name in names]
    assert all(proven)


async def test_what_is_fetched_again_is_proven_again_though_it_was_a_moment_ago(bench: Bench, remote: Remote) -> None:
    proofs = ProofService(bench.metadata, bench.store, bench.upstreams)
    name = RepositoryName("quay/app")
    proofs.shown(name, remote, DIGEST, 7)
    await proofs.settle()
    assert await bench.metadata.disprove(name, DIGEST)  # by a purge in another process

    proofs.shown(name, remote, DIGEST, 7)
    assert await proofs.has(name, remote, DIGEST)
    await proofs.settle()

    assert await bench.metadata.proven(name, DIGEST, remote.provenance)


async def test_how_many_wait_to_be_written_down_is_bounded(bench: Bench, remote: Remote) -> None:
    bench.metadata = metadata = HeldMetadata()
    proofs = ProofService(metadata, bench.store, bench.upstreams)
    proofs.shown(BROKEN, remote, DIGEST, 7)
    await metadata.gate.reached.wait()
    for number in range(60_000):
        proofs.shown(BROKEN, remote, Digest(DIGEST.algorithm, f"{number:064x}"), 7)
    metadata.gate.open()
    await bench.tasks.drain(60)
    assert metadata.calls == 50_001


async def test_settling_waits_for_what_is_noted_meanwhile(bench: Bench, remote: Remote) -> None:
    bench.metadata = metadata = HeldMetadata()
    proofs = ProofService(metadata, bench.store, bench.upstreams)
    proofs.shown(BROKEN, remote, DIGEST, 7)
    settling = started(proofs.settle())
    await metadata.gate.reached.wait()
    later = [Digest.of(f"{number}".encode()) for number in range(200)]
    for digest in later:
        proofs.shown(BROKEN, remote, digest, 7)
    metadata.gate.open()
    await settling
    assert all([await metadata.proven(BROKEN, digest, remote.provenance) for digest in (DIGEST, *later)])
    assert not any(proofs.pending(BROKEN, remote, digest) for digest in (DIGEST, *later))


async def test_who_waits_for_a_proof_that_cannot_be_written_goes_on(bench: Bench, remote: Remote) -> None:
    bench.metadata = BrokenMetadata()
    proofs = ProofService(bench.metadata, bench.store, bench.upstreams)
    proofs.shown(BROKEN, remote, DIGEST, 7)
    assert proofs.pending(BROKEN, remote, DIGEST)
    with capture_logs():
        await proofs.written(BROKEN, remote, DIGEST)
    assert not proofs.pending(BROKEN, remote, DIGEST)


async def test_nobody_waits_for_long_while_the_metadata_do_not_answer(
    bench: Bench, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.core.proofs._PATIENCE", 0.0)
    bench.metadata = metadata = HeldMetadata()
    proofs = ProofService(metadata, bench.store, bench.upstreams)
    proofs.shown(BROKEN, remote, DIGEST, 7)
    await metadata.gate.reached.wait()
    with capture_logs() as logs:
        await proofs.written(BROKEN, remote, DIGEST)
    assert [entry["event"] for entry in logs] == ["proof.late"]
    metadata.gate.open()
    await proofs.settle()
