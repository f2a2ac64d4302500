"""What the HTTP surfaces need of the product."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from aiohttp import web

from proxy.config.settings import ServerSettings
from proxy.core.blobs import BlobService
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.rules import Resolution, RuleBook
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
    setting of that name: while it is None, requests for other hosts than this one are refused.
    """

    rules: RuleBook
    manifests: ManifestService
    blobs: BlobService
    listings: ListingService
    metrics: Metrics
    server: ServerSettings
    ready: Callable[[], bool]
    pulls: PullWatcher
    auth: Literal["none"] | None = None


SERVICES = web.AppKey("services", Services)
MIRROR = web.AppKey("mirror", str)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
