"""An upstream registry in memory, behind the `Upstream` port."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.core.ports import BlobBody, FetchedManifest, ManifestHead
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.reference import Tag
from proxy.model.rule import Remote


@dataclass
class Body:
    """The rest of a blob, in chunks; each chunk waits until `gate` is open."""

    content: bytes
    start: int
    stop: int
    gate: asyncio.Semaphore | None
    total: int
    chunk: int
    validator: str = '"v"'

    async def chunks(self) -> AsyncIterator[bytes]:
        for position in range(self.start, self.stop, self.chunk):
            if self.gate is not None:
                await self.gate.acquire()
            yield self.content[position : min(self.stop, position + self.chunk)]


@dataclass
class MemoryUpstream:
    """Hold manifests by (repository, tag or digest) and blobs by digest; `failure` makes every request fail.

    `gate`: chunks of `chunk` bytes of blobs that leave only one by one, as it is released. `requests` is the journal.
    """

    manifests: dict[tuple[str, str], FetchedManifest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    referrers: dict[Digest, list[Descriptor]] = field(default_factory=dict)
    failure: UpstreamError | None = None
    gate: asyncio.Semaphore | None = None
    chunk: int = 1 << 16
    requests: list[str] = field(default_factory=list)

    def hold(self, repository: str, raw: bytes, media_type: str, *tags: str) -> Digest:
        for digest in (Digest.of(raw), Digest.of(raw, "sha512")):
            for reference in (str(digest), *tags):
                named = Digest.of(raw) if reference in tags else digest
                self.manifests[repository, reference] = FetchedManifest(raw, media_type, named)
        return Digest.of(raw)

    def hold_blob(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.blobs[digest] = content
        return digest

    async def head_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> ManifestHead:  # noqa: ARG002 - the port's signature
        found = self._manifest("HEAD", remote, reference)
        return ManifestHead(found.digest, found.media_type, len(found.raw))

    async def get_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> FetchedManifest:  # noqa: ARG002 - the port's signature
        return self._manifest("GET", remote, reference)

    async def head_blob(self, remote: Remote, digest: Digest) -> int:
        self._ask(f"HEAD {remote.repository} {digest}")
        return len(self._blob(digest))

    @asynccontextmanager
    async def open_blob(
        self, remote: Remote, digest: Digest, start: int = 0, validator: str = "", stop: int | None = None
    ) -> AsyncIterator[BlobBody]:
        del validator
        self._ask(f"GET {remote.repository} {digest}")
        content = self._blob(digest)
        end = len(content) if stop is None else min(stop, len(content))
        yield Body(content, start, end, self.gate, len(content), self.chunk)

    def hesitates(self, remote: Remote) -> str | None:
        del remote
        return None

    async def list_tags(self, remote: Remote, *, retry: bool = True) -> Sequence[str]:
        del retry
        self._ask(f"TAGS {remote.repository}")
        if remote.repository not in self.tags:
            raise UpstreamError(UpstreamFailure.NOT_FOUND, "no such repository")
        return sorted(self.tags[remote.repository])

    async def list_referrers(self, remote: Remote, subject: Digest, *, retry: bool = True) -> Sequence[Descriptor]:
        del retry
        self._ask(f"REFERRERS {remote.repository} {subject}")
        return self.referrers.get(subject, [])

    def _manifest(self, method: str, remote: Remote, reference: Tag | Digest) -> FetchedManifest:
        self._ask(f"{method} {remote.repository} {reference}")
        found = self.manifests.get((remote.repository, str(reference)))
        if found is None:
            raise UpstreamError(UpstreamFailure.NOT_FOUND, "no such manifest")
        return found

    def _blob(self, digest: Digest) -> bytes:
        if digest not in self.blobs:
            raise UpstreamError(UpstreamFailure.NOT_FOUND, "no such blob")
        return self.blobs[digest]

    def _ask(self, request: str) -> None:
        self.requests.append(request)
        if self.failure is not None:
            raise self.failure
