"""Uploads into files, step by step, and functions of the operating system that tests watch or stop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from proxy.core.rules import Resolution
from proxy.core.upload_ports import UploadBusyError, UploadRecord, UploadStore
from proxy.model.digest import Digest
from proxy.model.principal import ANONYMOUS
from proxy.model.reference import RepositoryName


class Pause:
    """Stop the first call of a function of the operating system until `go_on`; the call is made then."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self._stopped = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - stands for any function
        if not self._stopped.is_set():
            self._stopped.set()
            self.go_on.wait(60)
        return self._real(*args, **kwargs)

    async def stopped(self) -> None:
        assert await asyncio.to_thread(self._stopped.wait, 60)


class Calls(list[str]):
    """Write down the names of calls; then the calls are made."""

    def note(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - stands for any function
            self.append(name)
            return real(*args, **kwargs)

        return call


async def begun(store: UploadStore, data: bytes = b"", algorithm: str = "sha256") -> str:
    record = UploadRecord(str(uuid4()), RepositoryName("team/app"), ANONYMOUS, algorithm)
    await store.begin(record)
    if data:
        await append(store, record.id, data)
    return record.id


async def append(store: UploadStore, upload: str, data: bytes) -> None:
    async with store.open(upload) as opened:
        await opened.append(data)


async def commit(store: UploadStore, upload: str, digest: Digest) -> None:
    async with store.open(upload) as opened:
        await opened.commit(digest)


async def size(store: UploadStore, upload: str) -> int | None:
    found = await store.find(upload)
    return None if found is None else found[1]


async def taken(store: UploadStore, upload: str) -> None:
    """Wait until the upload can be had, as it must in the end."""
    while True:
        try:
            async with store.open(upload):
                return
        except UploadBusyError:
            await asyncio.sleep(0)


async def anyone(source: Resolution) -> bool:
    """Tell that the client may pull from a repository, for mounts."""
    del source
    return True
