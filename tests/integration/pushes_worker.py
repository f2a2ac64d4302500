"""A worker process: it pushes many manifests to one immutable tag at once, when standard input says so.

Arguments: the database, the tag, then the texts of the manifests. Lines out: "ready", then one of JSON,
``{"won": [text], "kept": [digest]}``: what was pushed, and what the others were told to be there.
"""

import asyncio
import json
import sys
from pathlib import Path

from proxy.core.ports import TagKeptError, TagWrite
from proxy.model.tag_policy import TagMutability, TagPolicy
from proxy.storage.metadata import SqlMetadataStore
from tests.support.metadata import REPOSITORY, push_of

KEPT = TagWrite(default=TagPolicy(TagMutability.IMMUTABLE))


async def work(path: Path, tag: str, texts: list[str]) -> None:
    store = await SqlMetadataStore.open(path)
    won: list[str] = []
    kept: set[str] = set()

    async def push(text: str) -> None:
        try:
            await store.push(REPOSITORY, push_of(text, tag, write=KEPT), None)
            won.append(text)
        except TagKeptError as error:
            kept.add(str(error.record.digest))

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    async with asyncio.TaskGroup() as pushes:
        for text in texts:
            pushes.create_task(push(text))
    await store.close()
    sys.stdout.write(json.dumps({"won": won, "kept": sorted(kept)}) + "\n")


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
