"""What upstreams said of tags that nobody has fetched yet, remembered for a moment."""

from datetime import timedelta

from cachetools import TTLCache

from proxy.core.ports import Clock, ManifestHead, TagRecord
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName, Tag
from proxy.model.rule import Provenance, Remote

_SIZE = 50_000

_Place = tuple[RepositoryName, str, Provenance]


class Heads:
    """Remember answers to HEAD, in this process, for `ttl` at most, and whom they were told for `awaited`.

    Clients that ask HEAD by tag and then GET by digest (containerd) never name the tag again: `awaited` ties both
    together, so that such a tag is kept with its manifest.
    """

    def __init__(self, clock: Clock, ttl: timedelta, awaited: timedelta) -> None:
        self._clock = clock
        self._heads: TTLCache[tuple[_Place, Tag], tuple[ManifestHead, float]] = TTLCache(
            _SIZE, ttl.total_seconds(), timer=clock.monotonic
        )
        self._awaited: TTLCache[tuple[_Place, Digest], dict[Tag, TagRecord]] = TTLCache(
            _SIZE, awaited.total_seconds(), timer=clock.monotonic
        )

    def recall(self, repository: RepositoryName, remote: Remote, tag: Tag) -> ManifestHead | None:
        """Return what the upstream said a moment ago, or None."""
        head, until = self._heads.get((_place(repository, remote), tag), (None, 0.0))
        return head if self._clock.monotonic() < until else None

    def remember(
        self, repository: RepositoryName, remote: Remote, tag: Tag, head: ManifestHead, seconds: float
    ) -> None:
        """Keep what the upstream says, for up to `seconds`."""
        self._heads[_place(repository, remote), tag] = (head, self._clock.monotonic() + seconds)

    def await_digest(self, repository: RepositoryName, remote: Remote, record: TagRecord) -> None:
        """Note that a client was told `record`, and may come for its digest."""
        self._awaited.setdefault((_place(repository, remote), record.digest), {})[record.tag] = record

    def awaits(self, repository: RepositoryName, remote: Remote, record: TagRecord) -> bool:
        """Tell whether a client was told `record`, and nobody has come for its digest in this process."""
        told = self._awaited.get((_place(repository, remote), record.digest), {})
        return told.get(record.tag) is record

    def awaited(self, repository: RepositoryName, remote: Remote, digest: Digest) -> tuple[TagRecord, ...]:
        """Return, once, the tags that clients were told to mean `digest`."""
        return tuple(self._awaited.pop((_place(repository, remote), digest), {}).values())

    def drop(self, repository: RepositoryName, remote: Remote, tag: Tag) -> None:
        """Forget what was said of one tag: it has been fetched."""
        self._heads.pop((_place(repository, remote), tag), None)

    def forget(self, repository: RepositoryName) -> None:
        """Forget all about a repository."""
        for told in [key for key in self._heads if key[0][0] == repository]:
            self._heads.pop(told, None)
        for awaited in [key for key in self._awaited if key[0][0] == repository]:
            self._awaited.pop(awaited, None)


def _place(repository: RepositoryName, remote: Remote) -> _Place:
    # With rule and source: what one upstream says is never taken for the word of another.
    return repository, remote.rule.prefix, remote.provenance
