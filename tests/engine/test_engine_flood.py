"""Under a flood everybody keeps their turn: signals go out in parts, groups are at hand, and the disk is not waited for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.support.desk import open_desk, until

from lightfast.context.entry import Declaration, Report, Set, Status, Transaction
from lightfast.engine.apps.groups import Groups
from lightfast.engine.apps.volatile import TOGETHER, Volatile
from lightfast.storage.writer import QUIET_TICKS, Writer


async def test_many_signals_go_out_in_parts_and_the_newest_wins(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration("/app/*", kind="double", signal=True)], owner="test")
        desk.store.add_mount("/app")
        volatile = Volatile(desk.store, "app:app")
        running = asyncio.ensure_future(volatile.run())
        last = f"/app/{4 * TOGETHER - 1}"
        try:
            for number in range(4 * TOGETHER):
                path = f"/app/{number}"
                volatile.put(Report(path, Status.SETTLED, reported=1.0, value=1.0))
            for _ in range(100):  # ticks, not time
                if desk.store.get("/app/0") is not None:
                    break
                await asyncio.sleep(0)
            assert desk.store.get(last) is None, "others had their turn before all was published"
            assert volatile.latest(last) == 1.0
            volatile.put(Report(last, Status.SETTLED, reported=2.0, value=2.0))
            await until(lambda: desk.store.get(last))
            assert desk.entry(last).value == 2.0
            assert desk.entry(last).version == 1, "what was replaced in time was never published"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def test_the_groups_of_the_latest_revisions_are_not_read_from_the_disk(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        named = await desk.store.apply([Set("/a", 1)], origin="client:test", group="gesture")
        plain = await desk.store.apply([Set("/a", 2)], origin="client:test")

        class Closed:
            bus = desk.store.bus

            async def replay(self, after_revision: int, until_revision: int, limit: int) -> list[Transaction]:
                raise AssertionError("the history was read")

        groups = Groups(Closed())
        assert await groups.of(named.revision) == "gesture"
        assert await groups.of(plain.revision) == ""
    async with open_desk(tmp_path) as desk:  # after a restart it is read
        assert await Groups(desk.store).of(named.revision) == "gesture"


async def test_a_busy_loop_does_not_keep_a_write_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        loop = asyncio.get_running_loop()
        handed = asyncio.Event()
        ticks = 0
        writer = desk.db._writer
        assert isinstance(writer, Writer)
        before = writer._hand_over
        await desk.store.requests._tasks.close()  # its sweep writes, too
        await desk.store.drain()  # what is under way would be waited for, as long as the disk takes

        def hand_over() -> None:
            handed.set()
            before()

        writer._hand_over = hand_over  # type: ignore[method-assign]

        def tick() -> None:
            nonlocal ticks
            if not handed.is_set():
                ticks += 1
                time.sleep(0.01)  # the loop is busy, as with a flood
                loop.call_soon(tick)

        loop.call_soon(tick)
        await desk.store.apply([Set("/a", 1)], origin="client:test")
        assert 0 < ticks < QUIET_TICKS / 4
