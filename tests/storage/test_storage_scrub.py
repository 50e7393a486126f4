"""The search of a database's own bytes: it finds them wherever they lie, and leaves SQLite its locks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lightfast.context.upkeep.purge_files import files, holders
from lightfast.core.clock import SYSTEM
from lightfast.storage.database import Database
from lightfast.storage.scrub import cut_log, holds

STRANGER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print([text for (text,) in connection.execute("SELECT text FROM notes")])
connection.close()
"""


def as_a_stranger_sees_it(path: Path) -> str:
    """Open the database in another process, as a database browser does, and close it again."""
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


async def note(db: Database, text: str) -> None:
    def write(connection: object) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS notes(text)")  # type: ignore[attr-defined]
        connection.execute("INSERT INTO notes VALUES(?)", (text,))  # type: ignore[attr-defined]

    await db.alone(write)


async def test_who_opens_the_database_after_a_search_does_not_take_its_log_away(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
    try:
        await note(db, "one")
        found = files([tmp_path])
        assert {path.name for path in found} >= {"store.db", "store.db-wal", "store.db-shm"}
        holders(found, [b"something"])
        assert as_a_stranger_sees_it(db.path) == "['one']"
        assert db.path.with_name("store.db-wal").exists(), "the stranger took itself for the only one"
        await note(db, "two")
        assert as_a_stranger_sees_it(db.path) == "['one', 'two']"
    finally:
        await db.close()
    again = await Database.open(tmp_path / "store.db", clock=SYSTEM)
    try:
        assert as_a_stranger_sees_it(again.path) == "['one', 'two']", "what was written after the search is lost"
    finally:
        await again.close()


async def test_bytes_are_found_in_the_log_and_in_the_file(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
    wal = db.path.with_name("store.db-wal")
    try:
        await note(db, "a heron")
        assert holders(files([tmp_path]), [b"a heron"]) == [wal]
        await cut_log(db)
        assert holders(files([tmp_path]), [b"no such", b"a heron"]) == [db.path]
        assert not holds(db.path, [b"an otter"])
    finally:
        await db.close()


def test_what_is_gone_holds_nothing_and_what_cannot_be_read_may(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    assert not holds(tmp_path / "gone.db", [b"x"])
    assert not holds(tmp_path / "gone", [b"x"])
    with pytest.raises(OSError, match="cannot be read"):
        holds(tmp_path / "folder.db", [b"x"])
    assert holders([tmp_path / "folder.db", tmp_path / "gone.db"], [b"x"]) == [tmp_path / "folder.db"]
