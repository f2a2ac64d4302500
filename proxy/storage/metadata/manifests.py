"""The `Manifests` port in SQL."""

import heapq
import time
from collections.abc import Sequence
from operator import attrgetter

from sqlalchemy import Row, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from proxy.core.ports import (
    ContentMissingError,
    ManifestKeptError,
    ManifestPush,
    ManifestRecord,
    RepositoryUnknownError,
    TagWrite,
)
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.model.rule import Provenance
from proxy.storage.metadata.catalog import keep_tags
from proxy.storage.metadata.pages import page_of
from proxy.storage.metadata.provenances import (
    Lookup,
    OnDatabase,
    id_of,
    keep_provenance,
    keep_repository,
    known_id,
    replacing,
)
from proxy.storage.metadata.schema import descriptors, manifests, proofs, provenances, tags

_MANIFESTS = Lookup(manifests)
_DESCRIPTORS = Lookup(descriptors)
_PROOFS = Lookup(proofs)

# Built once: each takes longer to build than to run.
_TAGGED = (
    select(tags.c.digest).where(tags.c.repository_id == bindparam("id"), tags.c.digest == bindparam("tagged")).limit(1)
)
# What is kept again, as each push of the same image does, came when it came first.
_KEEP = replacing(insert(manifests), "pushed_at", "pulled_at", "untagged")
_FORGET_CHILDREN = delete(descriptors).where(
    descriptors.c.provenance_id == bindparam("provenance"), descriptors.c.manifest == bindparam("named_by")
)
_KEEP_CHILDREN = insert(descriptors).on_conflict_do_nothing()


