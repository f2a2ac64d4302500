"""Which manifests of a repository have tags, written beside them in the transaction that changes the tags."""

from collections.abc import Collection

from sqlalchemy import bindparam, exists, select, update
from sqlalchemy.engine import Connection

from proxy.storage.metadata.provenances import parts_of
from proxy.storage.metadata.schema import manifests, provenances, tags

# Built once: building it takes longer than running it.
_NOTE = (
    update(manifests)
    .where(
        manifests.c.provenance_id.in_(
            select(provenances.c.id).where(provenances.c.repository_id == bindparam("repository"))
        ),
        manifests.c.digest.in_(bindparam("digests", expanding=True)),
    )
    .values(
        untagged=~exists(tags.c.digest).where(
            tags.c.repository_id == bindparam("repository"), tags.c.digest == manifests.c.digest
        )
    )
)


def note_tags(connection: Connection, repository_id: int, digests: Collection[str]) -> None:
    """Write down whether manifests have tags, once tags came to `digests` or went from them."""
    for part in parts_of(set(digests)):
        connection.execute(_NOTE, {"repository": repository_id, "digests": part})
