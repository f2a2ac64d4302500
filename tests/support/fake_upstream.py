"""Upstream registries in memory, behind the `Upstream` port: what they hold, who may read it, how they fail."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.core.ports import BlobBody, FetchedManifest, ManifestHead
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import UpstreamError, UpstreamFailure
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.model.rule import Remote


@dataclass(frozen=True)
class Request:
    """One request as the upstream saw it: method, ``<upstream>/<repository>``, what was asked for, and by whom."""

    method: str
    source: str
    subject: str
    account: str = ""
    retry: bool | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.source} {self.subject}"


@dataclass
class UpstreamRepository:
    """What one upstream repository holds. `accounts` may read it; everybody may where that is None."""

    manifests: dict[Digest, FetchedManifest] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    referrers: dict[Digest, list[Descriptor]] | None = None
    accounts: frozenset[str] | None = None

    def put(self, raw: bytes, *tags: str, media_type: str = OCI_MANIFEST) -> Digest:
        """Hold a manifest under both algorithms and under `tags`; return its sha256 digest."""
        for digest in (Digest.of(raw), Digest.of(raw, "sha512")):
            self.manifests[digest] = FetchedManifest(raw, media_type, digest)
        self.tags |= dict.fromkeys(tags, Digest.of(raw))
        return Digest.of(raw)

    def put_blob(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        self.blobs[digest] = content
        return digest


@dataclass
class _Body:
    content: bytes
    start: int
    stop: int
    total: int
    validator: str = ""

    async def chunks(self) -> AsyncIterator[bytes]:
        for position in range(self.start, self.stop, 1 << 16):
            yield self.content[position : min(self.stop, position + (1 << 16))]


class FakeUpstream:
    """The `Upstream` port over `UpstreamRepository` values.

    `requests` is the journal. `failing[method]` fails every request of that method ("HEAD", "GET", "HEAD blob",
    "GET blob", "tags", "referrers", or "*" for all). While `open_gate` is clear, every request waits for it;
    `asked` is set by the first request.
    `thrift` is what `hesitates` says. `digestless` upstreams name no digest in answers to HEAD; `claims` are digests
    that HEAD names wrongly.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, UpstreamRepository] = {}
        self.requests: list[Request] = []
        self.failing: dict[str, UpstreamError] = {}
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.asked = asyncio.Event()
        self.digestless = False
        self.claims: dict[str, Digest] = {}
        self.thrift: str | None = None

    def repository(self, source: str) -> UpstreamRepository:
        """Return the repository ``<upstream>/<repository>``, made when it is first named."""
        return self.repositories.setdefault(source, UpstreamRepository())

    def fail(self, failure: UpstreamFailure, method: str = "*", retry_after: float | None = None) -> None:
        self.failing[method] = UpstreamError(failure, f"the upstream failed: {failure}", retry_after=retry_after)

    def recover(self) -> None:
        self.failing.clear()

    @property
    def journal(self) -> list[str]:
        return [str(request) for request in self.requests]

    async def head_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> ManifestHead:
        repository = await self._ask("HEAD", remote, str(reference), retry=retry)
        found = self._manifest(repository, reference)
        digest = self.claims.get(str(reference), found.digest)
        return ManifestHead(None if self.digestless else digest, found.media_type, len(found.raw))

    async def get_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> FetchedManifest:
        return self._manifest(await self._ask("GET", remote, str(reference), retry=retry), reference)

    async def head_blob(self, remote: Remote, digest: Digest) -> int:
        return len(self._blob(await self._ask("HEAD blob", remote, str(digest)), digest))

    @asynccontextmanager
    async def open_blob(
        self, remote: Remote, digest: Digest, start: int = 0, validator: str = "", stop: int | None = None
    ) -> AsyncIterator[BlobBody]:
        del validator
        content = self._blob(await self._ask("GET blob", remote, str(digest)), digest)
        yield _Body(content, start, len(content) if stop is None else min(stop, len(content)), len(content))

    async def list_tags(self, remote: Remote, *, retry: bool = True) -> Sequence[str]:
        return sorted((await self._ask("tags", remote, "", retry=retry)).tags)

    async def list_referrers(self, remote: Remote, subject: Digest, *, retry: bool = True) -> Sequence[Descriptor]:
        repository = await self._ask("referrers", remote, str(subject), retry=retry)
        if repository.referrers is None:
            raise UpstreamError(UpstreamFailure.UNSUPPORTED, "there is no referrers API")
        return repository.referrers.get(subject, [])

    def hesitates(self, remote: Remote) -> str | None:
        del remote
        return self.thrift

    async def _ask(self, method: str, remote: Remote, subject: str, *, retry: bool | None = None) -> UpstreamRepository:
        source, account = remote.provenance.source, remote.provenance.account
        self.requests.append(Request(method, source, subject, account, retry))
        self.asked.set()
        await self.open_gate.wait()
        failure = self.failing.get(method) or self.failing.get("*")
        if failure is not None:
            raise failure
        repository = self.repositories.get(source)
        if repository is None:
            raise UpstreamError(UpstreamFailure.NOT_FOUND, "there is no such repository")
        if repository.accounts is not None and account not in repository.accounts:
            raise UpstreamError(UpstreamFailure.DENIED, "this account may not read it")
        return repository

    def _manifest(self, repository: UpstreamRepository, reference: Tag | Digest) -> FetchedManifest:
        digest = reference if isinstance(reference, Digest) else repository.tags.get(reference)
        found = repository.manifests.get(digest) if digest is not None else None
        if found is None:
            raise UpstreamError(UpstreamFailure.NOT_FOUND, "there is no such manifest")
        return found

    def _blob(self, repository: UpstreamRepository, digest: Digest) -> bytes:
        if digest not in repository.blobs:
            raise UpstreamError(UpstreamFailure.NOT_FOUND, "there is no such blob")
        return repository.blobs[digest]
