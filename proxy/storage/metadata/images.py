"""The `Images` port in SQL.

A page of a repository costs what is on it, however many images there are: each provenance gives its first rows out of
an index, in order, and they are merged here. One query for all provenances would sort all that follows the page.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, exists, func, or_, select, update
from sqlalchemy.engine import Connection

from proxy.core.registry.records import ImageRecord, PullNote
from proxy.model.digest import Digest
from proxy.model.media_types import IMAGES, INDEXES
from proxy.model.reference import RepositoryName, Tag
from proxy.storage.metadata.provenances import OnDatabase, known_id, parts_of
from proxy.storage.metadata.schema import descriptors, manifests, provenances, repositories, tags
from proxy.storage.metadata.tagging import note_tags

_MANIFESTS: Final = sorted(INDEXES | IMAGES)

_HELD: Final = select(
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.size,
    manifests.c.artifact_type,
    manifests.c.subject,
    manifests.c.pushed_at,
    manifests.c.pulled_at,
).order_by(manifests.c.digest)

_NOTE_PULL: Final = (
    update(manifests)
    .where(
        manifests.c.provenance_id.in_(
            select(provenances.c.id)
            .join(repositories, provenances.c.repository_id == repositories.c.id)
            .where(repositories.c.name == bindparam("repository"))
        ),
        manifests.c.digest == bindparam("image"),
        # Processes write their notes when they come to it: a later pull may be written already.
        or_(manifests.c.pulled_at.is_(None), manifests.c.pulled_at < bindparam("at")),
    )
    .values(pulled_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A manifest of a repository, from whichever of its provenances."""

    digest: str
    media_type: str
    size: int
    artifact_type: str | None
    subject: str | None
    pushed_at: float
    pulled_at: float | None

    def merged(self, other: "_Row | None") -> "_Row":
        """Return what both rows of one manifest say: the first push, the last pull."""
        if other is None:
            return self
        pulled = [at for at in (self.pulled_at, other.pulled_at) if at is not None]
        pushed_at = min(self.pushed_at, other.pushed_at)
        return _Row(
            self.digest,
            self.media_type,
            self.size,
            self.artifact_type,
            self.subject,
            pushed_at,
            max(pulled, default=None),
        )


class SqlImages(OnDatabase):
    """Manifests as images, whatever provenance they have."""

    async def images(
        self, repository: RepositoryName, after: str, limit: int, *, tagged: bool | None = None
    ) -> list[ImageRecord]:
        """Return up to `limit` images whose digests are greater than `after`, in order of digest."""

        def work(connection: Connection) -> list[ImageRecord]:
            here = _Repository.find(connection, repository)
            if here is None:
                return []
            return here.records(here.tagged_page(after, limit) if tagged else here.page(after, limit, tagged=tagged))

        return await self._database.read("images.page", work)

    async def images_named(
        self, repository: RepositoryName, digests: Sequence[Digest], names: Sequence[Tag]
    ) -> list[ImageRecord]:
        """Return the images that have one of `digests` or tags, in order of digest."""

        def work(connection: Connection) -> list[ImageRecord]:
            here = _Repository.find(connection, repository)
            if here is None:
                return []
            return here.records(here.among({*map(str, digests), *here.digests_of(names)}))

        return await self._database.read("images.named", work)

    async def parents(self, repository: RepositoryName, digests: Iterable[Digest]) -> dict[Digest, set[Digest]]:
        """Return which manifests kept in the repository name each of `digests` among their children."""
        wanted = list(map(str, digests))

        def work(connection: Connection) -> set[tuple[str, str]]:
            here = _Repository.find(connection, repository)
            return here.naming(wanted) if here is not None else set()

        found: dict[Digest, set[Digest]] = {}
        for child, parent in await self._database.read("images.parents", work):
            found.setdefault(Digest.parse(child), set()).add(Digest.parse(parent))
        return found

    async def remove_tag(self, repository: RepositoryName, tag: Tag, digest: Digest | None) -> Digest | None:
        """Remove a tag, and its manifest if that was its last tag."""

        def work(connection: Connection) -> Digest | None:
            here = _Repository.find(connection, repository)
            on = here.digests_of([tag]) if here is not None else []
            if here is None or not on or digest not in {None, Digest.parse(on[0])}:
                return None
            connection.execute(delete(tags).where(here.tags, tags.c.name == tag))
            note_tags(connection, here.number, on)
            if not connection.scalar(select(exists(tags.c.digest).where(here.tags, tags.c.digest == on[0]))):
                here.remove({on[0]})
            return Digest.parse(on[0])

        return await self._database.write("images.remove_tag", work)

    async def remove_images(self, repository: RepositoryName, digests: Sequence[Digest]) -> list[Digest]:
        """Remove manifests with all their tags."""
        wanted = set(map(str, digests))

        def work(connection: Connection) -> set[str]:
            here = _Repository.find(connection, repository)
            return here.remove(wanted) if here is not None else set()

        removed = await self._database.write("images.remove", work)
        return [digest for digest in dict.fromkeys(digests) if str(digest) in removed]

    async def remove_unchanged(self, repository: RepositoryName, images: Sequence[ImageRecord]) -> list[Digest]:
        """Remove images whose tags and last pull are still as the records say."""
        known = {(image.digest, image.tags, image.pulled_at) for image in images}

        def work(connection: Connection) -> set[str]:
            here = _Repository.find(connection, repository)
            if here is None:
                return set()
            now = here.records(here.among({str(image.digest) for image in images}))
            return here.remove({str(one.digest) for one in now if (one.digest, one.tags, one.pulled_at) in known})

        removed = await self._database.write("images.remove_unchanged", work)
        return [image.digest for image in images if str(image.digest) in removed]

    async def note_pulls(self, notes: Sequence[PullNote]) -> None:
        """Keep when images were last pulled."""
        rows = [{"repository": note.repository, "image": str(note.digest), "at": note.at} for note in notes]
        if rows:
            await self._database.write("images.note_pulls", lambda c: c.execute(_NOTE_PULL, rows), durable=False)


