"""Traces of triggers: one for what did not fire for the same reason in a row, whenever they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from lightfast.core.clock import StillClock
from lightfast.core.errors import Exhausted
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import Wanted
from lightfast.engine.triggers.traces import Traces
from lightfast.storage.database import Database, Done, Unit


class Desk:
    """The traces over a database whose disk may be full."""

    def __init__(self, db: Database, events: EventLog, traces: Traces) -> None:
        self.db, self.events, self.traces = db, events, traces
        self.full = False
        self._commit = db.commit
        db.commit = self.commit  # type: ignore[method-assign]

    async def commit(self, unit: Unit, then: Done | None = None) -> None:
        if self.full:
            await asyncio.sleep(0)  # it is only heard of a moment later
            raise Exhausted("the disk is full", reason="DISK_FULL")
        await self._commit(unit, then)

    def add(self, *codes: str, trigger: str = "a-1") -> None:
        for code in codes:
            self.traces.add(trigger, "a", code, f"it is {code}", fired=code == "fired")

    async def flush_fails(self, *meanwhile: str) -> None:
        """Write, and fail; *meanwhile* more comes."""
        self.full = True
        writing = asyncio.ensure_future(self.traces.flush())
        await asyncio.sleep(0)
        self.add(*meanwhile)
        with pytest.raises(Exhausted):
            await writing
        self.full = False

    async def codes(self, trigger: str = "a-1") -> list[tuple[str, int]]:
        """Return what is kept, the oldest first."""
        return [(each.code, each.times) for each in reversed(await self.traces.page(trigger, 1000))]


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Desk]:
    clock = StillClock()
    db = await Database.open(folder / "store.db", clock=clock)
    try:
        events = await EventLog.open(db, clock)
        yield Desk(db, events, await Traces.open(db, events, clock, 10_000))
        await events.close()
    finally:
        await db.close()


async def test_what_counts_on_and_what_is_new_are_written_together(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.add("false")
        await here.traces.flush()
        here.add("false", "false", "fired", "still_true")
        assert await here.codes() == [("false", 3), ("fired", 1), ("still_true", 1)]
        kinds = [each.kind for each in await here.events.page(0, Wanted(("trigger.*",)), 10)]
        assert kinds == ["trigger.held_back", "trigger.fired", "trigger.held_back"]
        assert (here.traces.of("a-1").fired, here.traces.of("a-1").held_back) == (1, 4)
    async with desk(tmp_path) as here:
        assert (here.traces.of("a-1").fired, here.traces.of("a-1").held_back) == (1, 4)
        here.add("still_true")
        assert await here.codes() == [("false", 3), ("fired", 1), ("still_true", 1), ("still_true", 1)]


async def test_what_comes_while_it_is_written_counts_on(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.add("fired", "false")
        writing = asyncio.ensure_future(here.traces.flush())
        await asyncio.sleep(0)
        here.add("false")
        await writing
        here.add("false")
        assert await here.codes() == [("fired", 1), ("false", 3)]


async def test_a_full_disk_loses_none_and_counts_on(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.add("false")
        await here.traces.flush()
        here.add("false", "fired", "still_true")
        await here.flush_fails("still_true", "still_true", "false")
        await here.flush_fails("false")
        here.add("false")
        assert await here.codes() == [("false", 2), ("fired", 1), ("still_true", 3), ("false", 3)]
        assert (here.traces.of("a-1").fired, here.traces.of("a-1").held_back) == (1, 8)


async def test_they_are_the_same_whenever_they_are_written(tmp_path: Path) -> None:
    """Any order of traces, writes and failures gives what one write at the end would."""
    for seed in range(20):
        chance = Random(seed)
        wanted: dict[str, list[tuple[str, int]]] = {"a-1": [], "b-1": []}
        (tmp_path / str(seed)).mkdir()
        async with desk(tmp_path / str(seed)) as here:
            writing: list[asyncio.Future[None]] = []
            for _ in range(80):
                trigger, code = chance.choice(tuple(wanted)), chance.choice(("false", "false", "fired", "cooldown"))
                here.add(code, trigger=trigger)
                told = wanted[trigger]
                if told and told[-1][0] == code != "fired":
                    told[-1] = code, told[-1][1] + 1
                else:
                    told.append((code, 1))
                here.full = chance.random() < 0.3
                if chance.random() < 0.5:
                    writing.append(asyncio.ensure_future(here.traces.flush()))
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            here.full = False
            await asyncio.gather(*writing, return_exceptions=True)
            found = {trigger: await here.codes(trigger) for trigger in wanted}
            assert found == wanted, seed
