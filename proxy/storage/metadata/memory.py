"""Metadata in memory: the twin of the SQL store, for tests. Every method runs without a pause, so it is atomic."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from proxy.core.ports import (
    ContentMissingError,
    Listing,
    ManifestKeptError,
    ManifestPush,
    ManifestRecord,
    RepositoryRecord,
    RepositoryUnknownError,
    TagKeptError,
    TagRecord,
    TagWrite,
)
from proxy.core.registry.ports import NotEmptyError
from proxy.core.registry.records import PLAIN, ImageRecord, PullNote, RepositoryDetails
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import IMAGES, INDEXES
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import UPLOADED, Provenance
from proxy.model.tag_policy import TagPolicy
from proxy.storage.metadata.memory_administration import MemoryAdministration
from proxy.storage.metadata.pages import page_of

_UPLOADED = Provenance(UPLOADED, UPLOADED)


@dataclass
class _Held:
    """What one repository got from one provenance."""

    manifests: dict[Digest, ManifestRecord] = field(default_factory=dict)
    children: dict[Digest, tuple[Descriptor, ...]] = field(default_factory=dict)
    proofs: set[Digest] = field(default_factory=set)


@dataclass
class _Repository:
    created_at: float = field(default_factory=time.time)
    policy: TagPolicy | None = None
    details: RepositoryDetails = PLAIN
    pushed_at: dict[Digest, float] = field(default_factory=dict)
    pulled_at: dict[Digest, float] = field(default_factory=dict)
    tags: dict[Tag, TagRecord] = field(default_factory=dict)
    held: dict[Provenance, _Held] = field(default_factory=dict)


class MemoryMetadataStore(MemoryAdministration):
    """The `RegistryStore` port over dictionaries."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._repositories: dict[RepositoryName, _Repository] = {}
        self._listings: dict[tuple[RepositoryName, str], tuple[str, Listing]] = {}

    async def repositories(self, after: str, limit: int, spans: Sequence[NameSpan] = ALL_NAMES) -> list[RepositoryName]:
        """Return up to `limit` repository names greater than `after`, of those in `spans`."""
        return sorted(
            name
            for name in self._repositories
            if name > after and any(span.after < name < span.before for span in spans)
        )[:limit]

    async def has_repository(self, repository: RepositoryName) -> bool:
        """Tell whether the repository is known."""
        return repository in self._repositories

    async def tag(self, repository: RepositoryName, tag: Tag) -> TagRecord | None:
        """Return the tag, or None."""
        return self._tags(repository).get(tag)

    async def tags(
        self, repository: RepositoryName, sources: Sequence[str] | None, after: str, limit: int
    ) -> list[Tag]:
        """Return up to `limit` tags greater than `after` that came from one of `sources` (None: from anywhere)."""
        records = self._tags(repository).values()
        return sorted(r.tag for r in records if r.tag > after and (sources is None or r.source in sources))[:limit]

    async def update_tag(self, repository: RepositoryName, record: TagRecord) -> None:
        """Replace the check times and outcome of a tag that still has `record.digest`; otherwise change nothing."""
        self._wrote()
        known = self._tags(repository).get(record.tag)
        if known is not None and known.digest == record.digest:
            self._tags(repository)[record.tag] = replace(
                known,
                checked_at=record.checked_at,
                outcome=record.outcome,
                failed_at=record.failed_at,
                missing_since=record.missing_since,
            )

    async def delete_tag(self, repository: RepositoryName, tag: Tag, source: str | None = None) -> bool:
        """Remove a tag that came from `source` (None: from anywhere); tell whether it was there."""
        self._wrote()
        known = self._tags(repository).get(tag)
        if known is None or source not in {None, known.source}:
            return False
        del self._tags(repository)[tag]
        return True

    async def delete_repository(self, repository: RepositoryName) -> bool:
        """Remove a repository with all that hangs on it; tell whether it was there."""
        self._wrote()
        for key in [key for key in self._listings if key[0] == repository]:
            del self._listings[key]
        return self._repositories.pop(repository, None) is not None

    async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
        """Return the repository, or None."""
        known = self._repositories.get(name)
        return None if known is None else _record(name, known)

    async def create_repository(self, record: RepositoryRecord) -> bool:
        """Make the repository; tell whether it was not there before."""
        self._wrote()
        if record.name in self._repositories:
            return False
        self._repositories[record.name] = _Repository(record.created_at, record.tag_policy, record.details)
        return True

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy | None) -> bool:
        """Give the repository a policy of its own, or none; tell whether there is such a repository."""
        self._wrote()
        known = self._repositories.get(name)
        if known is not None:
            known.policy = policy
        return known is not None

    async def remember(
        self,
        repository: RepositoryName,
        manifest: ManifestRecord,
        children: Sequence[Descriptor],
        *,
        provenance: Provenance | None,
        tags: TagWrite | None,
    ) -> None:
        """Keep the repository, the manifest, its children and the tags together, or raise `TagKeptError`."""
        self._wrote()
        self._check_tags(repository, tags or TagWrite())
        self._keep(self._hold(repository, provenance), manifest, children)
        self._repositories[repository].pushed_at.setdefault(manifest.digest, time.time())
        self._tags(repository).update({record.tag: record for record in (tags or TagWrite()).records})

    async def push(self, repository: RepositoryName, push: ManifestPush, provenance: Provenance | None) -> None:
        """Keep an uploaded manifest, its children and its tags together, or nothing."""
        self._wrote()
        if repository not in self._repositories:
            raise RepositoryUnknownError
        visible = list(self._visible(repository, provenance))
        proven = {digest for held in visible for digest in held.proofs}
        held = {digest for held in visible for digest in held.manifests}
        if missing := (push.blobs - proven) | (push.manifests - proven - held):
            raise ContentMissingError(sorted(missing))
        for each in self._visible(repository, None):
            kept = each.manifests.get(push.manifest.digest)
            if kept is not None and kept.media_type != push.manifest.media_type:
                raise ManifestKeptError(kept)
        self._check_tags(repository, push.tags)
        self._keep(self._hold(repository, None), push.manifest, push.children)
        self._repositories[repository].pushed_at.setdefault(push.manifest.digest, time.time())
        self._tags(repository).update({record.tag: record for record in push.tags.records})

    async def manifest(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> ManifestRecord | None:
        """Return a manifest that the repository holds, or None."""
        found = (held.manifests.get(digest) for held in self._visible(repository, provenance))
        return next((manifest for manifest in found if manifest is not None), None)

    async def descriptor(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Descriptor | None:
        """Return the descriptor by which a manifest of this repository (from that source) names `digest`, or None."""
        for held in self._visible(repository, provenance):
            for children in held.children.values():
                for child in children:
                    if child.digest == digest:
                        return child
        return None

    async def manifests_naming(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> list[Digest]:
        """Return the manifests (from that source) that name `digest` among their children, in order of digest."""
        naming = {
            manifest
            for held in self._visible(repository, provenance)
            for manifest, children in held.children.items()
            if any(child.digest == digest for child in children)
        }
        return sorted(naming, key=str)

    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[ManifestRecord]:
        """Return up to `limit` manifests of the repository whose subject is `subject`, in order of digest.

        Fewer, but one at least, where they are large.
        """
        found = [
            manifest
            for held in self._visible(repository, None)
            for manifest in held.manifests.values()
            if manifest.subject == subject
            and artifact_type in {None, manifest.artifact_type}
            and str(manifest.digest) > after
        ]
        return page_of(sorted(found, key=lambda manifest: str(manifest.digest)), limit)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest from the repository with the tags that point to it; tell whether it was there."""
        self._wrote()
        tags = self._tags(repository)
        for tag in [record.tag for record in tags.values() if record.digest == digest]:
            del tags[tag]
        known = False
        for held in self._visible(repository, None):
            known |= held.manifests.pop(digest, None) is not None
            held.children.pop(digest, None)
        if known:
            here = self._repositories[repository]
            here.pushed_at.pop(digest, None)
            here.pulled_at.pop(digest, None)
        return known

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        """Keep that the repository holds the blob: shown by its upstream, or (None) uploaded or mounted."""
        self._wrote()
        if not make and repository not in self._repositories:
            return False
        self._hold(repository, provenance).proofs.add(digest)
        return True

    async def proven(self, repository: RepositoryName, digest: Digest, provenance: Provenance | None) -> bool:
        """Tell whether the blob was uploaded here, or shown by this source here or through the same account."""
        return any(digest in held.proofs for held in self._visible(repository, provenance))

    async def standing(self, repository: RepositoryName, digest: Digest, provenance: Provenance) -> tuple[bool, bool]:
        """Return what `proven` tells of the provenance, and of None."""
        return await self.proven(repository, digest, provenance), await self.proven(repository, digest, None)

    async def disprove(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove the repository's proofs of the blob; tell whether it had any."""
        self._wrote()
        proven = [held for held in self._visible(repository, None) if digest in held.proofs]
        for held in proven:
            held.proofs.discard(digest)
        return bool(proven)

    async def holders(self, digest: Digest, limit: int) -> list[RepositoryName]:
        """Return up to `limit` repositories that have any proof of the blob, in no particular order."""
        known = self._repositories.items()
        return [name for name, it in known if any(digest in held.proofs for held in it.held.values())][:limit]

    async def listing(self, repository: RepositoryName, key: str, source: str) -> Listing | None:
        """Return the list kept under `key` that came from `source`, or None."""
        known = self._listings.get((repository, key))
        return known[1] if known is not None and known[0] == source else None

    async def keep_listing(self, repository: RepositoryName, key: str, source: str, listing: Listing) -> None:
        """Keep a list, replacing any under `key`."""
        self._wrote()
        self._listings[repository, key] = (source, listing)

    async def repository_records(
        self, after: str, limit: int, spans: Sequence[NameSpan] = ALL_NAMES
    ) -> list[RepositoryRecord]:
        """Return up to `limit` repositories whose names are greater than `after`, in order of name, of `spans`."""
        names = await self.repositories(after, limit, spans)
        return [_record(name, self._repositories[name]) for name in names]

    async def records_of(self, names: Sequence[RepositoryName]) -> list[RepositoryRecord]:
        """Return those of some repositories that there are."""
        return [_record(name, self._repositories[name]) for name in names if name in self._repositories]

    async def policed_repositories(self, after: str, limit: int) -> list[RepositoryRecord]:
        """Return up to `limit` repositories with a policy of their own and names greater than `after`, in order."""
        policed = sorted(
            name for name, known in self._repositories.items() if name > after and known.details.policy is not None
        )
        return [_record(name, self._repositories[name]) for name in policed[:limit]]

    async def alter_repository(
        self, name: RepositoryName, change: Callable[[RepositoryRecord], RepositoryRecord]
    ) -> RepositoryRecord | None:
        """Replace tag policy and details by what `change` makes of them."""
        self._wrote()
        known = self._repositories.get(name)
        if known is None:
            return None
        changed = change(_record(name, known))
        known.policy, known.details = changed.tag_policy, changed.details
        return changed

    async def remove_repository(self, name: RepositoryName, *, force: bool) -> RepositoryRecord | None:
        """Remove a repository with all that hangs on it and return it, or None."""
        known = self._repositories.get(name)
        if known is None:
            return None
        if not force and any(held.manifests for held in known.held.values()):
            raise NotEmptyError
        await self.delete_repository(name)
        return _record(name, known)

    async def images(
        self, repository: RepositoryName, after: str, limit: int, *, tagged: bool | None = None
    ) -> list[ImageRecord]:
        """Return up to `limit` images whose digests are greater than `after`, in order of digest."""
        found = self._images(repository)
        chosen = [one for one in found if str(one.digest) > after and tagged in {None, bool(one.tags)}]
        return chosen[:limit]

    async def images_named(
        self, repository: RepositoryName, digests: Sequence[Digest], tags: Sequence[Tag]
    ) -> list[ImageRecord]:
        """Return the images that have one of `digests` or `tags`, in order of digest."""
        return [one for one in self._images(repository) if one.digest in digests or not set(tags).isdisjoint(one.tags)]

    async def parents(self, repository: RepositoryName, digests: Iterable[Digest]) -> dict[Digest, set[Digest]]:
        """Return which manifests kept in the repository name each of `digests` among their children."""
        naming = self._naming(repository)
        return {digest: naming[digest] for digest in digests if digest in naming}

    async def remove_tag(self, repository: RepositoryName, tag: Tag, digest: Digest | None) -> Digest | None:
        """Remove a tag, and its manifest if that was its last tag."""
        self._wrote()
        record = self._tags(repository).get(tag)
        if record is None or digest not in {None, record.digest}:
            return None
        del self._tags(repository)[tag]
        if all(other.digest != record.digest for other in self._tags(repository).values()):
            await self.remove_images(repository, [record.digest])
        return record.digest

    async def remove_images(self, repository: RepositoryName, digests: Sequence[Digest]) -> list[Digest]:
        """Remove manifests with all their tags."""
        going, naming = set(digests), self._naming(repository)
        while kept := {one for one in going if naming.get(one, set()) - going}:
            going -= kept
        there = {one.digest for one in self._images(repository)}
        removed = [one for one in dict.fromkeys(digests) if one in going and one in there]
        for one in removed:
            await self.delete_manifest(repository, one)
        return removed

    async def remove_unchanged(self, repository: RepositoryName, images: Sequence[ImageRecord]) -> list[Digest]:
        """Remove images whose tags and last pull are still as the records say."""
        now = {one.digest: (one.tags, one.pulled_at) for one in self._images(repository)}
        same = [one.digest for one in images if now.get(one.digest) == (one.tags, one.pulled_at)]
        return await self.remove_images(repository, same)

    async def note_pulls(self, notes: Sequence[PullNote]) -> None:
        """Keep when images were last pulled."""
        self._wrote()
        for note in notes:
            known = self._repositories.get(note.repository)
            if known is not None and note.digest in known.pushed_at:
                known.pulled_at[note.digest] = max(note.at, known.pulled_at.get(note.digest, note.at))

    async def close(self) -> None:
        """Release nothing."""

    def _tags(self, repository: RepositoryName) -> dict[Tag, TagRecord]:
        known = self._repositories.get(repository)
        return known.tags if known is not None else {}

    def _naming(self, repository: RepositoryName) -> dict[Digest, set[Digest]]:
        """Return which manifests of the repository name a digest."""
        naming: dict[Digest, set[Digest]] = {}
        for held in self._visible(repository, None):
            for manifest, children in held.children.items():
                for child in children:
                    naming.setdefault(child.digest, set()).add(manifest)
        return naming

    def _images(self, repository: RepositoryName) -> list[ImageRecord]:
        known = self._repositories.get(repository)
        if known is None:
            return []
        manifests = {digest: one for held in known.held.values() for digest, one in held.manifests.items()}
        children = {digest: some for held in known.held.values() for digest, some in held.children.items()}
        images = {digest: _content(some) for digest, some in children.items()}
        sizes = images | {
            digest: max((images.get(child.digest, 0) for child in children[digest]), default=0)
            for digest, manifest in manifests.items()
            if manifest.media_type in INDEXES
        }
        return [
            ImageRecord(
                digest=digest,
                media_type=manifest.media_type,
                size=manifest.size,
                content_size=sizes.get(digest, 0),
                pushed_at=known.pushed_at[digest],
                tags=tuple(sorted(tag.tag for tag in known.tags.values() if tag.digest == digest)),
                artifact_type=manifest.artifact_type,
                subject=manifest.subject,
                pulled_at=known.pulled_at.get(digest),
            )
            for digest, manifest in sorted(manifests.items(), key=lambda item: str(item[0]))
        ]

    def _check_tags(self, repository: RepositoryName, write: TagWrite) -> None:
        known = self._repositories.get(repository)
        for record in write.records:
            kept = known.tags.get(record.tag) if known is not None else None
            if known is not None and kept is not None and not write.may_replace(kept, record, known.policy):
                raise TagKeptError(kept)

    @staticmethod
    def _keep(held: _Held, manifest: ManifestRecord, children: Sequence[Descriptor]) -> None:
        held.manifests[manifest.digest] = manifest
        held.children[manifest.digest] = tuple(children)

    def _hold(self, repository: RepositoryName, provenance: Provenance | None) -> _Held:
        held = self._repositories.setdefault(repository, _Repository()).held
        return held.setdefault(provenance or _UPLOADED, _Held())

    def _visible(self, repository: RepositoryName, provenance: Provenance | None) -> Iterator[_Held]:
        for name, known in self._repositories.items():
            for origin, held in known.held.items():
                here = name == repository and (
                    provenance is None or origin == _UPLOADED or origin.source == provenance.source
                )
                if here or origin == provenance:
                    yield held


def _record(name: RepositoryName, known: _Repository) -> RepositoryRecord:
    return RepositoryRecord(name, known.created_at, known.policy, known.details)


def _content(children: Iterable[Descriptor]) -> int:
    content = {child.digest: child.size for child in children if child.media_type not in INDEXES | IMAGES}
    return sum(content.values())
