"""Daily limits outlast restarts and crashes, and lean high."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sessions import Sessions, sessions, settled

from lightfast.core.clock import SYSTEM, StillClock
from lightfast.core.errors import Exhausted, Unavailable
from lightfast.sdk import Usage
from lightfast.storage.database import Database

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))


def left(rooms: Sessions) -> float:
    """Return what is left of the daily limit."""
    return next(limit.remaining for limit in rooms.book.records(["service"])[0].limits if limit.window == 86_400)


async def test_a_day_goes_on_after_a_restart(tmp_path: Path) -> None:
    clock = StillClock(SYSTEM.now_ns())
    for expected in (1000.0, 900.0, 800.0):
        db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
        async with sessions(tmp_path, limits={"tokens_per_day": 1000}, db=db, clock=clock) as rooms:
            place = await rooms.reserve(100, 100)
            assert left(rooms) == expected - 200
            place.settle(Usage(50, 50), 0.1)
            assert left(rooms) == expected - 100
        await db.close()
        clock.advance(3600.0)
    for hours, expected in ((20.9, 700.0), (0.2, 800.0), (0.2, 800.0), (3, 1000.0)):
        clock.advance(hours * 3600.0)
        db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
        async with sessions(tmp_path, limits={"tokens_per_day": 1000}, db=db, clock=clock) as rooms:
            (await rooms.reserve(1, 1)).release()
            assert left(rooms) == expected
        await db.close()


async def test_a_clock_that_went_back_leans_high(tmp_path: Path) -> None:
    clock = StillClock(SYSTEM.now_ns())
    db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
    async with sessions(tmp_path, limits={"requests_per_day": 2}, db=db, clock=clock) as rooms:
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)
    back = StillClock(clock.now_ns() - 10**13)
    async with sessions(tmp_path, limits={"requests_per_day": 2}, db=db, clock=back) as rooms:
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        with pytest.raises(Exhausted, match="at the earliest"):
            await rooms.reserve(deadline=60.0)
    await db.close()


class Slow:
    """A database whose writes wait until they are let go, or fail."""

    def __init__(self, db: Database) -> None:
        self.db, self.gate, self.error = db, asyncio.Event(), None
        self.unit, self.query = db.unit, db.query
        self.writes = 0

    async def commit(self, unit: object) -> None:
        self.writes += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        await self.db.commit(unit)  # type: ignore[arg-type]

    error: Exception | None


async def test_nothing_is_sent_that_is_not_counted_on_the_disk(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
    slow = Slow(db)
    async with sessions(tmp_path, limits={"requests_per_day": 1000}, db=slow) as rooms:
        tasks = [asyncio.get_running_loop().create_task(rooms.reserve()) for _ in range(5)]
        await settled(50)
        assert not any(task.done() for task in tasks)
        assert slow.writes == 1
        tasks[0].cancel()
        slow.gate.set()
        done, _ = await asyncio.wait(tasks[1:], timeout=60.0)
        assert len(done) == 4
        assert left(rooms) == 996.0
        slow.gate.clear()
        before = slow.writes
        for _ in range(5):  # within the headroom nobody waits
            (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        assert slow.writes == before
        slow.error = Unavailable("the disk is gone", reason="STORE_IO")
        slow.gate.set()
        for _ in range(4):  # what is left of the headroom
            (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        rooms.clock.advance(200.0)  # a new slot
        with pytest.raises(Unavailable, match="the disk is gone"):
            await rooms.reserve()
        slow.error = None
        (await rooms.reserve()).release()
    await db.close()


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(("take", "settle", "release", "pass", "flush")), st.integers(0, 300)), max_size=25
    )
)
def test_the_disk_never_holds_less_than_was_used(steps: list[tuple[str, int]], tmp_path_factory: object) -> None:
    async def run() -> None:
        folder = tmp_path_factory.mktemp("kept")  # type: ignore[attr-defined]
        db = await Database.open(folder / "store.db", clock=SYSTEM)
        clock = StillClock(SYSTEM.now_ns())
        async with sessions(folder, limits={"tokens_per_day": 10_000}, db=db, clock=clock) as rooms:
            places: list[tuple[object, int]] = []
            used = 0
            for step, number in steps:
                match step:
                    case "take":
                        try:
                            places.append((await rooms.reserve(number, 1, deadline=0.0), number + 1))
                        except Exhausted:
                            continue
                        used += number + 1
                    case "settle" | "release" if places:
                        place, reserved = places.pop(number % len(places))
                        actual = 0 if step == "release" else max(1, reserved // 2)
                        if step == "release":
                            place.release()  # type: ignore[attr-defined]
                        else:
                            place.settle(Usage(actual, 0), 0.1)  # type: ignore[attr-defined]
                        used += actual - reserved
                    case "pass":
                        await rooms.advance(number)
                    case "flush":
                        await rooms.book._rooms.stored.flush()
                rows = await db.query("SELECT coalesce(sum(amount), 0) FROM limit_use")
                assert rows[0][0] >= used
        rows = await db.query("SELECT coalesce(sum(amount), 0) FROM limit_use")
        assert rows[0][0] == used
        await db.close()

    asyncio.run(run())


_CHILD = """
import asyncio, sys
from pathlib import Path
from lightfast.core.clock import SYSTEM
from lightfast.sdk import Usage
from lightfast.storage.database import Database
from tests.support.sessions import sessions
async def main():
    folder = Path(sys.argv[1])
    db = await Database.open(folder / "store.db", clock=SYSTEM)
    async with sessions(folder, limits={"requests_per_day": 5000}, db=db) as rooms:
        while True:
            place = await rooms.reserve()
            print("sent", flush=True)
            place.settle(Usage(1, 1), 0.0)
asyncio.run(main())
"""


@pytest.mark.parametrize("crash", range(CRASHES))
async def test_a_crash_leaves_at_least_what_was_sent(tmp_path: Path, crash: int) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    sent = 0
    try:
        async with asyncio.timeout(120.0):
            while sent < 40 + 97 * crash:
                line = await child.stdout.readline()
                assert line == b"sent\n" or line.startswith(b"20"), line
                sent += line == b"sent\n"
            os.kill(child.pid, signal.SIGKILL)
            rest = await child.stdout.read()
            sent += rest.count(b"sent\n")
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    db = await Database.open(tmp_path / "store.db", clock=SYSTEM)
    rows = await db.query("SELECT sum(amount) FROM limit_use")
    await db.close()
    assert sent <= rows[0][0] <= sent + 51  # one percent ahead, and one that was not told
