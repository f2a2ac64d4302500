"""Proof before bytes: which upstream repositories were shown to hold a blob.

Stored bytes are shared by all repositories, so that they are fetched and kept once. Whether one repository may serve
them is another question: its own upstream, asked with its own credentials, must have shown to hold them.
"""

import asyncio
from collections.abc import Collection, Mapping
from enum import Enum, auto
from itertools import islice
from typing import NamedTuple

import structlog
from cachetools import TTLCache

from proxy.core.ports import BlobStore, Proofs, StorageFullError
from proxy.core.registry.records import Scenario
from proxy.core.repositories import Creator
from proxy.core.upstreams import Upstreams
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance, Remote

_log = structlog.get_logger(__name__)

_RECENT = 50_000
"""Proofs that are kept in memory, and that may wait to be written down."""

_TOGETHER = 64
"""Proofs that are written down at a time, in no order."""

_PATIENCE = 1.0
"""Seconds that a client waits for its proof to be written down: as long as that take only metadata that are locked."""


class Standing(Enum):
    """Whether a repository may serve a blob, and why."""

    UNKNOWN = auto()  # nothing shows that its upstream has it
    SHOWN = auto()  # by a proof of another repository, or a moment ago: it is being written down as its own
    KEPT = auto()  # by a proof of its own


class _Proof(NamedTuple):
    """That an upstream repository, asked with an account, has shown `repository` that it holds the blob."""

    repository: RepositoryName
    provenance: Provenance
    digest: Digest


