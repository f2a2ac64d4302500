"""Emulated upstream registries on a loop of their own, for tests that block, and small images in them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any, Self, TypeVar

import trustme

from proxy.core.clock import SystemClock
from tests.emulators import KINDS, Emulator, Route, run
from tests.emulators.content import Content, Manifest, Repository, Samples, image, index
from tests.support.images import Image

T = TypeVar("T")


class Emulated:
    """Emulators of `kinds` behind one certificate authority, in a thread. Use as a context manager.

    What they hold may be changed from other threads between requests. Clocks are real: so are those of the product.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        clock = SystemClock()
        self._emulators = {kind: KINDS[kind](Content(Samples(f"{kind}, public")), clock) for kind in kinds}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulators")
        self._stack = AsyncExitStack()

    def __getitem__(self, kind: str) -> Emulator:
        return self._emulators[kind]

    @property
    def settings(self) -> dict[str, Any]:
        """Return the section `upstreams` of a configuration that reaches all of them."""
        running = list(self._emulators.values())
        connect_to = {host: target for each in running for host, target in each.listener.connect_to.items()}
        return {"connect_to": connect_to, "ca_file": str(running[0].listener.ca_file)}

    def stop(self, kind: str) -> None:
        """Refuse connections, until `resume`."""
        self._do(self[kind].listener.stop)

    def resume(self, kind: str) -> None:
        self._do(self[kind].listener.resume)

    def _do(self, work: Callable[[], Awaitable[T]]) -> T:
        async def awaited() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(30)

    async def _open(self) -> None:
        authority = trustme.CA()
        for emulator in self._emulators.values():
            await self._stack.enter_async_context(run(emulator, authority=authority))

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stack.aclose)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def publish(emulator: Emulator, name: str, tag: str, content: str = "") -> str:
    """Put an image of one layer under `tag`, in the place of an earlier one; return its digest."""
    repository = emulator.repositories.setdefault(name, Repository())
    layer = repository.put_blob(f"{emulator.host} {name} {content}".encode() * 100)
    return str(repository.put(image(repository, layer), tag).digest)


def publish_index(emulator: Emulator, name: str, tag: str) -> tuple[Manifest, list[Manifest]]:
    """Put an index of two platforms under `tag`; return it and the images in it."""
    repository = emulator.repositories.setdefault(name, Repository())
    children = []
    for architecture in ("amd64", "arm64"):
        layer = repository.put_blob(f"{emulator.host} {name} {architecture}".encode() * 100)
        children.append(repository.put(image(repository, layer, architecture=architecture)))
    platforms = zip(children, ("amd64", "arm64"), strict=True)
    described = [child.descriptor(platform={"architecture": name, "os": "linux"}) for child, name in platforms]
    return repository.put(index(*described), tag), children


def checks(emulator: Emulator, name: str, reference: str) -> int:
    """Return how often a manifest was asked for, with GET or HEAD; first requests without a token do not count."""
    asked = emulator.journal.of(Route.MANIFEST, containing=f"/v2/{name}/manifests/{reference}")
    return sum(each.status != HTTPStatus.UNAUTHORIZED for each in asked)


def publish_image(emulator: Emulator, name: str, tag: str, built: Image) -> None:
    """Put an image that was built elsewhere under `tag`."""
    repository = emulator.repositories.setdefault(name, Repository())
    for blob in built.blobs.values():
        repository.put_blob(blob)
    repository.put_raw(built.manifest, built.media_type, tag)
