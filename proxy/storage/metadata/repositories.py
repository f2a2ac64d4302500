"""The ports for repositories themselves, in SQL."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, Select, bindparam, delete, exists, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.core.ports import RepositoryRecord
from proxy.core.registry.ports import NotEmptyError
from proxy.core.registry.records import PLAIN, RepositoryDetails
from proxy.model.name_spans import ALL_NAMES, NameSpan
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.metadata.provenances import OnDatabase
from proxy.storage.metadata.schema import POLICED, listings, manifests, provenances, repositories

_details = msgspec.json.Decoder(RepositoryDetails)


class SqlRepositories(OnDatabase):
    """Repositories themselves."""

    async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
        """Return the repository, or None."""
        return await self._database.look_up("repositories.repository", lambda c: _find(c, name))

    async def create_repository(self, record: RepositoryRecord) -> bool:
        """Make the repository; tell whether it was not there before."""
        statement = insert(repositories).values(name=record.name, created_at=record.created_at, **_columns(record))
        statement = statement.on_conflict_do_nothing()
        return await self._database.write("repositories.create", lambda c: c.execute(statement).rowcount > 0)

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy | None) -> bool:
        """Give the repository a policy of its own, or none; tell whether there is such a repository."""
        statement = update(repositories).where(repositories.c.name == name).values(_policy_columns(policy))
        return await self._database.write("repositories.set_tag_policy", lambda c: c.execute(statement).rowcount > 0)

    async def repository_records(
        self, after: str, limit: int, spans: Sequence[NameSpan] = ALL_NAMES
    ) -> list[RepositoryRecord]:
        """Return up to `limit` repositories whose names are greater than `after`, in order of name, of `spans`."""
        rows = await self._database.read(
            "repositories.page", lambda c: read_spans(c, select(repositories), after, limit, spans)
        )
        return [_record(row) for row in rows]

    async def records_of(self, names: Sequence[RepositoryName]) -> list[RepositoryRecord]:
        """Return those of some repositories that there are."""
        query = select(repositories).where(repositories.c.name.in_(names))
        return [_record(row) for row in await self._database.read("repositories.of", lambda c: c.execute(query).all())]

    async def policed_repositories(self, after: str, limit: int) -> list[RepositoryRecord]:
        """Return up to `limit` repositories with a policy of their own and names greater than `after`, in order."""
        name = repositories.c.name
        query = select(repositories).where(POLICED, name > after).order_by(name).limit(limit)
        rows = await self._database.read("repositories.policed", lambda c: c.execute(query).all())
        return [_record(row) for row in rows]

    async def alter_repository(
        self, name: RepositoryName, change: Callable[[RepositoryRecord], RepositoryRecord]
    ) -> RepositoryRecord | None:
        """Replace tag policy and details by what `change` makes of them."""

        def work(connection: Connection) -> RepositoryRecord | None:
            found = _find(connection, name)
            if found is None:
                return None
            changed = change(found)
            connection.execute(update(repositories).where(repositories.c.name == name).values(_columns(changed)))
            return changed

        return await self._database.write("repositories.alter", work)

    async def remove_repository(self, name: RepositoryName, *, force: bool) -> RepositoryRecord | None:
        """Remove a repository with all that hangs on it and return it, or None."""

        def work(connection: Connection) -> RepositoryRecord | None:
            found = _find(connection, name)
            if found is None:
                return None
            if not force and _holds_images(connection, name):
                raise NotEmptyError
            connection.execute(delete(listings).where(listings.c.repository == name))
            connection.execute(delete(repositories).where(repositories.c.name == name))
            return found

        return await self._database.write("repositories.remove", work)


def read_spans(
    connection: Connection, query: Select[Any], after: str, limit: int, spans: Sequence[NameSpan]
) -> list[Row[Any]]:
    """Return up to `limit` rows of repositories in order of name: in `spans`, and with names greater than `after`."""
    name, found = repositories.c.name, list[Row[Any]]()
    # One query a span: each comes in order out of the index, which an OR of them would not.
    query = query.where(name > bindparam("after"), name < bindparam("before")).order_by(name).limit(bindparam("most"))
    for span in spans:
        if len(found) >= limit:
            break
        if after < span.before:
            values = {"after": max(after, span.after), "before": span.before, "most": limit - len(found)}
            found += connection.execute(query, values).all()
    return found


def tag_policy(row: Row[Any]) -> TagPolicy | None:
    """Return the policy that a row of the repositories holds, or None."""
    if row.tag_mutability is None:
        return None
    return TagPolicy(TagMutability(row.tag_mutability), tuple(row.tag_filters or ()))


def _find(connection: Connection, name: RepositoryName) -> RepositoryRecord | None:
    row = connection.execute(select(repositories).where(repositories.c.name == name)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Row[Any]) -> RepositoryRecord:
    details = PLAIN if row.details is None else _details.decode(row.details)
    return RepositoryRecord(RepositoryName(row.name), row.created_at, tag_policy(row), details)


def _holds_images(connection: Connection, name: RepositoryName) -> bool:
    held = repositories.join(provenances).join(manifests, manifests.c.provenance_id == provenances.c.id)
    found = select(exists(select(manifests.c.digest).select_from(held).where(repositories.c.name == name)))
    return bool(connection.scalar(found))


def _columns(record: RepositoryRecord) -> dict[str, object]:
    details = None if record.details == PLAIN else msgspec.json.encode(record.details).decode()
    return {**_policy_columns(record.tag_policy), "details": details}


def _policy_columns(policy: TagPolicy | None) -> dict[str, object]:
    if policy is None:
        return {"tag_mutability": None, "tag_filters": None}
    return {"tag_mutability": policy.mutability.value, "tag_filters": list(policy.filters)}
