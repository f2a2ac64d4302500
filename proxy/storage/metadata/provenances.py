"""Which content a request may see, in SQL: the rule that manifests, descriptors and proofs share."""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import Row, ScalarSelect, Table, and_, bindparam, literal, or_, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.engine import Connection

from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.rule import UPLOADED, Provenance
from proxy.storage.metadata.database import Database
from proxy.storage.metadata.schema import provenances, repositories

_PART: Final = 500
"""Values that go into one statement: how many parameters it may have is limited."""


class OnDatabase:
    """The part of the store that answers for one port."""

    def __init__(self, database: Database) -> None:
        """Use `database`, whoever closes it."""
        self._database = database


def id_of(repository: RepositoryName) -> ScalarSelect[int]:
    """Return the id of the repository, as a subquery."""
    return select(repositories.c.id).where(repositories.c.name == repository).scalar_subquery()


_HERE = provenances.c.repository_id == (
    select(repositories.c.id).where(repositories.c.name == bindparam("repository")).scalar_subquery()
)
_ANSWERING = or_(
    and_(_HERE, provenances.c.source.in_((literal(UPLOADED), bindparam("source")))),
    and_(provenances.c.source == bindparam("source"), provenances.c.account == bindparam("account")),
)
"""Uploaded here, or from the same source here, or from the same source through the same account anywhere.

Each branch begins an index, so SQLite unites two short searches.
"""


# Built once: each takes longer to build than to run. Nobody else writes meanwhile, so what is not there can be made.
_REPOSITORY = select(repositories.c.id).where(repositories.c.name == bindparam("repository"))
_NEW_REPOSITORY = insert(repositories).returning(repositories.c.id)
_PROVENANCE = select(provenances.c.id).where(
    provenances.c.repository_id == bindparam("repository_id"),
    provenances.c.source == bindparam("source"),
    provenances.c.account == bindparam("account"),
)
_NEW_PROVENANCE = insert(provenances).returning(provenances.c.id)


class Lookup:
    """Find rows of a table by digest that a request may see.

    The statements are built once: building one takes longer than running it.
    """

    def __init__(self, table: Table, digest: str = "digest") -> None:
        """Search `table`, which hangs on provenances, by its column `digest`."""
        # A subquery and not a join: of a blob that very many repositories hold, a join would visit all holders.
        query = select(table).where(table.c[digest] == bindparam("digest"))
        self._here = query.where(table.c.provenance_id.in_(select(provenances.c.id).where(_HERE)))
        self._here_first = self._here.limit(1)
        self._answering = query.where(table.c.provenance_id.in_(select(provenances.c.id).where(_ANSWERING)))
        self._answering_first = self._answering.limit(1)
        self._known = select(self._answering.exists(), self._here.exists())
        among = select(table.c[digest]).where(table.c[digest].in_(bindparam("digests", expanding=True)))
        self._here_among = among.where(table.c.provenance_id.in_(select(provenances.c.id).where(_HERE)))
        self._answering_among = among.where(table.c.provenance_id.in_(select(provenances.c.id).where(_ANSWERING)))

    def first(
        self, connection: Connection, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Row[tuple[object, ...]] | None:
        """Return one row that answers to `provenance` in `repository`; None asks for whatever the repository holds."""
        query = self._here_first if provenance is None else self._answering_first
        values = _values(repository, provenance) | {"digest": str(digest)}
        return connection.execute(query, values).one_or_none()

    def known(
        self, connection: Connection, repository: RepositoryName, digest: Digest, provenance: Provenance
    ) -> tuple[bool, bool]:
        """Tell whether a row answers to `provenance` in `repository`, and whether the repository holds any."""
        values = _values(repository, provenance) | {"digest": str(digest)}
        answering, here = connection.execute(self._known, values).one()
        return bool(answering), bool(here)

    def all(
        self, connection: Connection, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Sequence[Row[tuple[object, ...]]]:
        """Return all such rows, in no particular order."""
        query = self._here if provenance is None else self._answering
        values = _values(repository, provenance) | {"digest": str(digest)}
        return connection.execute(query, values).all()

    def absent(
        self,
        connection: Connection,
        repository: RepositoryName,
        digests: Iterable[Digest],
        provenance: Provenance | None,
    ) -> set[Digest]:
        """Return those of `digests` for which there is no such row."""
        query = self._here_among if provenance is None else self._answering_among
        absent = {str(digest): digest for digest in digests}
        for part in parts_of(set(absent)):
            values = _values(repository, provenance) | {"digests": part}
            for known in connection.scalars(query, values):
                absent.pop(known, None)
        return set(absent.values())


def _values(repository: RepositoryName, provenance: Provenance | None) -> dict[str, object]:
    values: dict[str, object] = {"repository": repository}
    if provenance is not None:
        values |= {"source": provenance.source, "account": provenance.account}
    return values


def parts_of(values: Collection[str]) -> Iterator[list[str]]:
    """Yield `values` in order, as many at a time as one statement takes."""
    listed = sorted(values)
    for start in range(0, len(listed), _PART):
        yield listed[start : start + _PART]


def known_id(connection: Connection, repository: RepositoryName) -> int | None:
    """Return the id of the repository, or None."""
    found: int | None = connection.scalar(_REPOSITORY, {"repository": repository})
    return found


def keep_repository(connection: Connection, repository: RepositoryName) -> int:
    """Return the id of the repository, which is made if it is not known."""
    found = known_id(connection, repository)
    if found is None:
        row = {"name": repository, "created_at": time.time()}
        found = connection.scalar(_NEW_REPOSITORY, row)
    if found is None:
        raise AssertionError("an insert returns what it made")
    return found


def keep_provenance(connection: Connection, repository_id: int, provenance: Provenance | None) -> int:
    """Return the id of the provenance (None: uploaded) in the repository, which is made if it is not known."""
    known = provenance or Provenance(UPLOADED, UPLOADED)
    row = {"repository_id": repository_id, "source": known.source, "account": known.account}
    found: int | None = connection.scalar(_PROVENANCE, row)
    if found is None:
        found = connection.scalar(_NEW_PROVENANCE, row)
    if found is None:
        raise AssertionError("an insert returns what it made")
    return found


def replacing(statement: Insert, *staying: str) -> Insert:
    """Return an insert that takes the place of a row with the same primary key, but for the columns `staying`."""
    columns = [column for column in statement.table.columns if column.name not in staying]
    return statement.on_conflict_do_update(
        index_elements=[column for column in columns if column.primary_key],
        set_={column.name: statement.excluded[column.name] for column in columns if not column.primary_key},
    )
