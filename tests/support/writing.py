"""The services that take what clients push, over stores that a test brings."""

from typing import TypedDict

from proxy.config.settings import UploadSettings
from proxy.core.admission import Admission
from proxy.core.blobs import BlobService
from proxy.core.contents import ManifestContents
from proxy.core.deletions import DeletionService
from proxy.core.imports import Importer
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.ports import BlobStore, Clock
from proxy.core.pushes import PushService
from proxy.core.registry.creation import RepositoryCreator
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.ports import RegistryStore
from proxy.core.repositories import RepositoryService
from proxy.core.rules import RuleBook
from proxy.core.upload_ports import UploadStore
from proxy.core.uploads import UploadService
from proxy.telemetry.metrics import Metrics


class Writing(TypedDict):
    """The fields of `Services` that are about writing."""

    repositories: RepositoryService
    uploads: UploadService
    pushes: PushService
    deletions: DeletionService


def writing(
    rules: RuleBook,
    reading: tuple[ManifestService, BlobService],
    contents: ManifestContents,
    stores: tuple[RegistryStore, BlobStore, UploadStore],
    clock: Clock,
    metrics: Metrics,
    *,
    ecr: bool = False,
    min_free: int = 0,
    sparse: bool = False,
    settings: UploadSettings | None = None,
) -> Writing:
    """Return the services as the composition root makes them; `ecr` is the setting ``compatibility``."""
    manifests, pulling = reading
    metadata, blobs, uploads = stores
    identity = RegistryIdentity(ecr=ecr)
    creator = RepositoryCreator(metadata, identity, clock)
    repositories = RepositoryService(metadata, creator, clock, Policy(identity=identity))
    admission = Admission(blobs, min_free)
    return Writing(
        repositories=repositories,
        uploads=UploadService(
            uploads, blobs, metadata, rules, repositories, admission, settings or UploadSettings(), metrics
        ),
        pushes=PushService(
            metadata,
            contents,
            repositories,
            admission,
            clock,
            metrics,
            blobs=blobs,
            imports=Importer(pulling, manifests, metadata),
            offloader=Offloader(),
            sparse=sparse,
            repeat=not ecr,
        ),
        deletions=DeletionService(metadata, repositories, manifests),
    )
