"""The WAL index: commits of other processes are seen, whatever becomes of these, and SQLite's locks stay in place."""

import asyncio
import mmap
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from proxy.model.digest import Digest
from proxy.storage.metadata import SqlMetadataStore, wal_index
from proxy.storage.metadata.wal_index import WalIndex
from tests.support.metadata import REPOSITORY, remember, tag

_CONNECT = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
_WRITE = "c.execute('INSERT INTO documents VALUES (hex(randomblob(8)), 1)'); "
# A page more than fits into the cache goes to the log before the commit.
_LARGE = "c.execute('PRAGMA cache_size=2'); c.execute('BEGIN'); [c.execute('INSERT INTO documents VALUES (?, ?)', "
_LARGE += "(str(n), 'x' * 9000)) for n in range(50)]; "
_ADD_PAGES = (
    "INSERT INTO t WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) SELECT randomblob(450) FROM n"
)
_KILL = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
# The byte that whoever has the WAL index open holds shared: only who can have it alone may truncate the file.
_DEAD_MAN = 128


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.sqlite"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlMetadataStore]:
    opened = await SqlMetadataStore.open(path)
    yield opened
    await opened.close()


async def elsewhere(path: Path, program: str, *, status: int = 0) -> None:
    """Run a program in another process, on a connection `c` of its own."""
    command = [sys.executable, "-c", _CONNECT + program, str(path)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == status, done.stderr.decode()


async def test_a_commit_of_another_process_is_seen(store: SqlMetadataStore, path: Path) -> None:
    before = store.generation()
    await elsewhere(path, _WRITE)

    assert store.generation() != before


async def test_a_process_that_only_reads_changes_nothing(store: SqlMetadataStore, path: Path) -> None:
    await remember(store, tag=tag())
    before = store.generation()
    await elsewhere(path, "c.execute('SELECT * FROM tags').fetchall(); c.close()")

    assert store.generation() == before


@pytest.mark.parametrize("end", ["c.execute('ROLLBACK')", _KILL])
async def test_what_was_not_committed_changes_nothing(store: SqlMetadataStore, path: Path, end: str) -> None:
    await remember(store, tag=tag())
    before = store.generation()
    await elsewhere(path, _LARGE + end, status=-9 if end == _KILL else 0)

    assert store.generation() == before
    await store.prove(REPOSITORY, Digest.of(b"blob"), None)
    assert store.generation() != before


async def test_a_killed_process_leaves_its_last_commit_seen(store: SqlMetadataStore, path: Path) -> None:
    before = store.generation()
    await elsewhere(path, _WRITE + _KILL, status=-9)

    assert store.generation() != before
    assert store.generation() == store.generation()


async def test_a_checkpoint_that_starts_the_log_anew_hides_no_commit(store: SqlMetadataStore, path: Path) -> None:
    seen = []
    for number in range(20):
        await store.prove(REPOSITORY, Digest.of(str(number).encode()), None)
        assert store.generation() not in seen
        seen.append(store.generation())
        await elsewhere(path, "c.execute('PRAGMA wal_checkpoint(TRUNCATE)')")


async def test_the_index_stays_while_all_others_come_and_go(store: SqlMetadataStore, path: Path) -> None:
    before = path.with_name("m.sqlite-shm").stat()
    for _ in range(2):
        other = await SqlMetadataStore.open(path)
        await remember(other, tag=tag())
        await other.close()
        await elsewhere(path, _WRITE + "c.close()")
    after = path.with_name("m.sqlite-shm").stat()

    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    seen = store.generation()
    await elsewhere(path, _WRITE)
    assert store.generation() != seen


async def is_held(path: Path) -> bool:
    """Tell whether another process could truncate the WAL index."""
    program = f"import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, {_DEAD_MAN})"
    command = [sys.executable, "-c", program, f"{path}-shm"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    assert done.returncode == 0 or b"BlockingIOError" in done.stderr
    return done.returncode != 0


async def test_closing_one_of_two_stores_leaves_the_locks_of_the_other(store: SqlMetadataStore, path: Path) -> None:
    await remember(store, tag=tag())
    other = await SqlMetadataStore.open(path)
    await other.prove(REPOSITORY, Digest.of(b"blob"), None)
    assert other.generation() == store.generation()
    assert await is_held(path)
    await other.close()

    assert await is_held(path)
    before = store.generation()
    await elsewhere(path, _WRITE)
    assert store.generation() != before


async def test_closing_the_last_store_closes_its_files(path: Path) -> None:
    for _ in range(3):
        store = await SqlMetadataStore.open(path)
        await remember(store, tag=tag())
        assert f"{path}-shm" in open_files()
        await store.close()

    assert [name for name in open_files() if name.startswith(str(path))] == []
    assert not path.with_name("m.sqlite-shm").exists()


def open_files() -> set[str]:
    """Return what the descriptors of this process lead to; one of them is that of the list itself."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def test_without_a_log_every_generation_is_another_and_the_log_says_so_once(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("CREATE TABLE t (a)")
    with structlog.testing.capture_logs() as logged:
        index = WalIndex.open(path)
        seen = [index.generation() for _ in range(3)]
    index.let_go()
    index.close()

    assert len(set(map(id, seen))) == len(seen)
    assert seen[0] != seen[1]
    assert [event["event"] for event in logged] == ["metadata.changes_unseen"]


@pytest.fixture
def header(path: Path) -> Iterator[tuple[WalIndex, mmap.mmap]]:
    """An open index, and the bytes of its header, to be changed as a writer does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a)")
        index = WalIndex.open(path)
        descriptor = os.open(f"{path}-shm", os.O_RDWR)
        with mmap.mmap(descriptor, 96) as written:
            yield index, written
        index.let_go()
    index.close()
    os.close(descriptor)


def test_it_knows_of_each_frame_of_a_long_log_which_page_it_is_of(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("page_size=512", "journal_mode=WAL", "wal_autocheckpoint=0"):
            connection.execute(f"PRAGMA {pragma}").close()
        connection.execute("CREATE TABLE t (a)").close()
        index = WalIndex.open(path)
        seen = [index.generation()]
        for _ in range(30):
            connection.execute(_ADD_PAGES).close()
            seen.append(index.generation())
        connection.execute("UPDATE t SET a = 1 WHERE rowid = 1").close()
        seen.append(index.generation())
        written = [frames(path, before, after) for before, after in pairwise(seen)]

        assert sum(map(len, written)) > 2 * 4096
        for pages, (before, after) in zip(written, pairwise(seen), strict=True):
            assert all(index.wrote({page}, before, after) for page in pages)
            assert not any(index.wrote({page}, before, after) for page in set(range(1, 10_000)) - pages)
        assert index.wrote({10_000}, seen[0], seen[-1])  # they are too many to look through
        index.let_go()
    index.close()


def frames(path: Path, before: object, after: object) -> set[int]:
    """Return the pages of the frames between two headers (https://www.sqlite.org/fileformat2.html, §4.1)."""
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    log, (first, last) = (
        path.with_name("m.sqlite-wal").read_bytes(),
        [int.from_bytes(h[16:20], "little") for h in (before, after)],
    )
    return {int.from_bytes(log[32 + 536 * number :][:4], "big") for number in range(first, last)}


def test_a_log_that_is_begun_anew_is_not_taken_for_the_one_before(
    path: Path, header: tuple[WalIndex, mmap.mmap]
) -> None:
    index, _ = header
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        first = index.generation()
        connection.execute("INSERT INTO t VALUES (1)").close()
        assert not index.wrote({9}, first, index.generation())
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        anew = index.generation()
        for _ in range(9):
            connection.execute("INSERT INTO t VALUES (1)").close()

    assert index.wrote({9}, first, index.generation())
    assert not index.wrote({9}, anew, index.generation())


def test_while_the_copies_differ_no_generation_is_that_of_before(header: tuple[WalIndex, mmap.mmap]) -> None:
    index, written = header
    before, second = index.generation(), written[48:96]
    written[48:96] = second[:8] + b"\xff" + second[9:]
    halfway = [index.generation(), index.generation()]
    written[48:96] = second

    assert before not in halfway
    assert halfway[0] != halfway[1]
    assert index.generation() == before


def test_an_index_that_is_not_written_yet_says_nothing(header: tuple[WalIndex, mmap.mmap]) -> None:
    index, written = header
    kept = written[:]
    written[:] = bytes(96)
    assert index.generation() != index.generation()
    written[:] = kept
    assert index.generation() == index.generation()


def test_a_format_of_the_future_is_not_read(path: Path, header: tuple[WalIndex, mmap.mmap]) -> None:
    _, written = header
    kept = written[:]
    written[:4] = written[48:52] = b"\xff\xff\xff\x7f"
    with structlog.testing.capture_logs() as logged:
        mapping = wal_index.open_header(Path(f"{path}-shm"))
    written[:] = kept

    assert mapping is None
    assert [event["event"] for event in logged] == ["metadata.changes_unseen"]
