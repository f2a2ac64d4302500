"""What the HTTP surfaces need of the product."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from aiohttp import web

from proxy.config.settings import ServerSettings
from proxy.core.blobs import BlobService
from proxy.core.deletions import DeletionService
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.pushes import PushService
from proxy.core.repositories import RepositoryService
from proxy.core.rules import Resolution, RuleBook
from proxy.core.uploads import UploadService
from proxy.http.lifecycle import Lifecycle
from proxy.model.digest import Digest
from proxy.telemetry.metrics import Metrics


class PullWatcher(Protocol):
    """Who wants to know what clients pull; both methods return at once."""

    def manifest_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Note that a client got a manifest."""

    def blob_pulled(self, resolution: Resolution, digest: Digest) -> None:
        """Note that a client gets a blob from its beginning to its end, as far as it wants to read."""


@dataclass(frozen=True, slots=True)
class Services:
    """Hold the services behind the surfaces, as the composition root made them.

    `pulls` is told what clients pull. `ready` tells whether requests can be served (``/readyz``). `auth` is the
    setting of that name: while it is None, requests for other hosts than this one are refused. `chunk_min_length` is
    how long clients are told to make chunks, 0 for not telling.
    """

    rules: RuleBook
    manifests: ManifestService
    blobs: BlobService
    listings: ListingService
    repositories: RepositoryService
    uploads: UploadService
    pushes: PushService
    deletions: DeletionService
    metrics: Metrics
    server: ServerSettings
    ready: Callable[[], bool]
    pulls: PullWatcher
    auth: Literal["none"] | None = None
    chunk_min_length: int = 0


SERVICES = web.AppKey("services", Services)
MIRROR = web.AppKey("mirror", str)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
