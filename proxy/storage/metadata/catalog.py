"""The `Catalog` port in SQL."""

import heapq
from collections.abc import Sequence
from itertools import islice

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.core.ports import TagKeptError, TagRecord, TagWrite
from proxy.model.digest import Digest
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName, Tag
from proxy.model.tag_policy import ALL_TAGS_MOVE
from proxy.storage.metadata.provenances import OnDatabase, id_of, replacing
from proxy.storage.metadata.repositories import read_spans, tag_policy
from proxy.storage.metadata.schema import listings, repositories, tags
from proxy.storage.metadata.tagging import note_tags
from proxy.storage.metadata.writer import demand_durability

# Built once, because every pull by tag runs it: building it takes longer than running it.
_TAG = (
    select(tags)
    .join(repositories, tags.c.repository_id == repositories.c.id)
    .where(repositories.c.name == bindparam("repository"), tags.c.name == bindparam("tag"))
)
_TAG_OF = select(tags).where(tags.c.repository_id == bindparam("id"), tags.c.name == bindparam("tag"))
_REPOSITORY = select(repositories).where(repositories.c.id == bindparam("id"))
_IS_KNOWN = select(repositories.c.id).where(repositories.c.name == bindparam("repository"))
_KEEP_TAG = replacing(insert(tags))


class SqlCatalog(OnDatabase):
    """Repositories and their tags."""

    async def repositories(self, after: str, limit: int, spans: Sequence[NameSpan] = ALL_NAMES) -> list[RepositoryName]:
        """Return up to `limit` repository names greater than `after`, of those in `spans`."""
        rows = await self._database.read(
            "catalog.repositories", lambda c: read_spans(c, select(repositories.c.name), after, limit, spans)
        )
        return [RepositoryName(row.name) for row in rows]

    async def has_repository(self, repository: RepositoryName) -> bool:
        """Tell whether the repository is known."""
        values = {"repository": repository}
        found = await self._database.look_up("catalog.has_repository", lambda c: c.scalar(_IS_KNOWN, values))
        return found is not None

    async def tag(self, repository: RepositoryName, tag: Tag) -> TagRecord | None:
        """Return the tag, or None."""
        values = {"repository": repository, "tag": tag}
        row = await self._database.look_up("catalog.tag", lambda c: c.execute(_TAG, values).one_or_none())
        return None if row is None else _tag_record(row)

    async def tags(
        self, repository: RepositoryName, sources: Sequence[str] | None, after: str, limit: int
    ) -> list[Tag]:
        """Return up to `limit` tags greater than `after` that came from one of `sources` (None: from anywhere)."""
        query = select(tags.c.name).where(tags.c.repository_id == id_of(repository), tags.c.name > after)
        query = query.order_by(tags.c.name).limit(limit)
        # One query a source: each comes in order out of an index, whose first rows are enough.
        queries = [query] if sources is None else [query.where(tags.c.source == source) for source in set(sources)]

        def work(connection: Connection) -> list[str]:
            pages = [connection.scalars(one).all() for one in queries]
            return list(islice(heapq.merge(*pages), limit))

        return [Tag(name) for name in await self._database.read("catalog.tags", work)]

    async def update_tag(self, repository: RepositoryName, record: TagRecord) -> None:
        """Replace the check times and outcome of a tag that still has `record.digest`; otherwise change nothing."""
        statement = (
            update(tags)
            .where(
                tags.c.repository_id == id_of(repository),
                tags.c.name == record.tag,
                tags.c.digest == str(record.digest),
            )
            .values(
                checked_at=record.checked_at,
                outcome=record.outcome,
                failed_at=record.failed_at,
                missing_since=record.missing_since,
            )
        )
        await self._database.write("catalog.update_tag", lambda c: c.execute(statement), durable=False)

    async def delete_tag(self, repository: RepositoryName, tag: Tag, source: str | None = None) -> bool:
        """Remove a tag that came from `source` (None: from anywhere); tell whether it was there."""
        statement = delete(tags).where(tags.c.repository_id == id_of(repository), tags.c.name == tag)
        if source is not None:
            statement = statement.where(tags.c.source == source)

        def work(connection: Connection) -> bool:
            gone = connection.execute(statement.returning(tags.c.repository_id, tags.c.digest)).one_or_none()
            if gone is None:
                return False
            note_tags(connection, gone.repository_id, [gone.digest])
            return True

        return await self._database.write("catalog.delete_tag", work)

    async def delete_repository(self, repository: RepositoryName) -> bool:
        """Remove a repository with all that hangs on it; tell whether it was there."""

        def work(connection: Connection) -> bool:
            connection.execute(delete(listings).where(listings.c.repository == repository))
            return connection.execute(delete(repositories).where(repositories.c.name == repository)).rowcount > 0

        return await self._database.write("catalog.delete_repository", work)


def keep_tags(connection: Connection, repository_id: int, write: TagWrite) -> None:
    """Keep tags of a known repository, replacing those of their names, or raise `TagKeptError`."""
    if not write.records:
        return
    own = tag_policy(connection.execute(_REPOSITORY, {"id": repository_id}).one())
    if (own or write.default) != ALL_TAGS_MOVE:
        demand_durability(connection)  # a tag that may not move must not be forgotten
    changed: set[str] = set()
    for record in write.records:
        row = connection.execute(_TAG_OF, {"id": repository_id, "tag": record.tag}).one_or_none()
        kept = None if row is None else _tag_record(row)
        if kept is not None and not write.may_replace(kept, record, own):
            raise TagKeptError(kept)
        changed |= {str(record.digest)} if kept is None else {str(record.digest), str(kept.digest)}
    for record in write.records:
        _keep_tag(connection, repository_id, record)
    note_tags(connection, repository_id, changed)


def _keep_tag(connection: Connection, repository_id: int, record: TagRecord) -> None:
    row = {
        "repository_id": repository_id,
        "name": record.tag,
        "digest": str(record.digest),
        "media_type": record.media_type,
        "source": record.source,
        "fetched_at": record.fetched_at,
        "checked_at": record.checked_at,
        "outcome": record.outcome,
        "failed_at": record.failed_at,
        "missing_since": record.missing_since,
    }
    connection.execute(_KEEP_TAG, row)


def _tag_record(row: Row[tuple[object, ...]]) -> TagRecord:
    return TagRecord(
        tag=Tag(row.name),
        digest=Digest.parse(row.digest),
        media_type=row.media_type,
        source=row.source,
        fetched_at=row.fetched_at,
        checked_at=row.checked_at,
        outcome=row.outcome,
        failed_at=row.failed_at,
        missing_since=row.missing_since,
    )
