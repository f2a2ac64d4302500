"""The composition root: settings become objects here, and nowhere else."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from proxy.config.reload import Reloader
from proxy.config.settings import Settings
from proxy.core.admission import Admission
from proxy.core.blobs import BlobService
from proxy.core.clock import SystemClock
from proxy.core.completion import Completer
from proxy.core.contents import ManifestContents
from proxy.core.deletions import DeletionService
from proxy.core.fills import Fills
from proxy.core.imports import BlobImporter
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.policy import Policy
from proxy.core.ports import Sample
from proxy.core.pushes import PushService
from proxy.core.repositories import RepositoryService
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.uploads import UploadService
from proxy.core.upstreams import Upstreams
from proxy.core.validation import RuleValidator, Validation
from proxy.http.server import Server, StartError
from proxy.http.services import Services
from proxy.model.rule import CacheRule
from proxy.storage.blobs import FilesystemBlobStore
from proxy.storage.errors import StoreUnusableError
from proxy.storage.layout import Layout
from proxy.storage.metadata import SqlMetadataStore
from proxy.storage.partials import FilesystemPartialStore
from proxy.storage.threads import Threads
from proxy.storage.uploads import FilesystemUploadStore
from proxy.telemetry.logging import LogControl, configure_logging
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient

_DISK_THREADS = 8


class StartupError(Exception):
    """The server or the store cannot be opened; the message is one sentence that says how to mend it."""


@dataclass(frozen=True, slots=True)
class Core:
    """The services of the product on an open store, as surfaces and commands use them."""

    rules: RuleBook
    manifests: ManifestService
    blobs: BlobService
    completer: Completer
    listings: ListingService
    repositories: RepositoryService
    uploads: UploadService
    pushes: PushService
    deletions: DeletionService
    metrics: Metrics
    tasks: Tasks


@dataclass(frozen=True, slots=True)
class Running:
    """What `run_server` tells once it listens: addresses as (label, URL), the registry's own first."""

    addresses: list[tuple[str, str]]
    settings: Settings


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open the store and build the services on it; several processes may do so at once. Raises `StartupError`.

    Leaving the context ends all background work; fills under way stay resumable.
    """
    clock, metrics = SystemClock(), Metrics()
    layout = Layout(settings.storage.path)
    async with AsyncExitStack() as stack:
        threads = Threads("disk", _DISK_THREADS)
        stack.callback(threads.close)
        blobs = FilesystemBlobStore(layout, threads)
        partials = FilesystemPartialStore(layout, threads)
        uploads = FilesystemUploadStore(layout, threads)
        try:
            await blobs.prepare()
            metadata = await SqlMetadataStore.open(layout.database)
        except StoreUnusableError as error:
            raise StartupError(str(error)) from error
        stack.push_async_callback(metadata.close)
        client = await stack.enter_async_context(UpstreamClient(settings.upstreams, clock, metrics))
        tasks = await stack.enter_async_context(Tasks())
        policy = Policy.of(settings.upstreams, settings.registry)
        upstreams = Upstreams(client, tasks, clock, policy, metrics)
        contents = ManifestContents(metadata, blobs)
        min_free = settings.storage.min_free
        fills = Fills(partials, blobs, tasks, clock, settings.fills, settings.upstreams, min_free, metrics)
        rules = RuleBook(RuleSet.of(settings))
        manifests = ManifestService(metadata, contents, upstreams)
        blob_service = BlobService(metadata, blobs, fills, upstreams)
        admission = Admission(blobs, min_free)
        repositories = RepositoryService(metadata, clock, ecr=policy.ecr, account=settings.registry.account_id)
        sparse = settings.registry.sparse_indexes
        yield Core(
            rules=rules,
            manifests=manifests,
            blobs=blob_service,
            completer=Completer(metadata, blobs, manifests, blob_service, fills, upstreams, metrics),
            listings=ListingService(metadata, upstreams),
            repositories=repositories,
            uploads=UploadService(uploads, blobs, metadata, rules, repositories, admission, settings.uploads, metrics),
            pushes=PushService(
                metadata,
                contents,
                repositories,
                admission,
                clock,
                metrics,
                imports=BlobImporter(blob_service, metadata),
                sparse=sparse,
                repeat=not policy.ecr,
            ),
            deletions=DeletionService(metadata, repositories, manifests),
            metrics=metrics,
            tasks=tasks,
        )


async def validate_rule(settings: Settings, rules: RuleSet, rule: CacheRule, sample: Sample | None) -> Validation:
    """Try the upstream of a rule as the server would, without a store; see `RuleValidator.validate`."""
    policy = Policy.of(settings.upstreams, settings.registry)
    async with UpstreamClient(settings.upstreams, SystemClock(), Metrics()) as client:
        return await RuleValidator(client, policy).validate(rules, rule, sample)


def run_server(settings: Settings, config_path: Path, *, greet: Callable[[Running], None]) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code of the process. Raises `StartupError`."""
    log = configure_logging(settings.log.level, settings.log.format, permanent=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, config_path, log, greet))


async def _serve(settings: Settings, config_path: Path, log: LogControl, greet: Callable[[Running], None]) -> int:
    async with open_core(settings) as core:

        def apply(changed: Settings) -> None:
            core.rules.replace(RuleSet.of(changed))
            log.set_level(changed.log.level)

        reloader = Reloader(config_path, settings, apply, core.metrics, os.environ, RuleSet.of)
        # Before the addresses are known to anyone: an early SIGHUP would end the process.
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.request)
        server = Server(services_of(settings, core), settings.mirrors)
        try:
            await server.start()
        except StartError as error:
            raise StartupError(str(error)) from error
        core.tasks.spawn("reload the configuration", reloader.run())
        core.tasks.spawn("sweep uploads", core.uploads.sweep())
        greet(Running(_addresses(server), settings))
        await server.wait()
        # No new fill begins; those under way serve the answers that still run, then stay behind as partials.
        core.tasks.draining = True
        await server.stop()
    return 0


def services_of(settings: Settings, core: Core) -> Services:
    """Return what the HTTP surfaces need of `core`, under these settings."""
    return Services(
        rules=core.rules,
        manifests=core.manifests,
        blobs=core.blobs,
        pulls=core.completer,
        listings=core.listings,
        repositories=core.repositories,
        uploads=core.uploads,
        pushes=core.pushes,
        deletions=core.deletions,
        metrics=core.metrics,
        server=settings.server,
        ready=lambda: not core.tasks.draining,
        auth=settings.auth,
        chunk_min_length=settings.uploads.chunk_min_length,
    )


def _addresses(server: Server) -> list[tuple[str, str]]:
    found = [("registry", server.address)]
    found += [(f"mirror of {rule}", address) for rule, address in server.mirror_addresses.items()]
    return [
        (label, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}") for label, (host, port) in found
    ]