class _Repository:
    """One repository in one transaction. Digests are text here."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection = connection
        here = select(provenances.c.id).where(provenances.c.repository_id == number)
        self.number = number
        # Few: each is an upstream, or an account, that the repository has had.
        self._provenances = connection.scalars(here).all()

    @classmethod
    def find(cls, connection: Connection, name: RepositoryName) -> "_Repository | None":
        number = known_id(connection, name)
        return None if number is None else cls(connection, number)

    @property
    def tags(self) -> ColumnElement[bool]:
        """Return the condition for the repository's tags."""
        return tags.c.repository_id == self.number

    # --- images ---

    def page(self, after: str, limit: int, *, tagged: bool | None) -> list[_Row]:
        """Return the first manifests after that digest: all, or (False) those without tags."""
        query = _HELD.where(manifests.c.digest > after).limit(limit)
        if tagged is False:
            query = query.where(manifests.c.untagged)
        found: dict[str, _Row] = {}
        for provenance in self._provenances:
            for row in self._connection.execute(query.where(manifests.c.provenance_id == provenance)):
                one = _Row(*row)
                found[one.digest] = one.merged(found.get(one.digest))
        return [found[digest] for digest in sorted(found)[:limit]]

    def tagged_page(self, after: str, limit: int) -> list[_Row]:
        """Return the first manifests after that digest that have tags: these lead to them, not the other way round."""
        query = select(tags.c.digest).where(self.tags).distinct().order_by(tags.c.digest).limit(limit)
        found: list[_Row] = []
        while len(found) < limit:
            digests = self._connection.scalars(query.where(tags.c.digest > after)).all()
            found += self.among(digests)
            if len(digests) < limit:
                break
            after = digests[-1]
        return found[:limit]

    def among(self, digests: Collection[str]) -> list[_Row]:
        """Return the manifests of these digests that there are, in order."""
        found: dict[str, _Row] = {}
        for part in parts_of(digests):
            mine = (manifests.c.provenance_id.in_(self._provenances), manifests.c.digest.in_(part))
            for row in self._connection.execute(_HELD.where(*mine)):
                one = _Row(*row)
                found[one.digest] = one.merged(found.get(one.digest))
        return [found[digest] for digest in sorted(found)]

    def digests_of(self, names: Sequence[Tag]) -> list[str]:
        """Return what these tags point to."""
        found: list[str] = []
        for part in parts_of(names):
            found += self._connection.scalars(select(tags.c.digest).where(self.tags, tags.c.name.in_(part)))
        return found

    def records(self, rows: Sequence[_Row]) -> list[ImageRecord]:
        """Return manifests as images."""
        named = self._names([row.digest for row in rows])
        sizes = self._sizes([row.digest for row in rows if row.media_type not in INDEXES])
        sizes |= self._largest([row.digest for row in rows if row.media_type in INDEXES])
        return [
            ImageRecord(
                digest=Digest.parse(row.digest),
                media_type=row.media_type,
                size=row.size,
                content_size=sizes.get(row.digest, 0),
                pushed_at=row.pushed_at,
                tags=tuple(sorted(named.get(row.digest, ()))),
                artifact_type=row.artifact_type,
                subject=None if row.subject is None else Digest.parse(row.subject),
                pulled_at=row.pulled_at,
            )
            for row in rows
        ]

    def _names(self, digests: Sequence[str]) -> dict[str, list[Tag]]:
        found: dict[str, list[Tag]] = {}
        for part in parts_of(digests):
            query = select(tags.c.digest, tags.c.name).where(self.tags, tags.c.digest.in_(part))
            for row in self._connection.execute(query):
                found.setdefault(row.digest, []).append(Tag(row.name))
        return found

    def _sizes(self, digests: Collection[str]) -> dict[str, int]:
        """Return what the content of images adds up to; a manifest that came from two sources has it once."""
        found: dict[str, int] = {}
        for part in parts_of(digests):
            # Without the hint SQLite takes the primary key for the shorter way, and reads all that a provenance has
            # (https://www.sqlite.org/lang_corefunc.html#unlikely).
            among = func.unlikely(descriptors.c.manifest.in_(part))
            for provenance in self._provenances:
                query = (
                    select(descriptors.c.manifest, func.sum(descriptors.c.size).label("total"))
                    .where(descriptors.c.provenance_id == provenance, among)
                    .where(descriptors.c.media_type.not_in(_MANIFESTS))
                    .group_by(descriptors.c.manifest)
                )
                found |= {row.manifest: row.total for row in self._connection.execute(query)}
        return found

    def _largest(self, indexes: Sequence[str]) -> dict[str, int]:
        """Return the largest image of each index, of those that are here."""
        pairs: set[tuple[str, str]] = set()
        for part in parts_of(indexes):
            mine = (descriptors.c.provenance_id.in_(self._provenances), descriptors.c.manifest.in_(part))
            query = select(descriptors.c.manifest, descriptors.c.digest).where(*mine)
            pairs |= {(row.manifest, row.digest) for row in self._connection.execute(query)}
        sizes = self._sizes({image for _, image in pairs})
        found: dict[str, int] = {}
        for index, image in pairs:
            found[index] = max(found.get(index, 0), sizes.get(image, 0))
        return found

    # --- what names what ---

    def naming(self, digests: Collection[str]) -> set[tuple[str, str]]:
        """Return (child, parent) for all manifests of the repository that name one of `digests`."""
        found: set[tuple[str, str]] = set()
        for part in parts_of(digests):
            mine = (descriptors.c.provenance_id.in_(self._provenances), descriptors.c.digest.in_(part))
            query = select(descriptors.c.digest, descriptors.c.manifest).where(*mine)
            found |= {(row.digest, row.manifest) for row in self._connection.execute(query)}
        return found

    def remove(self, digests: set[str]) -> set[str]:
        """Remove manifests and their tags, except those that remaining manifests name; return which went."""
        pairs, going = self.naming(digests), set(digests)
        while kept := {child for child, parent in pairs if child in going and parent not in going}:
            going -= kept
        there = {row.digest for row in self.among(going)}
        for part in parts_of(there):
            mine = (manifests.c.provenance_id.in_(self._provenances), manifests.c.digest.in_(part))
            self._connection.execute(delete(tags).where(self.tags, tags.c.digest.in_(part)))
            self._connection.execute(delete(manifests).where(*mine))
        return there
