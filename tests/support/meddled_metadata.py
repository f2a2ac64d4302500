"""Metadata that others change while something is done about it."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from proxy.core.registry.records import ImageRecord
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName
from proxy.storage.metadata.memory import MemoryMetadataStore

Deed = Callable[[], Awaitable[object]]


async def nothing() -> None:
    """Do nothing."""


class MeddledMetadata(MemoryMetadataStore):
    """The `RegistryStore` port in memory; `while_judging` and `before_removal` happen at these moments."""

    def __init__(self) -> None:
        super().__init__()
        self.while_judging: Deed = nothing
        self.before_removal: Deed = nothing

    async def parents(self, repository: RepositoryName, digests: Iterable[Digest]) -> dict[Digest, set[Digest]]:
        found = await super().parents(repository, digests)
        await self.while_judging()
        return found

    async def remove_unchanged(self, repository: RepositoryName, images: Sequence[ImageRecord]) -> list[Digest]:
        await self.before_removal()
        return await super().remove_unchanged(repository, images)
