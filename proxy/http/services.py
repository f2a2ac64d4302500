"""What the HTTP surfaces need of the product."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from proxy.config.settings import ServerSettings
from proxy.core.blobs import BlobService
from proxy.core.deletions import DeletionService
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.pushes import PushService
from proxy.core.registry.pull_notes import PullWatcher
from proxy.core.repositories import RepositoryService
from proxy.core.rules import RuleBook
from proxy.core.uploads import UploadService
from proxy.http.aws.dispatch import Api
from proxy.http.lifecycle import Lifecycle
from proxy.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """Hold the services behind the surfaces, as the composition root made them.

    `pulls` is told what clients pull. `ready` tells whether requests can be served (``/readyz``). `auth` is the
    setting of that name: while it is None, requests for other hosts than this one are refused. `chunk_min_length` is
    how long clients are told to make chunks, 0 for not telling. `api` answers the AWS APIs, where they are offered.
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
    api: Api | None = None


SERVICES = web.AppKey("services", Services)
MIRROR = web.AppKey("mirror", str)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
