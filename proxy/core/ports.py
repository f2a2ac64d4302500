"""The ports of the product: what core asks of a clock, of upstream registries and of storage.

Every implementation passes the contract suite of its port in ``tests/contract``.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from proxy.core.registry.records import PLAIN, RepositoryDetails
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance, Remote
from proxy.model.tag_policy import ALL_TAGS_MOVE, TagPolicy


class Clock(Protocol):
    """The time, so that tests can set it."""

    def now(self) -> float:
        """Return seconds since the epoch, for what is stored."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go back, for intervals in this process."""


# --- upstream -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ManifestHead:
    """What an upstream's HEAD of a manifest told; `digest` is None where it named none (then GET and hash)."""

    digest: Digest | None
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class FetchedManifest:
    """A manifest as an upstream sent it: bytes verbatim, type without parameters, digest computed from the bytes."""

    raw: bytes
    media_type: str
    digest: Digest


class BlobBody(Protocol):
    """An upstream's answer to a GET of a blob.

    The bytes are [`start`, `stop`) of the blob, whose whole size is `total`. `validator` is what to present when the
    transfer is resumed, opaque ("" for nothing that could be compared).
    """

    start: int
    stop: int
    total: int
    validator: str

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in order; raise `UpstreamError` where the transfer breaks off, stalls or runs too long."""


class Upstream(Protocol):
    """Upstream registries. Every method raises `UpstreamError`, and nothing else, when the upstream fails.

    Implementations keep tokens, limits and breakers; they never store content. Digests are hints of the upstream
    until the caller has hashed the bytes, except `FetchedManifest.digest`.
    """

    async def head_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> ManifestHead:
        """Ask what `reference` is, with one HEAD; `retry` permits repeats inside the time budget."""

    async def get_manifest(self, remote: Remote, reference: Tag | Digest, *, retry: bool) -> FetchedManifest:
        """Fetch a manifest. By digest, other bytes are refused (GARBAGE); schema1 conversions always are."""

    async def head_blob(self, remote: Remote, digest: Digest) -> int:
        """Return the size of a blob that the upstream repository shows to hold; NOT_FOUND where it does not."""

    def open_blob(
        self, remote: Remote, digest: Digest, start: int = 0, validator: str = "", stop: int | None = None
    ) -> AbstractAsyncContextManager[BlobBody]:
        """Open the bytes [`start`, `stop`) of a blob; None means to its end.

        Where that is not the whole blob the request carries Range (and If-Range with `validator`). The body holds
        those bytes, or more, up to the end of the blob: an upstream that ignores the range, or changes entity or
        length, yields a body whose `start`, `stop`, `total` or `validator` differ: the caller decides.
        Leaving the context closes the transfer.
        """

    async def list_tags(self, remote: Remote, *, retry: bool = True) -> Sequence[str]:
        """Return all tags of the repository, following pages, in byte order; too many pages is GARBAGE."""

    async def list_referrers(self, remote: Remote, subject: Digest, *, retry: bool = True) -> Sequence[Descriptor]:
        """Return all referrers of `subject` by the referrers API; UNSUPPORTED where the upstream has none."""

    def hesitates(self, remote: Remote) -> str | None:
        """Say in one word why a kept tag had better not be checked now (`budget`: few pulls are left), or None."""


# --- blobs --------------------------------------------------------------------------------------------------------


class BlobFile(Protocol):
    """The open file of a blob, for whoever can have the kernel send it: byte N of the blob is byte N of the file.

    It belongs to the reader that gave it, and is closed with it.
    """

    def fileno(self) -> int:
        """Return the descriptor. Raises ValueError once it is closed."""

    def at_hand(self, position: int, size: int) -> bool:
        """Tell whether these bytes are in memory, so that no device would be waited for; never blocks.

        It is a guess: it looks at both ends. Raises OSError where the file cannot be read.
        """

    async def fetch(self, position: int, size: int) -> None:
        """Have these bytes brought into memory. Raises OSError where the file cannot be read."""


class BlobReader(Protocol):
    """An open, complete, verified blob. Stays readable when the blob is deleted. `close` once, when done."""

    size: int

    async def read(self, position: int, size: int) -> bytes:
        """Return up to `size` bytes from `position`; empty only at or past the end."""

    def file(self) -> BlobFile | None:
        """Return the blob's file; None where it is in none, or in one that cannot tell what is in memory."""

    def close(self) -> None:
        """Release the blob; idempotent."""


class BlobWriter(Protocol):
    """Bytes on their way into the store; nothing is readable before `commit`."""

    async def write(self, data: bytes) -> None:
        """Append `data`."""

    async def commit(self) -> None:
        """Verify the digest, make the blob durable and readable; else keep nothing and raise `DigestMismatchError`."""


class DigestMismatchError(Exception):
    """The bytes written are not the content that the digest names."""


class StorageFullError(Exception):
    """The store has no room, or cannot be written."""


