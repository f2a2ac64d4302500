"""The `Proofs` port in SQL."""

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance
from proxy.storage.metadata.provenances import (
    Lookup,
    OnDatabase,
    id_of,
    keep_provenance,
    keep_repository,
    known_id,
)
from proxy.storage.metadata.schema import proofs, provenances, repositories

_PROOFS = Lookup(proofs)
_PROVE = insert(proofs).on_conflict_do_nothing()


class SqlProofs(OnDatabase):
    """Which blobs a repository may serve."""

    async def prove(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None, *, make: bool = True
    ) -> bool:
        """Keep that the repository holds the blob: shown by its upstream, or (None) uploaded or mounted."""

        def work(connection: Connection) -> bool:
            known = keep_repository(connection, repository) if make else known_id(connection, repository)
            if known is None:
                return False
            provenance_id = keep_provenance(connection, known, provenance)
            connection.execute(_PROVE, {"provenance_id": provenance_id, "digest": str(digest)})
            return True

        return await self._database.write("proofs.prove", work, durable=provenance is None)

    async def proven(self, repository: RepositoryName, digest: Digest, provenance: Provenance | None) -> bool:
        """Tell whether the blob was uploaded here, or shown by this source here or through the same account."""
        return await self._database.look_up(
            "proofs.proven", lambda c: _PROOFS.first(c, repository, digest, provenance) is not None
        )

    async def standing(self, repository: RepositoryName, digest: Digest, provenance: Provenance) -> tuple[bool, bool]:
        """Return what `proven` tells of the provenance, and of None, at one moment."""
        return await self._database.look_up(
            "proofs.standing", lambda c: _PROOFS.known(c, repository, digest, provenance)
        )

    async def disprove(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove the repository's proofs of the blob; tell whether it had any."""
        here = select(provenances.c.id).where(provenances.c.repository_id == id_of(repository))
        statement = delete(proofs).where(proofs.c.provenance_id.in_(here), proofs.c.digest == str(digest))
        return await self._database.write("proofs.disprove", lambda c: c.execute(statement).rowcount > 0)

    async def holders(self, digest: Digest, limit: int) -> list[RepositoryName]:
        """Return up to `limit` repositories that have any proof of the blob, in no particular order."""
        # In the order of the index: very many repositories hold an empty layer, and sorting would visit them all.
        held = proofs.join(provenances, proofs.c.provenance_id == provenances.c.id).join(repositories)
        query = select(repositories.c.name).select_from(held).where(proofs.c.digest == str(digest)).distinct()
        names = await self._database.read("proofs.holders", lambda c: c.scalars(query.limit(limit)).all())
        return [RepositoryName(name) for name in names]
