"""Which manifests of a repository have tags, written beside them in the transaction that changes the tags."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.engine import Connection

from proxy.storage.metadata.provenances import parts_of
from proxy.storage.metadata.schema import manifests, provenances, tags


def _untagged(repository_id: int) -> ColumnElement[bool]:
    """Return the condition that no tag of the repository points to a manifest of it."""
    return ~exists(tags.c.digest).where(tags.c.repository_id == repository_id, tags.c.digest == manifests.c.digest)


def note_tags(connection: Connection, repository_id: int, digests: Collection[str]) -> None:
    """Write down whether manifests have tags, once tags came to `digests` or went from them."""
    here = select(provenances.c.id).where(provenances.c.repository_id == repository_id)
    for part in parts_of(set(digests)):
        mine = (manifests.c.provenance_id.in_(here), manifests.c.digest.in_(part))
        connection.execute(update(manifests).where(*mine).values(untagged=_untagged(repository_id)))
