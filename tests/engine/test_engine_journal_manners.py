"""Recordings and replays that meet each other, a lock, a panic, or a reader who leaves."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.engine.test_engine_journal import journal
from tests.engine.test_engine_journal_replay import outcome, play, record
from tests.support.desk import open_desk

from lightfast.context.entry import Set
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.journal import journal as journal_module
from lightfast.engine.journal import writer
from lightfast.engine.journal.reader import Reader
from lightfast.engine.links.links import Link
from lightfast.engine.show.guard import Guard, Lock


async def test_what_is_being_recorded_cannot_be_replayed_into_itself(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        found.recorder.start("take", "local")
        await desk.set("/a", 1.0)
        with pytest.raises(FailedPrecondition) as caught:
            await play(found)
        assert caught.value.reason == "RECORDING_ACTIVE"
        await found.recorder.stop()
        assert outcome(await play(found)).refused == 0
        found.recorder.start("second", "local")
        await play(found, everything=True)  # another one may be: its writes are recorded like all others
        await found.recorder.stop()


async def test_a_locked_show_gets_no_links_and_declarations_by_a_replay(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        guard = Guard()
        async with journal(desk, guard=guard) as found:
            link = await desk.links.create(Link("/a", "/b"))
            await record(desk, found, lambda: desk.set("/a", 3.0))
            await desk.links.delete(link.link_id)
            guard.lock = Lock("ann", 1, "opening night")
            with pytest.raises(FailedPrecondition) as caught:
                await play(found, set_up=True)
            assert caught.value.reason == "SHOW_LOCKED"
            assert len(desk.links) == 0
            await desk.set("/a", 4.0)
            assert outcome(await play(found)).refused == 0, "playing is what a show is for"
            assert desk.entry("/a").value == 3.0
            guard.unlocked()
            await play(found, set_up=True)
            assert len(desk.links) == 1


async def test_a_reader_who_leaves_an_export_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        await record(desk, found, lambda: desk.set("/a", 3.0))
        reading, go = threading.Event(), threading.Event()
        closed: list[Reader] = []
        part, leave = journal_module._part, Reader.__exit__

        def slow(source: object) -> str:
            text = part(source)  # type: ignore[arg-type]
            reading.set()
            go.wait(60)
            return text

        def left(self: Reader, *args: object) -> None:
            closed.append(self)
            leave(self, *args)

        monkeypatch.setattr(journal_module, "_part", slow)
        monkeypatch.setattr(Reader, "__exit__", left)
        monkeypatch.setattr(journal_module, "EXPORT_LINES", 1)
        export = found.export("take")
        step = asyncio.ensure_future(anext(export))
        async with asyncio.timeout(60):
            while not reading.is_set():
                await asyncio.sleep(0.01)
            step.cancel()
            await asyncio.sleep(0.05)
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await step
            assert len(closed) == 1


async def test_a_large_state_at_the_beginning_is_cut_into_records_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RECORD_BYTES", 10_000)
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        for index in range(12):
            await desk.store.apply([Set(f"/big/{index}", "x" * 4_000)], origin="client:test")
        await record(desk, found, lambda: desk.set("/a", 3.0))
        with Reader(tmp_path / "recordings" / "take.lfrec") as reader:
            sizes = [sum(len(str(row.value)) for row in item) for item in reader.items() if isinstance(item, list)]
        assert sum(sizes) >= 48_000
        assert max(sizes) <= 10_000 + 4_000


async def test_what_was_known_of_a_recording_goes_with_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, journal(desk) as found:
        for name in ("one", "two", "three"):
            found.recorder.start(name, "local")
            await found.recorder.stop()
            await found.list()
            await found.delete(name)
        assert found._known == {}