class BlobStore(Protocol):
    """Content-addressed bytes. A digest is absent, or complete and verified; never partial.

    Writes raise `StorageFullError` where the device is full or read-only.
    """

    async def stat(self, digest: Digest) -> int | None:
        """Return the size of a stored blob, or None."""

    async def open(self, digest: Digest) -> BlobReader | None:
        """Open a stored blob, or return None. The caller closes the reader."""

    def writer(self, expected: Digest) -> AbstractAsyncContextManager[BlobWriter]:
        """Begin a blob; leaving without `commit` leaves no trace. Committing a stored digest is a success."""

    async def delete(self, digest: Digest) -> bool:
        """Remove a blob; tell whether it was there. Open readers go on."""

    def scan(self) -> AsyncIterator[tuple[Digest, int]]:
        """Yield (digest, size) of every stored blob, in no particular order."""

    async def free(self) -> int:
        """Return the bytes that can still be written."""


# --- metadata -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TagRecord:
    """What a tag pointed to when it was last fetched. Times are seconds since the epoch.

    `source` is the `Provenance.source` it came from ("" for pushed). `outcome` is "ok" or the `UpstreamFailure` of
    the last check; `checked_at` the time of the last successful check, `failed_at` of the last failed one (0: none
    since). `missing_since` is when the upstream first said 404 for certain (0: it did not).
    """

    tag: Tag
    digest: Digest
    media_type: str
    source: str
    fetched_at: float
    checked_at: float
    outcome: str = "ok"
    failed_at: float = 0.0
    missing_since: float = 0.0


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """A stored manifest as one repository holds it; its bytes are in the blob store under `digest`."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str | None = None
    subject: Digest | None = None
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TagWrite:
    """Tags that are to point to a manifest, and what decides whether they may.

    The repository's own policy decides, `default` where it has none. With `repeat`, a tag that is kept from moving may
    be written again with the digest that it has; ECR refuses that. Tags that came from one of `spared` are never
    written: what a client has pushed must not be undone by a check of the upstream that began before. With `anew`, no
    tag is written that has the digest already, whatever the policy.
    """

    records: tuple[TagRecord, ...] = ()
    default: TagPolicy = ALL_TAGS_MOVE
    repeat: bool = True
    spared: tuple[str, ...] = ()
    anew: bool = False

    def may_replace(self, kept: TagRecord, record: TagRecord, own: TagPolicy | None) -> bool:
        """Tell whether `record` may take the place of `kept` in a repository with the policy `own`."""
        if kept.source in self.spared or (self.anew and kept.digest == record.digest):
            return False
        return (own or self.default).may_move(kept.tag) or (self.repeat and kept.digest == record.digest)


NO_TAGS = TagWrite()


@dataclass(frozen=True, slots=True)
class ManifestPush:
    """A manifest that a client pushes.

    `blobs` must be proven in the repository, `manifests` held there (or proven: an index may name blobs).
    """

    manifest: ManifestRecord
    children: tuple[Descriptor, ...] = ()
    blobs: frozenset[Digest] = frozenset()
    manifests: frozenset[Digest] = frozenset()
    tags: TagWrite = NO_TAGS


@dataclass(frozen=True, slots=True)
class RepositoryRecord:
    """A repository; `created_at` is in seconds since the epoch. Without a `tag_policy` the configuration says it."""

    name: RepositoryName
    created_at: float
    tag_policy: TagPolicy | None = None
    details: RepositoryDetails = PLAIN


class TagKeptError(Exception):
    """Nothing was written: a tag is kept from moving. `record` is what it is."""

    def __init__(self, record: TagRecord) -> None:
        """Keep the tag as it stands."""
        super().__init__(f"the tag {record.tag} is kept from moving")
        self.record = record


class ContentMissingError(Exception):
    """Nothing was written: the manifest names content that the repository does not hold. `digests` are in order."""

    def __init__(self, digests: Sequence[Digest]) -> None:
        """Keep what is missing."""
        super().__init__(f"{len(digests)} of the digests are not in the repository")
        self.digests = tuple(digests)


class ManifestKeptError(Exception):
    """Nothing was written: the repository holds the manifest as one of another media type, which is in `record`."""

    def __init__(self, record: ManifestRecord) -> None:
        """Keep the manifest as it is held."""
        super().__init__(f"the manifest {record.digest} is kept as {record.media_type}")
        self.record = record


class RepositoryUnknownError(Exception):
    """Nothing was written: there is no such repository."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as an upstream gave it (tags, referrers): an opaque document and when it was fetched and last checked."""

    document: bytes
    checked_at: float
    failed_at: float = 0.0


