"""Whoever waits for a thread of the store is told, whatever ends it, and a close ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from lightfast.core.clock import StillClock
from lightfast.storage import checkpoint, writer
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests


async def test_a_mistake_in_the_writer_fails_its_group_and_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = await Database.open(tmp_path / "store.db")
    async with asyncio.timeout(120):
        with monkeypatch.context() as patch:

            def fails(*_: Any) -> None:
                raise MemoryError("there is none left")

            patch.setattr(writer.Writer, "_write_plain", fails)
            with pytest.raises(MemoryError, match="there is none left"):
                await db.commit(db.unit())
        unit = db.unit()
        unit.execute("INSERT INTO settings VALUES('k', x'00')")
        await db.commit(unit)
        assert await db.query("SELECT key FROM settings WHERE key = 'k'") == [("k",)]
        await db.close()


async def test_a_writer_whose_thread_ended_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    db = await Database.open(tmp_path / "store.db")

    def breaks(*_: Any) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(checkpoint.Checkpointer, "written", breaks)
    db._checkpointer = checkpoint.Checkpointer(db._connect, db.path)
    assert db._writer is not None
    db._writer._on_written = db._checkpointer.written
    async with asyncio.timeout(120):
        await db.commit(db.unit())
        await db.close()
    assert [each.exc_type for each in told] == [KeyError]


async def test_writes_go_on_where_the_system_has_no_thread_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_GROUPS", 1)
    start, refused = threading.Thread.start, []

    def scarce(self: threading.Thread) -> None:
        if self.name == "lightfast-store-checkpoint":
            refused.append(self.name)
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    db = await Database.open(tmp_path / "store.db")
    async with asyncio.timeout(120):
        for _ in range(3):
            await db.commit(db.unit())
        assert refused
        await db.close()


async def test_a_request_that_was_cut_off_before_it_began_is_answered(tmp_path: Path) -> None:
    begun = []

    async def call() -> bytes:
        begun.append(True)
        return b""

    clock = StillClock()
    db = await Database.open(tmp_path / "store.db", clock=clock)
    requests = Requests(db, clock)
    asking = asyncio.ensure_future(requests.once("c", "M", "id", b"payload", call))
    await asyncio.sleep(0)  # it has asked, and nothing of the answer has run
    assert requests._running
    await requests.close()
    done, _ = await asyncio.wait((asking,), timeout=120)
    assert done
    assert asking.cancelled()
    assert not begun
    assert not requests._running
    await db.close()
