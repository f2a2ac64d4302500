"""Images are found by indexes, and a page of them costs the same however many there are."""

import re
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from proxy.core.ports import ManifestPush, RepositoryRecord, TagWrite
from proxy.core.registry.records import PullNote
from proxy.model.descriptor import Descriptor
from proxy.model.digest import Digest
from proxy.model.media_types import OCI_INDEX, OCI_MANIFEST
from proxy.model.reference import Tag
from proxy.storage.metadata import SqlMetadataStore
from tests.support.metadata import HUB, REPOSITORY, manifest, pushed, remember

MANY = 30_000


async def test_every_statement_finds_its_rows_by_an_index(tmp_path: Path, statements: dict[str, Any]) -> None:
    store = await SqlMetadataStore.open(tmp_path / "m.sqlite")
    await store.create_repository(RepositoryRecord(REPOSITORY, 1.0))
    image, index = manifest("image"), manifest("index", media_type=OCI_INDEX)
    tags = TagWrite((pushed("latest", "index"),))
    await remember(store, image, Descriptor("layer", Digest.of(b"layer"), 7), provenance=HUB)
    child = Descriptor(OCI_MANIFEST, image.digest, 1)
    await store.push(REPOSITORY, ManifestPush(index, (child,), tags=tags), None)
    statements.clear()
    for tagged in (None, True, False):
        await store.images(REPOSITORY, "", 10, tagged=tagged)
    found = await store.images_named(REPOSITORY, [image.digest], [Tag("latest")])
    await store.parents(REPOSITORY, [image.digest])
    await store.note_pulls([PullNote(REPOSITORY, image.digest, 1.0)])
    await store.remove_unchanged(REPOSITORY, found)
    await store.remove_images(REPOSITORY, [image.digest])
    await store.remove_tag(REPOSITORY, Tag("latest"), None)
    await store.close()
    connection = sqlite3.connect(tmp_path / "m.sqlite")
    plans = {
        statement: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        for statement, parameters in statements.items()
        if not statement.startswith("BEGIN")
    }
    connection.close()

    assert len(plans) > 10
    assert {s: plan for s, plan in plans.items() if any(_is_slow(s, step) for step in plan)} == {}


def _is_slow(statement: str, step: str) -> bool:
    """Tell whether a step of a plan visits all rows of a table, or all that one repository has in a large one.

    But for the tags in order of digest: these come out of their index, and end with the page.
    """
    if statement.startswith("SELECT DISTINCT tags.digest") and step.startswith("SEARCH tags USING COVERING INDEX"):
        return "digest>?" not in step
    search = re.match(r"SEARCH (tags|manifests|descriptors|proofs) .*\((.*)\)", step)
    # A statement for one page sorts what is on it; a page itself comes in order.
    sorts = "TEMP B-TREE" in step and "LIMIT" in statement
    return sorts or step.startswith("SCAN") or (search is not None and " AND " not in search[2])


async def test_a_page_of_very_many_images_is_read_without_reading_them_all(tmp_path: Path) -> None:
    small, large = await _filled(tmp_path / "small.sqlite", 2_000), await _filled(tmp_path / "large.sqlite", MANY)
    steps = {}
    for store, path in ((small, "small.sqlite"), (large, "large.sqlite")):
        await store.images(REPOSITORY, "", 1)  # what is done once
        steps[path] = [await _steps(store, tagged=tagged) for tagged in (None, True)]
        await store.close()

    for few, many in zip(steps["small.sqlite"], steps["large.sqlite"], strict=True):
        assert many < 2 * few


async def _filled(path: Path, count: int) -> SqlMetadataStore:
    """Return a store with that many images of two sources in one repository, every tenth of which has a tag."""
    store = await SqlMetadataStore.open(path)
    for provenance in (None, HUB):
        await remember(store, manifest("first"), provenance=provenance)
    connection = sqlite3.connect(path)
    places = [row[0] for row in connection.execute("SELECT id FROM provenances")]
    digests = [str(Digest.of(str(number).encode())) for number in range(count)]
    now = time.time()
    rows = [(place, digest, OCI_MANIFEST, 1, "{}", now) for digest in digests for place in places]
    with connection:
        connection.executemany(
            "INSERT INTO manifests (provenance_id, digest, media_type, size, annotations, pushed_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.executemany(
            "INSERT INTO tags SELECT id, ?, ?, '', '', 0, 0, 'ok', 0, 0 FROM repositories",
            [(f"v{number}", digest) for number, digest in enumerate(digests) if number % 10 == 0],
        )
    connection.close()
    return store


async def _steps(store: SqlMetadataStore, *, tagged: bool | None) -> int:
    """Return how many thousand steps SQLite's machine makes for a page of a hundred."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    def watch(connection: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        connection.connection.driver_connection.set_progress_handler(tick, 1000)

    event.listen(Engine, "begin", watch)
    try:
        assert len(await store.images(REPOSITORY, "sha256:2", 100, tagged=tagged)) == 100
    finally:
        event.remove(Engine, "begin", watch)
    return count
