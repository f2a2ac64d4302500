"""The `Repositories` port in SQL."""

from sqlalchemy import Row, select, update
from sqlalchemy.dialects.sqlite import insert

from proxy.core.ports import RepositoryRecord
from proxy.model.reference import RepositoryName
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.metadata.provenances import OnDatabase
from proxy.storage.metadata.schema import repositories


class SqlRepositories(OnDatabase):
    """Repositories themselves."""

    async def repository(self, name: RepositoryName) -> RepositoryRecord | None:
        """Return the repository, or None."""
        query = select(repositories).where(repositories.c.name == name)
        row = await self._database.read("repositories.repository", lambda c: c.execute(query).one_or_none())
        return None if row is None else RepositoryRecord(name, row.created_at, tag_policy(row))

    async def create_repository(self, record: RepositoryRecord) -> bool:
        """Make the repository; tell whether it was not there before."""
        statement = insert(repositories).values(
            name=record.name, created_at=record.created_at, **_policy_columns(record.tag_policy)
        )
        statement = statement.on_conflict_do_nothing()
        return await self._database.write("repositories.create", lambda c: c.execute(statement).rowcount > 0)

    async def set_tag_policy(self, name: RepositoryName, policy: TagPolicy | None) -> bool:
        """Give the repository a policy of its own, or none; tell whether there is such a repository."""
        statement = update(repositories).where(repositories.c.name == name).values(_policy_columns(policy))
        return await self._database.write("repositories.set_tag_policy", lambda c: c.execute(statement).rowcount > 0)


def tag_policy(row: Row[tuple[object, ...]]) -> TagPolicy | None:
    """Return the policy that a row of the repositories holds, or None."""
    if row.tag_mutability is None:
        return None
    return TagPolicy(TagMutability(row.tag_mutability), tuple(row.tag_filters or ()))


def _policy_columns(policy: TagPolicy | None) -> dict[str, object]:
    if policy is None:
        return {"tag_mutability": None, "tag_filters": None}
    return {"tag_mutability": policy.mutability.value, "tag_filters": list(policy.filters)}
