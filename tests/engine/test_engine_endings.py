"""Ends that nobody may wait for: a full disk, a reader that does not read, a cancellation in a bad moment."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_scenes import stage
from tests.support.desk import App, hello, open_desk, until
from tests.support.desk_back import ASKER, desk_house
from tests.support.player import stage as timeline

from lightfast.context.entry import Set
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Cancelled, Exhausted
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps import registry
from lightfast.engine.desk.records import Line
from lightfast.engine.events.records import Event
from lightfast.engine.operations.waiting import _reached
from lightfast.engine.scenes import recalls
from lightfast.engine.scenes.records import Asked, Verified
from lightfast.engine.show import show as showing
from lightfast.engine.show.show import Show
from lightfast.engine.triggers.files import FolderWatch
from lightfast.engine.triggers.live import Live
from lightfast.engine.triggers.sources import OtherSources
from lightfast.engine.workflows.records import Place, TriggerSpec


async def full(*_: Any, **__: Any) -> Any:
    raise Exhausted("the disk is full", reason="DISK_FULL")


async def test_applications_are_not_waited_for_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CLOSE_S", 0.05)
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        with monkeypatch.context() as patch:
            patch.setattr(desk.store, "apply", full)
            app.turn("song/tempo", 90.0)
            async with asyncio.timeout(60):
                await desk.registry.close()


async def test_the_record_of_a_panic_is_not_waited_for_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "CLOSE_S", 0.05)
    async with open_desk(tmp_path) as desk:
        show = await Show.open(desk.store, desk.db, SYSTEM, desk.tasks)
        monkeypatch.setattr(show, "_save", full)
        show.stop("me", "enough")
        async with asyncio.timeout(60):
            await show.close()


async def test_a_recall_whose_caller_neither_reads_nor_leaves_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalls, "MAX_STEPS", 1)
    monkeypatch.setattr(recalls, "STOP_S", 0.05)
    async with stage(tmp_path) as at:
        await at.desk.store.apply([Set("/a", 1)], origin="client:me")
        await at.save("s")
        await at.desk.store.apply([Set("/a", 2)], origin="client:me")
        steps = at.recalls.recall(Asked("s"), origin="client:me")
        await anext(steps)  # what is planned; from here on nobody reads
        await until(lambda: at.values()["/a"] == 1)
        async with asyncio.timeout(60):
            await at.recalls.close()
            assert not at.recalls.running
            with pytest.raises(Cancelled):
                assert not [step async for step in steps if isinstance(step, Verified)]


async def test_a_folder_that_begins_to_be_watched_as_all_ends_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, started, closed = threading.Event(), threading.Event(), list[str](), list[str]()

    def start(watch: FolderWatch, _: Any) -> None:
        begun.set()
        go_on.wait(30)
        started.append(watch.folder.name)

    monkeypatch.setattr(FolderWatch, "start", start)
    monkeypatch.setattr(FolderWatch, "close", lambda watch: closed.append(watch.folder.name))
    sources = OtherSources(None, SYSTEM, lambda *_: None, lambda: None)
    specs = [TriggerSpec("t", "t", kind="file", folder=str(tmp_path / name), place=Place(1, 1)) for name in "abc"]
    async with TaskGroup("test") as tasks:
        watching = asyncio.ensure_future(sources.watch([Live.of(spec) for spec in specs], tasks))
        try:
            assert await asyncio.to_thread(begun.wait, 20)
            await sources.close()
        finally:
            go_on.set()
        async with asyncio.timeout(60):
            await watching
    assert started == closed
    assert len(started) == 1
    assert not sources.folders


class Timeline:
    """One that is far from the beat."""

    beats, tempo, playing = 0.0, 1.0, True

    def record(self) -> Timeline:
        return self


@pytest.mark.parametrize("ticks", range(6))
async def test_a_wait_is_cancelled_also_as_its_news_come(tmp_path: Path, ticks: int) -> None:
    """Python 3.11's `asyncio.wait_for` swallows a cancellation that comes as what it waits for is done."""

    class Bench:
        def progress(self, *_: Any) -> None: ...

    async with open_desk(tmp_path) as desk:
        waiting = asyncio.ensure_future(_reached(Timeline(), desk.store, 8.0, Bench()))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        await desk.set("/transport/news", 1)
        for _ in range(ticks):
            await asyncio.sleep(0)
        waiting.cancel()
        done, _ = await asyncio.wait((waiting,), timeout=10)
        assert done
        assert waiting.cancelled()


@pytest.mark.parametrize("ticks", range(5))
async def test_what_is_asked_of_the_timeline_as_it_ends_leaves_nothing_behind(tmp_path: Path, ticks: int) -> None:
    """A coroutine that nobody ever awaits is an error here: pytest tells of it."""
    async with timeline(tmp_path) as (desk, transport):
        await desk.set("/transport/tempo", 90.0)
        for _ in range(ticks):
            await asyncio.sleep(0)
        await transport.close()
        gc.collect()


async def test_the_end_of_a_run_as_the_desk_ends_leaves_nothing_behind(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        follower = house.desk._follower
        await follower._take(Event(1, 1, "run.succeeded", "run", "run-9", {}))
        follower.taken(Line("line-1", "client:test", "tc:a", "tc:a", "tc", ASKER, 1), "job-1")
        await follower._take(Event(2, 1, "job.dead", "job", "job-1", {}))
        await follower.close()
        gc.collect()
