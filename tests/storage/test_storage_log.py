"""The log of the store beside a reader that does not end: it holds up nobody, and the log is cut when it has gone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from lightfast.storage import checkpoint
from lightfast.storage.database import Database

GROWS = "the log of the store grows: something reads the database file and does not end"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read the file as a backup does, in another connection, and hold on to what it showed."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("BEGIN")
    list(connection.execute("SELECT count(*) FROM settings"))
    try:
        yield
    finally:
        connection.close()


async def write(db: Database, number: int) -> None:
    unit = db.unit()
    rows = [(f"{number}-{index}", "x" * 1000) for index in range(300)]
    unit.insert("INSERT OR REPLACE INTO settings VALUES(?, ?)", rows)
    await db.commit(unit)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "TRUNCATE_SIZE", 2 << 20)
    monkeypatch.setattr(checkpoint, "EVERY_SIZE", 1 << 18)


async def test_a_reader_that_does_not_end_holds_up_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "CUT_AGAIN", 0.0)
    path = tmp_path / "store.db"
    db = await Database.open(path)
    wal = path.with_name("store.db-wal")
    number = 0
    with capture_logs() as logs, reading(path):
        while wal.stat().st_size < 16 << 20 or GROWS not in [entry["event"] for entry in logs]:
            number += 1
            await write(db, number % 20)
    said = [entry["log_mb"] for entry in logs if entry["event"] == GROWS]
    # Told each time it has doubled, and not each time a cut fails.
    assert 1 <= len(said) <= 5
    assert all(later >= 2 * earlier for earlier, later in itertools.pairwise(said))
    assert not [entry for entry in logs if entry["event"] == "checkpoint failed"]
    async with asyncio.timeout(60):
        while wal.stat().st_size > 8 << 20:  # once the reader has gone
            number += 1
            await write(db, number % 20)
    await db.close()


async def test_after_a_cut_that_failed_the_next_one_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts: list[int] = []
    cut = checkpoint.Checkpointer._cut

    def counted(mine: checkpoint.Checkpointer, connection: apsw.Connection, size: int) -> None:
        cuts.append(size)
        cut(mine, connection, size)

    monkeypatch.setattr(checkpoint.Checkpointer, "_cut", counted)
    monkeypatch.setattr(checkpoint, "CUT_AGAIN", 3600.0)
    path = tmp_path / "store.db"
    db = await Database.open(path)
    wal = path.with_name("store.db-wal")
    with reading(path):
        number = 0
        while wal.stat().st_size < 12 << 20 or not cuts:
            number += 1
            await write(db, number % 20)
    await db.close()
    assert len(cuts) == 1
    assert not wal.exists()
