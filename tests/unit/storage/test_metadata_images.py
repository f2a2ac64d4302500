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
    (untagged,) = [plan for statement, plan in plans.items() if "untagged = 1" in statement and "LIMIT" in statement]
    assert untagged == ["SEARCH manifests USING INDEX ix_manifests_untagged (provenance_id=? AND digest>?)"]
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
    few, many = [await _pages(tmp_path / str(count), count, 10) for count in (2_000, MANY)]

    assert [larger < 2 * smaller for smaller, larger in zip(few, many, strict=True)] == [True] * 3


async def test_a_page_of_the_few_with_tags_or_without_passes_over_the_others(tmp_path: Path) -> None:
    with_few = await _pages(tmp_path / "few have tags", MANY, MANY // 300)
    with_many = await _pages(tmp_path / "few have none", MANY, MANY // 300, turned=True)

    # To pass over the others takes a hundred times as many.
    assert max(*with_few, *with_many) < 5 * min(*with_few, *with_many)


async def _pages(path: Path, count: int, nth: int, *, turned: bool = False) -> list[int]:
    """Return how many steps pages take: of all images, of those with tags, of those without."""
    store = await _filled(path, count, nth, turned=turned)
    await store.images(REPOSITORY, "", 1)  # what is done once
    steps = [await _steps(store, tagged=tagged) for tagged in (None, True, False)]
    await store.close()
    return steps


async def _filled(path: Path, count: int, nth: int, *, turned: bool) -> SqlMetadataStore:
    """Return a store with that many images of two sources in one repository; each `nth` has a tag, or has none."""
    store = await SqlMetadataStore.open(path)
    for provenance in (None, HUB):
        await remember(store, manifest("first"), provenance=provenance)
    connection = sqlite3.connect(path)
    connection.execute("CREATE INDEX temporary ON manifests (digest)")
    places = [row[0] for row in connection.execute("SELECT id FROM provenances")]
    digests = [str(Digest.of(str(number).encode())) for number in range(count)]
    now = time.time()
    tagged = [number for number in range(count) if (number % nth == 0) is not turned]
    rows = [(place, digest, OCI_MANIFEST, 1, "{}", now) for digest in digests for place in places]
    with connection:
        connection.executemany(
            "INSERT INTO manifests (provenance_id, digest, media_type, size, annotations, pushed_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.executemany(
            "INSERT INTO tags SELECT id, ?, ?, '', '', 0, 0, 'ok', 0, 0 FROM repositories",
            [(f"v{number}", digests[number]) for number in tagged],
        )
        connection.executemany(
            "UPDATE manifests SET untagged = 0 WHERE digest = ?", [(digests[number],) for number in tagged]
        )
        connection.execute("DROP INDEX temporary")
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
