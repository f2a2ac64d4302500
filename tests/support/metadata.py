"""What the tests of the metadata stores keep in them."""

from dataclasses import replace

from proxy.core.ports import NO_TAGS, ManifestPush, ManifestRecord, MetadataStore, TagRecord, TagWrite
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_MANIFEST
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, Provenance

REPOSITORY = RepositoryName("docker-hub/library/nginx")
OTHER = RepositoryName("mirror/library/nginx")
HUB = Provenance("registry-1.docker.io/library/nginx", "user:me:env:PASSWORD")
HUB_ANONYMOUS = Provenance(HUB.source, "")
QUAY = Provenance("quay.io/nginx/nginx", HUB.account)
BLOB = Digest.of(b"blob")
SUBJECT = Digest.of(b"subject")


def manifest(text: str = "manifest", **changes: object) -> ManifestRecord:
    record = ManifestRecord(digest=Digest.of(text.encode()), media_type=OCI_MANIFEST, size=len(text))
    return replace(record, **changes)  # type: ignore[arg-type] # the fields are the test's to choose


def tag(name: str = "latest", **changes: object) -> TagRecord:
    record = TagRecord(
        tag=Tag(name),
        digest=manifest().digest,
        media_type=OCI_MANIFEST,
        source=HUB.source,
        fetched_at=100.5,
        checked_at=200.25,
    )
    return replace(record, **changes)  # type: ignore[arg-type] # the fields are the test's to choose


def pushed(name: str, text: str) -> TagRecord:
    """Return the tag `name` as a push of the manifest `text` makes it."""
    return tag(name, digest=manifest(text).digest, source=UPLOADED)


def push_of(text: str, *tags: str, write: TagWrite = NO_TAGS) -> ManifestPush:
    """Return a push of the manifest `text` that needs nothing, by `tags`, on the terms of `write`."""
    return ManifestPush(manifest(text), tags=replace(write, records=tuple(pushed(name, text) for name in tags)))


async def remember(
    store: MetadataStore,
    record: ManifestRecord | None = None,
    *children: Descriptor,
    repository: RepositoryName = REPOSITORY,
    provenance: Provenance | None = HUB,
    tag: TagRecord | None = None,
) -> None:
    tags = None if tag is None else TagWrite((tag,))
    await store.remember(repository, record or manifest(), children, provenance=provenance, tags=tags)
