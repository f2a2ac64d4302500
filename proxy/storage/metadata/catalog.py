"""The `Catalog` port in SQL."""

from sqlalchemy import Row, bindparam, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.core.ports import TagRecord
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.storage.metadata.provenances import OnDatabase, id_of, replacing
from proxy.storage.metadata.schema import listings, repositories, tags

# Built once, because every pull by tag runs it: building it takes longer than running it.
_TAG = (
    select(tags)
    .join(repositories, tags.c.repository_id == repositories.c.id)
    .where(repositories.c.name == bindparam("repository"), tags.c.name == bindparam("tag"))
)


class SqlCatalog(OnDatabase):
    """Repositories and their tags."""

    async def repositories(self, after: str, limit: int) -> list[RepositoryName]:
        """Return up to `limit` repository names greater than `after`."""
        query = select(repositories.c.name).where(repositories.c.name > after).order_by(repositories.c.name)
        rows = await self._database.read("catalog.repositories", lambda c: c.scalars(query.limit(limit)).all())
        return [RepositoryName(name) for name in rows]

    async def has_repository(self, repository: RepositoryName) -> bool:
        """Tell whether the repository is known."""
        query = select(repositories.c.id).where(repositories.c.name == repository)
        return await self._database.read("catalog.has_repository", lambda c: c.scalar(query)) is not None

    async def tag(self, repository: RepositoryName, tag: Tag) -> TagRecord | None:
        """Return the tag, or None."""
        values = {"repository": repository, "tag": tag}
        row = await self._database.read("catalog.tag", lambda c: c.execute(_TAG, values).one_or_none())
        return None if row is None else _tag_record(row)

    async def tags(self, repository: RepositoryName, source: str | None, after: str, limit: int) -> list[Tag]:
        """Return up to `limit` tags greater than `after` that came from `source` (None: from anywhere)."""
        query = select(tags.c.name).where(tags.c.repository_id == id_of(repository), tags.c.name > after)
        if source is not None:
            query = query.where(tags.c.source == source)
        query = query.order_by(tags.c.name).limit(limit)
        rows = await self._database.read("catalog.tags", lambda c: c.scalars(query).all())
        return [Tag(name) for name in rows]

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
        await self._database.write("catalog.update_tag", lambda c: c.execute(statement))

    async def delete_tag(self, repository: RepositoryName, tag: Tag) -> bool:
        """Remove a tag; tell whether it was there."""
        statement = delete(tags).where(tags.c.repository_id == id_of(repository), tags.c.name == tag)
        return await self._database.write("catalog.delete_tag", lambda c: c.execute(statement).rowcount > 0)

    async def delete_repository(self, repository: RepositoryName) -> bool:
        """Remove a repository with all that hangs on it; tell whether it was there."""

        def work(connection: Connection) -> bool:
            connection.execute(delete(listings).where(listings.c.repository == repository))
            return connection.execute(delete(repositories).where(repositories.c.name == repository)).rowcount > 0

        return await self._database.write("catalog.delete_repository", work)


def keep_tag(connection: Connection, repository_id: int, record: TagRecord) -> None:
    """Keep a tag of a known repository, replacing any of its name."""
    statement = insert(tags).values(
        repository_id=repository_id,
        name=record.tag,
        digest=str(record.digest),
        media_type=record.media_type,
        source=record.source,
        fetched_at=record.fetched_at,
        checked_at=record.checked_at,
        outcome=record.outcome,
        failed_at=record.failed_at,
        missing_since=record.missing_since,
    )
    connection.execute(replacing(statement))


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
