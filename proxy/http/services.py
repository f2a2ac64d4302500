"""What the HTTP surfaces need of the product."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from proxy.config.settings import ServerSettings
from proxy.core.blobs import BlobService
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.rules import RuleBook
from proxy.http.lifecycle import Lifecycle
from proxy.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """Hold the services behind the surfaces, as the composition root made them.

    `ready` tells whether requests can be served (``/readyz``). `auth` is the setting of that name: while it is
    None, requests for other hosts than this one are refused.
    """

    rules: RuleBook
    manifests: ManifestService
    blobs: BlobService
    listings: ListingService
    metrics: Metrics
    server: ServerSettings
    ready: Callable[[], bool]
    auth: Literal["none"] | None = None


SERVICES = web.AppKey("services", Services)
MIRROR = web.AppKey("mirror", str)
LIFECYCLE = web.AppKey("lifecycle", Lifecycle)
