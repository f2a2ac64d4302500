"""What a lifecycle policy makes of a repository as it stands."""

import asyncio
from typing import Final

from proxy.core.registry.lifecycle.evaluation import Verdict, evaluate
from proxy.core.registry.lifecycle.policy import LifecyclePolicy
from proxy.core.registry.ports import RegistryStore
from proxy.core.registry.records import ImageRecord
from proxy.model.digest import Digest
from proxy.model.reference import RepositoryName

_PAGE: Final = 500
# More images than these are judged beside the loop.
_PROMPT: Final = 200


async def survey(
    store: RegistryStore, repository: RepositoryName, policy: LifecyclePolicy, now: float
) -> list[Verdict]:
    """Return what `evaluate` says of the images of a repository. Memory is that of all their records.

    They are read a page at a time: what is pushed, pulled or removed meanwhile is seen as it was or as it is.
    """
    images: list[ImageRecord] = []
    parents: dict[Digest, set[Digest]] = {}
    after = ""
    while page := await store.images(repository, after, _PAGE):
        images += page
        parents |= await store.parents(repository, [image.digest for image in page])
        after = str(page[-1].digest)
    if len(images) <= _PROMPT:
        return evaluate(policy, images, parents, now)
    return await asyncio.to_thread(evaluate, policy, images, parents, now)
