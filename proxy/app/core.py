"""The services of the product on an open store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from proxy.app.administration import Parts, Secrets, administer, configured_places, open_secrets
from proxy.app.audit import audit_trail
from proxy.app.store import Store, open_store
from proxy.config.settings import Settings
from proxy.core.admission import Admission
from proxy.core.blobs import BlobService
from proxy.core.clock import SystemClock
from proxy.core.completion import Completer
from proxy.core.contents import ManifestContents
from proxy.core.deletions import DeletionService
from proxy.core.fills import Fills
from proxy.core.imports import Importer
from proxy.core.listings import ListingService
from proxy.core.manifests import ManifestService
from proxy.core.offloading import Offloader
from proxy.core.policy import Policy
from proxy.core.probe_ports import Sample
from proxy.core.pushes import PushService
from proxy.core.registry.administration import Administration
from proxy.core.registry.authorization import RegistryPasswords
from proxy.core.registry.creation import RepositoryCreator
from proxy.core.registry.identity import RegistryIdentity
from proxy.core.registry.images import ImageAdministration
from proxy.core.registry.layers import LayerAdministration
from proxy.core.registry.locator import RepositoryLocator
from proxy.core.registry.pull_notes import PullNotes, PullWatchers
from proxy.core.registry.secrets.resolver import SecretResolver
from proxy.core.repositories import RepositoryService
from proxy.core.rules import RuleBook, RuleSet
from proxy.core.tasks import Tasks
from proxy.core.uploads import UploadService
from proxy.core.upstreams import Upstreams
from proxy.core.validation import RuleValidator, Validation
from proxy.core.warm import ContentMemory
from proxy.model.rule import CacheRule
from proxy.storage.errors import StoreUnusableError
from proxy.storage.keys import load_or_make_keys
from proxy.telemetry.audit import AuditFile, NoAudit
from proxy.telemetry.metrics import Metrics
from proxy.upstream.client import UpstreamClient


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
    administration: Administration
    secrets: Secrets
    notes: PullNotes
    pulls: PullWatchers
    validator: RuleValidator
    metrics: Metrics
    tasks: Tasks
    offloader: Offloader
    audit: AuditFile | NoAudit
    store: Store


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open the store and build the services on it; several processes may do so at once. Raises `StartupError`.

    Leaving the context ends all background work; fills under way stay resumable.
    """
    clock, metrics, identity = SystemClock(), Metrics(), RegistryIdentity.of(settings)
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_store(settings.storage.path))
            secrets = await open_secrets(settings, store.layout, store.metadata, identity, clock)
            keys = await asyncio.to_thread(load_or_make_keys, store.layout, "passwords")
        except StoreUnusableError as error:
            raise StartupError(str(error)) from error
        metadata, audit = store.metadata, audit_trail(settings, metrics)
        stack.callback(audit.close)
        client = await stack.enter_async_context(
            UpstreamClient(settings.upstreams, clock, metrics, secrets=secrets.resolver)
        )
        tasks = await stack.enter_async_context(Tasks())
        policy = Policy.of(settings.upstreams, identity)
        offloader = Offloader()
        stack.callback(offloader.close)
        upstreams = Upstreams(client, tasks, clock, policy, metrics, offloader)
        creator = RepositoryCreator(metadata, identity, clock, audit)
        memory = ContentMemory(settings.storage.memory, metrics)
        contents = ManifestContents(metadata, store.blobs, memory, creator=creator)
        min_free = settings.storage.min_free
        fills = Fills(store.partials, store.blobs, tasks, clock, settings.fills, settings.upstreams, min_free, metrics)
        rules = RuleBook(RuleSet.of(settings))
        manifests = ManifestService(metadata, contents, upstreams)
        blobs = BlobService(metadata, store.blobs, fills, upstreams, memory, creator)
        stack.push_async_callback(blobs.settle)
        admission = Admission(store.blobs, min_free)
        repositories = RepositoryService(metadata, creator, clock, policy)
        uploads = UploadService(
            store.uploads, store.blobs, metadata, rules, repositories, admission, settings.uploads, metrics
        )
        pushes = PushService(
            metadata,
            contents,
            repositories,
            admission,
            clock,
            metrics,
            blobs=store.blobs,
            imports=Importer(blobs, manifests, metadata),
            offloader=offloader,
            sparse=settings.registry.sparse_indexes,
            repeat=not policy.ecr,
        )
        listings = ListingService(metadata, upstreams)
        completer = Completer(metadata, store.blobs, manifests, blobs, fills, upstreams, metrics)
        notes = PullNotes(metadata, clock)
        pulls = PullWatchers(completer, notes)
        locator = RepositoryLocator(metadata, rules, identity)
        parts = Parts(
            settings=settings,
            identity=identity,
            store=metadata,
            rules=rules,
            clock=clock,
            tasks=tasks,
            validator=RuleValidator(client, policy),
            images=ImageAdministration(
                metadata, locator, manifests, pushes, listings, identity, pulls.manifest_pulled, offloader
            ),
            layers=LayerAdministration(metadata, locator, uploads, blobs, store.blobs, identity),
            passwords=RegistryPasswords(keys[0], clock, *keys[1:]),
            offloader=offloader,
            audit=audit,
        )
        administration = administer(parts, secrets)
        await administration.rules.load()
        yield Core(
            rules=rules,
            manifests=manifests,
            blobs=blobs,
            completer=completer,
            listings=listings,
            repositories=repositories,
            uploads=uploads,
            pushes=pushes,
            deletions=DeletionService(metadata, repositories, manifests),
            administration=administration,
            secrets=secrets,
            notes=notes,
            pulls=pulls,
            validator=parts.validator,
            metrics=metrics,
            tasks=tasks,
            offloader=offloader,
            audit=audit,
            store=store,
        )


async def validate_rule(settings: Settings, rules: RuleSet, rule: CacheRule, sample: Sample | None) -> Validation:
    """Try the upstream of a rule as the server would, without a store; see `RuleValidator.validate`."""
    identity, clock = RegistryIdentity.of(settings), SystemClock()
    configured, others = configured_places(settings)
    secrets = SecretResolver([configured, *others], identity, clock)
    async with UpstreamClient(settings.upstreams, clock, Metrics(), secrets=secrets) as client:
        validator = RuleValidator(client, Policy.of(settings.upstreams, identity))
        return await validator.validate(rules, rule, sample)
