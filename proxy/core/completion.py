"""Images that clients began to pull, completed in the background: so that they can be pulled whole later, offline too.

What a client fetches goes first. One blob at a time is completed for a rule, and none while a client waits for another
blob of that rule; a client who asks for a blob that is being completed joins.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import structlog
from cachetools import LRUCache, TTLCache

from proxy.core.blobs import BlobService
from proxy.core.manifests import ManifestService
from proxy.core.negative import Asked
from proxy.core.ports import BlobStore, Manifests, StorageFullError
from proxy.core.rules import Resolution
from proxy.core.sources import BlobRoute
from proxy.core.upstreams import Upstreams
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.errors import ProxyError, UpstreamError
from proxy.model.manifest import Manifest, parse_manifest
from proxy.model.media_types import IMAGES, INDEXES
from proxy.model.reference import RepositoryName
from proxy.model.rule import Completion, Provenance, Remote
from proxy.telemetry.metrics import Metrics

_QUEUE = 256
"""Pulled blobs a rule that may wait to be looked at; most belong to an image that another one named already."""

_REMEMBERED = 50_000
_FORGET_AFTER = 600.0
"""Seconds after which a blob that is pulled again, or an image, is looked at again."""

_NESTED = 3
"""Indexes inside of indexes that are followed."""

_log = structlog.get_logger(__name__)


class Keeper(Protocol):
    """What fetches blobs behind all that clients ask for."""

    async def keep(self, digest: Digest, route: BlobRoute, size: int) -> None:
        """Return once the blob is stored.

        Raises `StorageFullError` where there is no room, `UpstreamError` where `route` does not give it, and
        `ProxyError` while the server shuts down.
        """


@dataclass(frozen=True, slots=True)
class _Content:
    """Content of one upstream repository, as this repository may show it."""

    repository: RepositoryName
    remote: Remote
    digest: Digest

    @property
    def key(self) -> tuple[RepositoryName, Provenance, Digest]:
        return self.repository, self.remote.provenance, self.digest


class Completer:
    """Complete the images whose layers clients pull, as far as the rule says.

    It is told of all pulls, and answers at once. What it begins belongs to `upstreams.tasks`, and ends with them.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands in each part
        self,
        metadata: Manifests,
        store: BlobStore,
        manifests: ManifestService,
        blobs: BlobService,
        fills: Keeper,
        upstreams: Upstreams,
        metrics: Metrics,
    ) -> None:
        self._metadata = metadata
        self._store = store
        self._manifests = manifests
        self._blobs = blobs
        self._fills = fills
        self._upstreams = upstreams
        self._metrics = metrics
        self._numbers = count(1)
        self._served: LRUCache[tuple[RepositoryName, Provenance, Digest], int] = LRUCache(_REMEMBERED)
        timer = upstreams.clock.monotonic
        self._seen: TTLCache[tuple[RepositoryName, Provenance, Digest], None]
        self._seen = TTLCache(_REMEMBERED, _FORGET_AFTER, timer=timer)
        # By what was read of images: which image names a blob, and the number of pulls that were noted by then.
        self._named: LRUCache[tuple[RepositoryName, Provenance, Digest], tuple[_Content, int]] = LRUCache(_REMEMBERED)
        # By repository, the longest unpulled first: which image of it was pulled last, and its number.
        self._newest: OrderedDict[RepositoryName, tuple[tuple[Provenance, Digest], int]] = OrderedDict()
        self._waiting: dict[str, deque[_Content]] = {}

    def manifest_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Note that a client got the manifest: of several images that share a layer, the newest noted one is meant."""
        remote = resolution.remote
        if remote is not None and remote.rule.complete is not Completion.NONE:
            repository, image = resolution.repository, (remote.provenance, digest)
            newest = self._newest.get(repository)
            if newest is None or newest[0] != image:
                number = next(self._numbers)
                self._served[repository, remote.provenance, digest] = number
                self._newest[repository] = image, number
            self._newest.move_to_end(repository)
            if len(self._newest) > _REMEMBERED:
                self._newest.popitem(last=False)

    def blob_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Complete the image of a blob that a client pulls whole; not to be told of parts, which lazy pullers read."""
        remote = resolution.remote
        if remote is None or remote.rule.complete is Completion.NONE or self._upstreams.policy.is_offline(remote):
            return
        blob = _Content(resolution.repository, remote, digest)
        if blob.key in self._seen or self._upstreams.tasks.draining:
            return
        rule = remote.rule.prefix
        queue = self._waiting.get(rule)
        if queue is not None and len(queue) >= _QUEUE:
            self._count(rule, "dropped")
            return
        self._seen[blob.key] = None
        if queue is not None:
            queue.append(blob)
            return
        self._waiting[rule] = deque([blob])
        self._upstreams.tasks.spawn(f"complete images of {rule}", self._work(rule))

    async def _work(self, rule: str) -> None:
        """Go through the blobs that wait, one at a time, until there are none."""
        queue = self._waiting[rule]
        try:
            while queue and not self._upstreams.tasks.draining:
                await self._complete(queue.popleft())
        finally:
            del self._waiting[rule]

    async def _complete(self, blob: _Content) -> None:
        rule = blob.remote.rule.prefix
        try:
            image = self._recall(blob) or await self._naming(blob)
            if image is None or image.key in self._seen:
                return
            manifest = await self._learn(image)
            # Whoever pulls lazily, or only looks, reads the config whole: a pull is known by its layers.
            if all(child.digest != blob.digest or _is_document(child) for child in manifest.children):
                return
            self._seen[image.key] = None
            fetched = 0
            async for missing in self._missing(image, manifest):
                await self._fills.keep(missing.digest, *self._way(image, missing))
                await self._prove(image, missing)
                fetched += 1
        except StorageFullError as error:
            self._count(rule, "no_room")
            _log.info("completion.no_room", rule=rule, repository=blob.repository, reason=str(error))
        except (UpstreamError, ProxyError) as error:
            stopped = self._upstreams.tasks.draining
            self._count(rule, "stopped" if stopped else "failed")
            if not stopped:
                _log.warning("completion.failed", rule=rule, repository=blob.repository, reason=error.message)
        except OSError as error:
            self._count(rule, "failed")
            _log.warning("completion.failed", rule=rule, repository=blob.repository, reason=str(error))
        else:
            self._count(rule, "completed" if fetched else "unneeded")
            if fetched:
                _log.info("completion.done", rule=rule, image=str(image.digest), blobs=fetched)

    # --- which images ---

    def _recall(self, blob: _Content) -> _Content | None:
        """Return what `_naming` would, if that is known: nobody has pulled another image of the repository since."""
        image, number = self._named.get(blob.key, (None, 0))
        return image if number == self._latest_number(blob.repository) else None

    async def _learn(self, image: _Content) -> Manifest:
        """Return the manifest, for `_recall` to know what it names."""
        number = self._latest_number(image.repository)
        manifest = await self._read(image)
        for child in manifest.children:
            self._named[_Content(image.repository, image.remote, child.digest).key] = image, number
        return manifest

    async def _naming(self, content: _Content) -> _Content | None:
        """Return the manifest by which `content` was pulled: the one that was served last of those that name it.

        Where none was served since the start, the only one there is: many images share their base, and most of those
        that are known were never pulled.
        """
        found = await self._metadata.manifests_naming(content.repository, content.digest, content.remote.provenance)
        named = [_Content(content.repository, content.remote, digest) for digest in found]
        latest = max(named, key=self._number, default=None)
        return latest if latest is not None and (len(named) == 1 or self._number(latest)) else None

    def _latest_number(self, repository: RepositoryName) -> int:
        newest = self._newest.get(repository)
        return newest[1] if newest is not None else 0

    def _number(self, image: _Content) -> int:
        """Return the number of an image's last pull, 0 where none is remembered; the larger, the later."""
        newest = self._newest.get(image.repository)
        if newest is not None and newest[0] == (image.remote.provenance, image.digest):
            return newest[1]
        return self._served.get(image.key, 0)

    async def _missing(self, image: _Content, manifest: Manifest) -> AsyncIterator[Descriptor]:
        """Yield the blobs that are not stored, or not shown to be the repository's: of the image, then of the index."""
        async for blob in self._absent(image, manifest):
            yield blob
        if image.remote.rule.complete is Completion.INDEX:
            index = await self._naming(image)
            if index is not None:
                async for blob in self._below(index, _NESTED):
                    yield blob

    async def _below(self, content: _Content, depth: int) -> AsyncIterator[Descriptor]:
        manifest = await self._read(content)
        async for blob in self._absent(content, manifest):
            yield blob
        for child in manifest.children:
            if depth and child.media_type in INDEXES | IMAGES and not child.urls:
                inner = _Content(content.repository, content.remote, child.digest)
                async for blob in self._below(inner, depth - 1):
                    yield blob

    async def _absent(self, image: _Content, manifest: Manifest) -> AsyncIterator[Descriptor]:
        for child in manifest.children:
            # Content with urls need not be at this registry, and may not be handed on (image-spec, descriptor "urls").
            if child.media_type in INDEXES | IMAGES or child.urls:
                continue
            content = _Content(image.repository, image.remote, child.digest)
            if await self._store.stat(child.digest) is None:
                yield child
            elif content.key not in self._seen:  # else a client had it a moment ago, which is a proof
                await self._prove(image, child)

    # --- how they are had ---

    async def _read(self, content: _Content) -> Manifest:
        resolution = Resolution(content.repository, content.remote, "it is completed")
        answer = await self._manifests.get(resolution, content.digest)
        if answer.raw is None:
            raise AssertionError("a manifest that is got has its bytes")
        return parse_manifest(answer.raw, answer.media_type)

    def _way(self, image: _Content, blob: Descriptor) -> tuple[BlobRoute, int]:
        self._upstreams.permit(image.remote, Asked.BLOB, str(blob.digest))
        return self._blobs.route(image.repository, image.remote, blob.digest, blob.size), blob.size

    async def _prove(self, image: _Content, blob: Descriptor) -> None:
        # Stored for another repository, or by another's route: without its own proof it could not be served offline.
        await self._blobs.prove(image.repository, image.remote, blob.digest, blob.size)

    def _count(self, rule: str, outcome: str) -> None:
        self._metrics.completions.labels(rule, outcome).inc()


def _is_document(blob: Descriptor) -> bool:
    return blob.media_type.endswith("json")