class Catalog(Protocol):
    """Repositories and their tags. Each method is one transaction; what it wrote survives power loss when it returns.

    Names are ordered by bytes.
    """

    async def repositories(self, after: str, limit: int, spans: Sequence[NameSpan] = ALL_NAMES) -> list[RepositoryName]:
        """Return up to `limit` repository names greater than `after`, of those in `spans`.

        These are in order and apart, as `join_spans` makes them. What is not in them costs nothing.
        """

    async def has_repository(self, repository: RepositoryName) -> bool:
        """Tell whether the repository is known."""

    async def tag(self, repository: RepositoryName, tag: Tag) -> TagRecord | None:
        """Return the tag, or None."""

    async def tags(
        self, repository: RepositoryName, sources: Sequence[str] | None, after: str, limit: int
    ) -> list[Tag]:
        """Return up to `limit` tags greater than `after` that came from one of `sources` (None: from anywhere)."""

    async def update_tag(self, repository: RepositoryName, record: TagRecord) -> None:
        """Replace the check times and outcome of a tag that still has `record.digest`; otherwise change nothing."""

    async def delete_tag(self, repository: RepositoryName, tag: Tag, source: str | None = None) -> bool:
        """Remove a tag that came from `source` (None: from anywhere); tell whether it was there."""

    async def delete_repository(self, repository: RepositoryName) -> bool:
        """Remove a repository with its tags, manifests, proofs and listings; tell whether it was there."""


class Repositories(Protocol):
    """Repositories themselves. Each method is one transaction; what it wrote survives power loss when it returns."""

    async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
        """Return the repository, or None."""

    async def create_repository(self, record: RepositoryRecord) -> bool:
        """Make the repository; tell whether it was not there before. An existing one is left as it is."""

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy | None) -> bool:
        """Give the repository a policy of its own, or none; tell whether there is such a repository.

        Tags that are written after this returns obey it, in every process.
        """


class Manifests(Protocol):
    """Which manifests a repository holds, and what they point to. Each method is one durable transaction.

    Where a `Provenance` is asked for, only content that came from its source into this repository, or from its
    source through the same account into any repository, answers; None asks for whatever the repository holds.
    """

    async def remember(
        self,
        repository: RepositoryName,
        manifest: ManifestRecord,
        children: Sequence[Descriptor],
        *,
        provenance: Provenance | None,
        tags: TagWrite | None,
    ) -> None:
        """Keep the repository, the manifest, its children and the tags together, or nothing.

        Raises `TagKeptError`, decided in the transaction that writes, over all processes.
        """

    async def push(self, repository: RepositoryName, push: ManifestPush, provenance: Provenance | None) -> None:
        """Keep an uploaded manifest, its children and its tags together, or nothing.

        Everything is decided in the transaction that writes, over all processes. What the manifest names must be
        visible to `provenance`. Raises `RepositoryUnknownError`, `ContentMissingError`, `ManifestKeptError` where the
        repository holds it, from anywhere, as one of another media type, `TagKeptError`, in this order.
        """

    async def manifest(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> ManifestRecord | None:
        """Return a manifest that the repository holds, or None."""

    async def descriptor(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Descriptor | None:
        """Return the descriptor by which a manifest of this repository (from that source) names `digest`, or None."""

    async def manifests_naming(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> list[Digest]:
        """Return the manifests (from that source) that name `digest` among their children, in order of digest."""

    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[ManifestRecord]:
        """Return up to `limit` manifests of the repository whose subject is `subject`, in order of digest.

        Only those of `artifact_type` (None: of any), and whose digest, as text, is greater than `after`. Fewer, but
        one at least if there are any, where they are large: each may have megabytes of annotations.
        """

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest from the repository with the tags that point to it; tell whether it was there."""


class Proofs(Protocol):
    """Which blobs a repository may serve (design "proof before bytes"). Each method is one durable transaction."""

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        """Keep that the repository holds the blob: shown by its upstream, or (None) uploaded or mounted.

        A repository that is not known is made; unless `make`: then nothing is kept. Tell whether it was kept.
        """

    async def proven(self, repository: RepositoryName, digest: Digest, provenance: Provenance | None) -> bool:
        """Tell whether the blob was uploaded here, or shown by this source here or through the same account anywhere.

        None (a hosted repository) asks for any proof of this repository.
        """

    async def standing(self, repository: RepositoryName, digest: Digest, provenance: Provenance) -> tuple[bool, bool]:
        """Return what `proven` tells of the provenance, and of None, at one moment."""

    async def disprove(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove the repository's proofs of the blob; tell whether it had any."""

    async def holders(self, digest: Digest, limit: int) -> list[RepositoryName]:
        """Return up to `limit` repositories that have any proof of the blob, in no particular order."""


class Listings(Protocol):
    """Lists as upstreams gave them. Each method is one durable transaction."""

    async def listing(self, repository: RepositoryName, key: str, source: str) -> Listing | None:
        """Return the list kept under `key` that came from `source`, or None."""

    async def keep_listing(self, repository: RepositoryName, key: str, source: str, listing: Listing) -> None:
        """Keep a list, replacing any under `key`."""


class Changes(Protocol):
    """Whether anything was written to the metadata, by whichever process."""

    def generation(self) -> object:
        """Return a value that stands for the metadata as they are now, to be compared with others and nothing else.

        It equals an earlier one only if no transaction of any process wrote anything in between; a write has changed
        it when it returns to its caller. What is read after a generation was returned is at least as new as that. It
        is asked for on the loop, with each request: it waits for nothing. A store that cannot know returns another
        each time.
        """


class MetadataStore(Catalog, Repositories, Manifests, Proofs, Listings, Changes, Protocol):
    """All metadata ports, as one store implements them."""

    async def close(self) -> None:
        """Release the store; no other call may follow."""