class SqlManifests(OnDatabase):
    """Which manifests a repository holds, and what they point to."""

    async def remember(
        self,
        repository: RepositoryName,
        manifest: ManifestRecord,
        children: Sequence[Descriptor],
        *,
        provenance: Provenance | None,
        tags: TagWrite | None,
    ) -> None:
        """Keep the repository, the manifest, its children and the tags together, or raise `TagKeptError`."""

        def work(connection: Connection) -> None:
            repository_id = keep_repository(connection, repository)
            provenance_id = keep_provenance(connection, repository_id, provenance)
            _keep_manifest(connection, (repository_id, provenance_id), manifest)
            _keep_children(connection, provenance_id, manifest.digest, children)
            keep_tags(connection, repository_id, tags or TagWrite())

        await self._database.write("manifests.remember", work, durable=provenance is None)

    async def push(self, repository: RepositoryName, push: ManifestPush, provenance: Provenance | None) -> None:
        """Keep an uploaded manifest, its children and its tags together, or nothing."""

        def work(connection: Connection) -> None:
            repository_id = known_id(connection, repository)
            if repository_id is None:
                raise RepositoryUnknownError
            missing = _PROOFS.absent(connection, repository, push.blobs | push.manifests, provenance)
            unheld = _MANIFESTS.absent(connection, repository, missing & push.manifests, provenance)
            if missing := (missing & push.blobs) | unheld:
                raise ContentMissingError(sorted(missing))
            for row in _MANIFESTS.all(connection, repository, push.manifest.digest, None):
                if row.media_type != push.manifest.media_type:
                    raise ManifestKeptError(_manifest_record(row))
            provenance_id = keep_provenance(connection, repository_id, None)
            _keep_manifest(connection, (repository_id, provenance_id), push.manifest)
            _keep_children(connection, provenance_id, push.manifest.digest, push.children)
            keep_tags(connection, repository_id, push.tags)

        await self._database.write("manifests.push", work)

    async def manifest(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> ManifestRecord | None:
        """Return a manifest that the repository holds, or None."""
        row = await self._database.look_up(
            "manifests.manifest", lambda c: _MANIFESTS.first(c, repository, digest, provenance)
        )
        return None if row is None else _manifest_record(row)

    async def descriptor(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> Descriptor | None:
        """Return the descriptor by which a manifest of this repository (from that source) names `digest`, or None."""
        row = await self._database.look_up(
            "manifests.descriptor", lambda c: _DESCRIPTORS.first(c, repository, digest, provenance)
        )
        return None if row is None else _descriptor(row)

    async def manifests_naming(
        self, repository: RepositoryName, digest: Digest, provenance: Provenance | None
    ) -> list[Digest]:
        """Return the manifests (from that source) that name `digest` among their children, in order of digest."""
        rows = await self._database.read(
            "manifests.manifests_naming", lambda c: _DESCRIPTORS.all(c, repository, digest, provenance)
        )
        return [Digest.parse(manifest) for manifest in sorted({row.manifest for row in rows})]

    async def referrers(
        self, repository: RepositoryName, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> list[ManifestRecord]:
        """Return up to `limit` manifests of the repository whose subject is `subject`, in order of digest.

        Fewer, but one at least, where they are large.
        """
        here = select(provenances.c.id).where(provenances.c.repository_id == id_of(repository))
        query = select(manifests).where(manifests.c.subject == str(subject), manifests.c.digest > after)
        if artifact_type is not None:
            query = query.where(manifests.c.artifact_type == artifact_type)
        query = query.order_by(manifests.c.digest).limit(limit)

        def work(connection: Connection) -> list[ManifestRecord]:
            # One query a provenance, of which there are few: each comes in order out of an index, a row when it is
            # wanted. A manifest that came from two sources is one referrer.
            provenance_ids = connection.scalars(here).all()
            rows = [connection.execute(query.where(manifests.c.provenance_id == each)) for each in provenance_ids]
            return page_of(map(_manifest_record, heapq.merge(*rows, key=attrgetter("digest"))), limit)

        return await self._database.read("manifests.referrers", work)

    async def delete_manifest(self, repository: RepositoryName, digest: Digest) -> bool:
        """Remove a manifest from the repository with the tags that point to it; tell whether it was there."""
        here = select(provenances.c.id).where(provenances.c.repository_id == id_of(repository))
        gone = delete(manifests).where(manifests.c.provenance_id.in_(here), manifests.c.digest == str(digest))
        untagged = delete(tags).where(tags.c.repository_id == id_of(repository), tags.c.digest == str(digest))

        def work(connection: Connection) -> bool:
            connection.execute(untagged)
            return connection.execute(gone).rowcount > 0

        return await self._database.write("manifests.delete_manifest", work)


def _keep_manifest(connection: Connection, place: tuple[int, int], manifest: ManifestRecord) -> None:
    repository_id, provenance_id = place
    digest = str(manifest.digest)
    tagged = connection.scalar(_TAGGED, {"id": repository_id, "tagged": digest}) is not None
    row = {
        "provenance_id": provenance_id,
        "digest": digest,
        "media_type": manifest.media_type,
        "size": manifest.size,
        "artifact_type": manifest.artifact_type,
        "subject": None if manifest.subject is None else str(manifest.subject),
        "annotations": dict(manifest.annotations),
        "pushed_at": time.time(),
        "untagged": not tagged,
    }
    connection.execute(_KEEP, row)


def _keep_children(
    connection: Connection, provenance_id: int, manifest: Digest, children: Sequence[Descriptor]
) -> None:
    connection.execute(_FORGET_CHILDREN, {"provenance": provenance_id, "named_by": str(manifest)})
    rows = [
        {
            "provenance_id": provenance_id,
            "digest": str(child.digest),
            "manifest": str(manifest),
            "media_type": child.media_type,
            "size": child.size,
            "artifact_type": child.artifact_type,
            "annotations": dict(child.annotations),
            "urls": list(child.urls),
        }
        for child in children
    ]
    if rows:
        # A manifest may name the same content twice (two empty layers): the first descriptor stands for both.
        connection.execute(_KEEP_CHILDREN, rows)


def _manifest_record(row: Row[tuple[object, ...]]) -> ManifestRecord:
    return ManifestRecord(
        digest=Digest.parse(row.digest),
        media_type=row.media_type,
        size=row.size,
        artifact_type=row.artifact_type,
        subject=None if row.subject is None else Digest.parse(row.subject),
        annotations=tuple(row.annotations.items()),
    )


def _descriptor(row: Row[tuple[object, ...]]) -> Descriptor:
    return Descriptor(
        media_type=row.media_type,
        digest=Digest.parse(row.digest),
        size=row.size,
        artifact_type=row.artifact_type,
        annotations=row.annotations,
        urls=tuple(row.urls),
    )
