"""Which content a request may see, in SQL: the rule that manifests, descriptors and proofs share."""

from collections.abc import Sequence

from sqlalchemy import Row, ScalarSelect, Table, and_, bindparam, literal, or_, select
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.engine import Connection

from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance
from proxy.storage.metadata.database import Database
from proxy.storage.metadata.schema import UPLOADED, provenances, repositories


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


class Lookup:
    """Find rows of a table by digest that a request may see.

    The statements are built once: building one takes longer than running it.
    """

    def __init__(self, table: Table, digest: str = "digest") -> None:
        """Search `table`, which hangs on provenances, by its column `digest`."""
        held = table.join(provenances, table.c.provenance_id == provenances.c.id)
        query = select(table).select_from(held).where(table.c[digest] == bindparam("digest"))
        self._here = query.where(_HERE)
        self._here_first = self._here.limit(1)
        self._answering = query.where(_ANSWERING)
        self._answering_first = self._answering.limit(1)

    def first(
        self, connection: Connection, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Row[tuple[object, ...]] | None:
        """Return one row that answers to `provenance` in `repository`; None asks for whatever the repository holds."""
        query = self._here_first if provenance is None else self._answering_first
        return connection.execute(query, _values(repository, digest, provenance)).one_or_none()

    def all(
        self, connection: Connection, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Sequence[Row[tuple[object, ...]]]:
        """Return all such rows, in no particular order."""
        query = self._here if provenance is None else self._answering
        return connection.execute(query, _values(repository, digest, provenance)).all()


def _values(repository: RepositoryName, digest: Digest, provenance: Provenance | None) -> dict[str, str]:
    values = {"repository": repository, "digest": str(digest)}
    if provenance is not None:
        values |= {"source": provenance.source, "account": provenance.account}
    return values


def keep_repository(connection: Connection, repository: RepositoryName) -> int:
    """Return the id of the repository, which is made if it is not known."""
    connection.execute(insert(repositories).values(name=repository).on_conflict_do_nothing())
    repository_id: int = connection.execute(
        select(repositories.c.id).where(repositories.c.name == repository)
    ).scalar_one()
    return repository_id


def keep_provenance(connection: Connection, repository_id: int, provenance: Provenance | None) -> int:
    """Return the id of the provenance (None: uploaded) in the repository, which is made if it is not known."""
    known = provenance or Provenance(UPLOADED, UPLOADED)
    row = {"repository_id": repository_id, "source": known.source, "account": known.account}
    connection.execute(insert(provenances).values(row).on_conflict_do_nothing())
    provenance_id: int = connection.execute(select(provenances.c.id).filter_by(**row)).scalar_one()
    return provenance_id


def replacing(statement: Insert) -> Insert:
    """Return an insert that takes the place of a row with the same primary key."""
    columns = statement.table.columns
    return statement.on_conflict_do_update(
        index_elements=[column for column in columns if column.primary_key],
        set_={column.name: statement.excluded[column.name] for column in columns if not column.primary_key},
    )
