"""How long a server takes to its first answer, with an empty store and with a large one, and whether look-ups grow."""

import http.client
import random
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.client import Ask
from benchmarks.servers import Contestant
from benchmarks.sheet import REQUESTS, SECONDS, MeasureError, Quantity, Sheet
from benchmarks.stage import Stage
from tests.support import images

EMPTY = "start to the first answer, empty store"
STORE = "start, then 2 000 tags of {rows} looked up"
FEW_ROWS = 2000
_LOOKUPS = 2000
_PATIENCE = 60.0
_POLL = 0.002
# What a row is found by, made anew for each copy of a row; the rest of the row stays as it is.
_COPIES = {
    "tags": {"name": "'t' || n"},
    "manifests": {"digest": "printf('sha256:%064x', n)"},
    "proofs": {"digest": "printf('sha256:%064x', n)"},
}


def run(stage: Stage, sheet: Sheet) -> None:
    """Measure first starts beside docker-registry's, then starts and look-ups over two sizes of the metadata."""
    image = images.of_blobs(b"{}", [b"layer"])
    stage.content.add(image, "bench", "1")
    product = _compiled(stage)
    sheet.compare(EMPTY, [product, *stage.registries(proxy=True)], _start)
    for rows in (FEW_ROWS, stage.options.rows):
        _grow(stage, product, rows)
        sheet.compare(STORE.format(rows=rows), [product], partial(_start_and_look_up, stage, rows))


def _compiled(stage: Stage) -> Contestant:
    """Return the product with its modules compiled, as installers leave them: a first start would compile each."""
    product = stage.product()
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(stage.folder / "bytecode")}
    product.environment = {**(product.environment or {}), **kept}
    try:
        product.start()
    finally:
        product.stop()
    return product


def _start(contestant: Contestant, _: int) -> Mapping[Quantity, float]:
    shutil.rmtree(_store(contestant), ignore_errors=True)
    try:
        return {SECONDS: _time_start(contestant)}
    finally:
        contestant.stop()


def _start_and_look_up(stage: Stage, rows: int, contestant: Contestant, turn: int) -> Mapping[Quantity, float]:
    chance = random.Random(turn)  # noqa: S311 - which tags are asked for
    tags = chance.sample(range(1, rows + 1), _LOOKUPS)  # none twice: it would be in memory
    try:
        seconds = _time_start(contestant)
        done = stage.driver.load(contestant, [[Ask("HEAD", contestant.path("manifests", f"t{tag}"))] for tag in tags])
        return {SECONDS: seconds, REQUESTS: done.answers / done.seconds}
    finally:
        contestant.stop()


def _time_start(contestant: Contestant) -> float:
    begun = time.perf_counter()
    contestant.launch()
    while not _answers(contestant.port):
        if contestant.ended() or time.perf_counter() - begun > _PATIENCE:
            raise MeasureError(contestant.ended() or f"no answer in {_PATIENCE:.0f} s")
        time.sleep(_POLL)
    return time.perf_counter() - begun


def _grow(stage: Stage, product: Contestant, rows: int) -> None:
    """Make the store anew: pull one image through, then copy its rows within the database."""
    shutil.rmtree(_store(product), ignore_errors=True)
    try:
        product.start()
        stage.driver.load(product, [[Ask("GET", product.path("manifests", "1"))]])
    finally:
        product.stop()
    with closing(sqlite3.connect(_store(product) / "metadata.sqlite")) as database:
        for table, made in _COPIES.items():
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            chosen = ", ".join(made.get(column, column) for column in columns)
            database.execute(
                f"INSERT INTO {table} WITH RECURSIVE numbers(n) AS "  # noqa: S608 - names are those of the table above
                f"(SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows}) "
                f"SELECT {chosen} FROM (SELECT * FROM {table} LIMIT 1), numbers",
            )
        database.commit()


def _store(contestant: Contestant) -> Path:
    return contestant.log.parent / "store"


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    with closing(connection):
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
