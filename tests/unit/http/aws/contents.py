"""What images are made of: blobs, an upstream in memory, and the services that push and pull."""

from dataclasses import dataclass, replace
from typing import TypedDict

from aiohttp.web import Application

from proxy.config.settings import ServerSettings, Settings
from proxy.core.blobs import BlobService
from proxy.core.contents import ManifestContents
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.images import ImageAdministration
from proxy.core.registry.layers import LayerAdministration
from proxy.core.registry.locator import RepositoryLocator
from proxy.core.registry.pull_notes import PullNotes
from proxy.core.rules import RuleBook
from proxy.core.tasks import Tasks
from proxy.core.upstreams import Upstreams
from proxy.core.warm import ContentMemory
from proxy.http.application import build_application
from proxy.http.aws.dispatch import Api
from proxy.http.services import Services
from proxy.storage.blobs.memory import MemoryBlobStore
from proxy.storage.metadata.memory import MemoryMetadataStore
from proxy.storage.uploads.memory import MemoryUploadStore
from proxy.telemetry.metrics import Metrics
from tests.support.clock import FakeClock
from tests.support.fake_upstream import FakeUpstream
from tests.support.memory_fills import MemoryFills
from tests.support.writing import writing


class OfImages(TypedDict):
    """The fields of `Administration` that are about images."""

    images: ImageAdministration
    layers: LayerAdministration
    passwords: RegistryPasswords


@dataclass
class Contents:
    """One registry's content, over the metadata and the rules of the test."""

    settings: Settings
    metadata: MemoryMetadataStore
    book: RuleBook
    clock: FakeClock
    tasks: Tasks

    def __post_init__(self) -> None:
        metrics, policy = Metrics(), Policy.of(self.settings.upstreams, RegistryIdentity.of(self.settings))
        self.upstream, self.store = FakeUpstream(), MemoryBlobStore()
        upstreams = Upstreams(self.upstream, self.tasks, self.clock, policy, metrics, Offloader())
        memory = ContentMemory(64 << 20, metrics)
        manifests = ManifestContents(self.metadata, self.store, memory)
        reading = ManifestService(self.metadata, manifests, upstreams)
        blobs = BlobService(self.metadata, self.store, MemoryFills(self.store), upstreams, memory)
        stores = (self.metadata, self.store, MemoryUploadStore(self.store, self.clock.now))
        self.notes = PullNotes(self.metadata, self.clock)
        self.services = Services(
            rules=self.book,
            manifests=reading,
            blobs=blobs,
            listings=ListingService(self.metadata, upstreams),
            metrics=metrics,
            server=ServerSettings(port=0),
            ready=lambda: True,
            pulls=self.notes,
            **writing(self.book, (reading, blobs), manifests, stores, self.clock, metrics, ecr=policy.ecr),
        )

    def administration(self, identity: RegistryIdentity) -> OfImages:
        locator, services = RepositoryLocator(self.metadata, self.book, identity), self.services
        return OfImages(
            images=ImageAdministration(
                self.metadata,
                locator,
                services.manifests,
                services.pushes,
                services.listings,
                identity,
                self.notes.manifest_pulled,
                Offloader(),
            ),
            layers=LayerAdministration(self.metadata, locator, services.uploads, services.blobs, self.store, identity),
            passwords=RegistryPasswords(b"p" * 32, self.clock),
        )

    def application(self, api: Api) -> Application:
        """Return the main listener, with the distribution API beside the AWS APIs."""
        return build_application(replace(self.services, api=api), mirror=None)