class ProofService:
    """Keep proofs: durable in the metadata, the newest also in memory, where all clients of a running fill see them.

    What was shown through one account to one upstream repository is shown to every rule with both.
    """

    def __init__(
        self, metadata: Proofs, blobs: BlobStore, upstreams: Upstreams, creator: Creator | None = None
    ) -> None:
        """Let `creator` make the repositories of first pulls, or (None) the metadata."""
        self._metadata = metadata
        self._creator = creator
        self._blobs = blobs
        self._upstreams = upstreams
        ttl = upstreams.policy.negative_ttl.total_seconds()
        self._recent: TTLCache[tuple[Provenance, Digest], int] = TTLCache(_RECENT, ttl, timer=upstreams.clock.monotonic)
        self._kept: TTLCache[_Proof, None] = TTLCache(_RECENT, ttl, timer=upstreams.clock.monotonic)
        # What is to be written down, and whether it may be there already; and what is being written down.
        self._noted: dict[_Proof, bool] = {}
        self._writing: set[_Proof] = set()
        self._writes = False
        self._turn = asyncio.Event()  # set, and another put in its place, when some of them have been written down

    async def standing(self, repository: RepositoryName, remote: Remote, digest: Digest) -> Standing:
        """Return as what the repository may serve the blob, by the metadata first: nothing is written where they do."""
        shown, own = await self._look_up(repository, remote, digest)
        if shown and own:
            return Standing.KEPT
        if not shown and self.recent(remote, digest) is None:
            return Standing.UNKNOWN
        self._own_soon(repository, remote, digest)
        return Standing.SHOWN

    async def has(self, repository: RepositoryName, remote: Remote, digest: Digest) -> bool:
        """Tell whether the repository may serve the blob."""
        if self.recent(remote, digest) is None:
            shown, own = await self._look_up(repository, remote, digest)
            if own or not shown:
                return shown
        elif _Proof(repository, remote.provenance, digest) in self._kept:
            return True  # it was written down a moment ago
        self._own_soon(repository, remote, digest)
        return True

    def recent(self, remote: Remote, digest: Digest) -> int | None:
        """Return the size of a blob that the upstream showed a moment ago, or None."""
        return self._recent.get((remote.provenance, digest))

    def shown(self, repository: RepositoryName, remote: Remote, digest: Digest, size: int) -> None:
        """Note that the upstream answered with the blob; nobody waits until that is written down."""
        known = self.recent(remote, digest) is not None
        self._recent[remote.provenance, digest] = size
        proof = _Proof(repository, remote.provenance, digest)
        if not known:
            self._note(proof, kept=False)
        else:
            # Fetched again so soon: blob and proof may have been purged.
            self._kept.pop(proof, None)

    def pending(self, repository: RepositoryName, remote: Remote, digest: Digest) -> bool:
        """Tell whether a proof that was noted here is still to be written down: other processes do not know of it."""
        proof = _Proof(repository, remote.provenance, digest)
        return proof in self._noted or proof in self._writing

    async def written(self, repository: RepositoryName, remote: Remote, digest: Digest) -> None:
        """Return once no such proof is pending, or when that takes too long: what it is for goes on all the same."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._writes and self.pending(repository, remote, digest):
                    await self._turn.wait()
        except TimeoutError:
            _log.warning("proof.late", repository=repository, digest=str(digest))

    async def settle(self) -> None:
        """Return once all that was noted is written down, also what is noted meanwhile."""
        while self._writes:
            await self._turn.wait()

    async def ask(self, repository: RepositoryName, remote: Remote, digest: Digest) -> int:
        """Have the upstream show, by one HEAD, that it holds the blob, and return its size.

        Raises `UpstreamError` where it does not, or speaks of other bytes than those that are stored.
        """
        size = await self._upstreams.head_blob(remote, digest)
        stored = await self._blobs.stat(digest)
        if stored is not None and stored != size:
            raise UpstreamError(
                UpstreamFailure.GARBAGE,
                f"{remote.rule.upstream} says that the blob has {size} bytes; the content of that digest has {stored}",
            )
        self._recent[remote.provenance, digest] = size
        if stored is not None:
            await self._prove(repository, [_Proof(repository, remote.provenance, digest)])
        return size

    async def _look_up(self, repository: RepositoryName, remote: Remote, digest: Digest) -> tuple[bool, bool]:
        """Tell whether the upstream was shown to hold the blob, and whether this repository has any proof of it."""
        return await self._metadata.standing(repository, digest, remote.provenance)

    def _own_soon(self, repository: RepositoryName, remote: Remote, digest: Digest) -> None:
        # Shown to another repository with this source and account, or a moment ago. This one is to have it for good,
        # as it serves it: also when no rule leads to that source any more.
        self._note(_Proof(repository, remote.provenance, digest), kept=True)

    def _note(self, proof: _Proof, *, kept: bool) -> None:
        """Write `proof` down soon; `kept`: unless the repository has one already."""
        if proof in self._noted or proof in self._writing or len(self._noted) >= _RECENT:
            return  # where the metadata do not keep up, the upstream is asked once more, later
        self._noted[proof] = kept
        if not self._writes:
            self._writes = True
            self._upstreams.tasks.spawn("write down proofs", self._write_down())

    async def _write_down(self) -> None:
        """Write down what was noted, many at a time: it is one transaction then, and nobody waits for it."""
        try:
            while self._noted:
                some = dict(islice(self._noted.items(), _TOGETHER))
                self._writing = set(some)
                for proof in some:
                    del self._noted[proof]
                by_repository: dict[RepositoryName, dict[_Proof, bool]] = {}
                for proof, kept in some.items():
                    by_repository.setdefault(proof.repository, {})[proof] = kept
                keeping = (self._keep(repository, own) for repository, own in by_repository.items())
                for failure in await asyncio.gather(*keeping, return_exceptions=True):
                    if failure is not None:
                        _log.error("proofs.failed", exc_info=failure)
                self._end_turn()
        finally:
            self._writes = False
            self._end_turn()

    def _end_turn(self) -> None:
        self._writing = set()
        self._turn.set()
        self._turn = asyncio.Event()

    async def _keep(self, repository: RepositoryName, proofs: Mapping[_Proof, bool]) -> None:
        doubtful = [proof for proof, kept in proofs.items() if kept]
        known = await asyncio.gather(*(self._metadata.proven(repository, proof.digest, None) for proof in doubtful))
        there = {proof for proof, kept in zip(doubtful, known, strict=True) if kept}
        await self._prove(repository, proofs.keys() - there)

    async def _prove(self, repository: RepositoryName, proofs: Collection[_Proof]) -> None:
        if not proofs:
            return
        try:
            if not await self._write(repository, proofs, make=self._creator is None) and self._creator is not None:
                await self._creator.ensure(repository, Scenario.PULL_THROUGH_CACHE)
                await self._write(repository, proofs, make=True)
            self._kept.update(dict.fromkeys(proofs))
        except StorageFullError as error:
            # Without it the upstream is asked once more, later; the pull goes on.
            digests = [str(proof.digest) for proof in proofs]
            _log.warning("proof.not_kept", repository=repository, digests=digests, error=str(error))

    async def _write(self, repository: RepositoryName, proofs: Collection[_Proof], *, make: bool) -> bool:
        """Tell whether the proofs are kept: unless `make`, only of a repository that is there."""
        writes = (self._metadata.prove(repository, each.digest, each.provenance, make=make) for each in proofs)
        return all(await asyncio.gather(*writes))
