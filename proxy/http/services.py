"""What the HTTP surfaces need of the product."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from proxy.config.settings import ServerSettings
from proxy.core.access.authorizer import Authorizer, EveryoneMay
from proxy.core.access.rates import Rates
from proxy.core.blobs import BlobService
from proxy.core.deletions import DeletionService
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.pushes import PushService
from proxy.core.registry.pull_notes import PullWatcher
from proxy.core.repositories import RepositoryService
from proxy.core.rules import RuleBook
from proxy.core.uploads import UploadService
from proxy.http.access.ports import Authentication
from proxy.http.aws.entrance import ApiSurface
from proxy.http.lifecycle import Lifecycle
from proxy.telemetry.audit import AuditTrail, NoAudit
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.request_log import EventRequestLog, RequestLog


@dataclass(frozen=True, slots=True)
class Services:
    """Hold the services behind the surfaces, as the composition root made them.

    `pulls` is told what clients pull. `ready` tells whether requests can be served (``/readyz``). `authorizer` decides
    what callers may do; without `authentication` nobody is asked who they are. `client_ca` holds the authorities whose
    client certificates are taken. `audit` is told what was changed and refused. `exposition` answers scrapes;
    without it they get the `metrics` of this process. While `guarded`, requests for other hosts than this one are
    refused: nothing else keeps web pages away that resolve to a loopback address. `chunk_min_length` is how long
    clients are told to make chunks, 0 for not telling. `request_log` is told of every request. `api` answers the
    AWS APIs, where they are offered.
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
    authorizer: Authorizer = field(default_factory=EveryoneMay)
    authentication: Authentication | None = None
    client_ca: Path | None = None
    rates: Rates = field(default_factory=Rates.unlimited)
    exposition: Exposition | None = None
    audit: AuditTrail = field(default_factory=NoAudit)
    guarded: bool = True
    chunk_min_length: int = 0
    request_log: RequestLog = field(default_factory=EventRequestLog)
    api: ApiSurface | None = None


SERVICES = web.AppKey("services", Services)
MIRROR = web.AppKey("mirror", str)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
