"""Wishes, answers and reports that cross on one path: an acknowledged wish is never overwritten by older news."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from tests.support.desk import App, Desk, bounded, hello, open_desk, until

from lightfast.context.entry import Entry, EventType, Status
from lightfast.engine.links.carrier import Link
from lightfast.sdk import Change

TEMPO = "/live/song/tempo"
OTHER = "/other/song/tempo"


async def overwritten(desk: Desk, path: str, after: int) -> list[tuple[Entry, Entry]]:
    """Return each wish at *path* that the application took the place of without having answered it."""
    found = []
    before: Entry | None = None
    for transaction in await desk.store.replay(after, desk.store.revision, 100_000):
        for event in transaction.events:
            if event.entry.path != path or event.type is not EventType.SET:
                continue
            entry = event.entry
            if before is not None and before.status is Status.PENDING and before.origin == "client:test":
                unanswered = entry.origin == "app:live" and entry.cause < before.revision
                if unanswered and (entry.value != before.value or entry.status is Status.SETTLED):
                    found.append((before, entry))
            before = entry
    return found


async def test_neither_answers_nor_reports_overwrite_a_newer_wish(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0}, echoes=True)
        await desk.live(app, hello())
        begin = desk.store.revision
        busy = True

        async def turn() -> None:
            for number in itertools.count():
                if not busy:
                    return
                app.turn("song/tempo", 30.0 + number % 50)
                await asyncio.sleep(0.0007)

        turning = asyncio.ensure_future(turn())
        last = 0.0
        for number in range(400):
            last = 100.0 + number
            await desk.set(TEMPO, last)
        busy = False
        await bounded(turning)

        def agree() -> bool:
            entry = desk.entry(TEMPO)
            return entry.status is Status.SETTLED and entry.reported == entry.value == app.values["song/tempo"]

        # Settled alone may be the last wish, with what was turned right after it still on its way.
        await until(agree, lambda: (desk.entry(TEMPO), app.values))
        assert await overwritten(desk, TEMPO, begin) == []


async def test_a_knob_that_turns_is_not_thrown_back_by_its_two_way_link(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        left, right = App({"song/tempo": 120.0}, echoes=True), App({"song/tempo": 120.0}, echoes=True)
        await desk.live(left, hello())
        await desk.live(right, hello("i2", "b", kind="other"))
        await desk.links.create(Link(TEMPO, OTHER, two_way=True))
        left.wishes.clear()
        for number in range(300):
            left.turn("song/tempo", 60.0 + number % 100)
            await asyncio.sleep(0.001)
        await desk.holds(OTHER, 60.0 + 299 % 100)
        await until(lambda: right.values["song/tempo"] == 60.0 + 299 % 100)
        assert left.wishes == [], "the other end only ever follows"
        right.turn("song/tempo", 77.0)
        await until(lambda: left.values["song/tempo"] == 77.0)


async def test_a_linked_pair_that_rounds_and_echoes_late_falls_silent(tmp_path: Path) -> None:
    """Count the revisions of a linked pair after one change: a bounded stand-in for an idle hour."""
    async with open_desk(tmp_path) as desk:
        left = App({"song/tempo": 120.0}, echoes=True, rounds=lambda _, value: round(float(value), 2))
        right = App({"song/tempo": 120.0}, echoes=True, rounds=lambda _, value: float(value) + 2e-7)
        await desk.live(left, hello())
        await desk.live(right, hello("i2", "b", kind="other"))
        link = await desk.links.create(Link(TEMPO, OTHER, two_way=True))
        left.turn("song/tempo", 133.333)
        await until(lambda: abs(float(right.values["song/tempo"]) - 133.333) < 1e-3)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        asyncio.get_running_loop().call_later(
            0.4, lambda: right.joined.report([Change("song/tempo", right.values["song/tempo"])])
        )
        await until(lambda: desk.registry.get("/other").pending == 0 and desk.registry.get("/live").pending == 0)
        quiet_since, revision = loop.time(), desk.store.revision
        deadline = loop.time() + 60.0
        while loop.time() - quiet_since < 3.0:
            assert loop.time() < deadline, "it never falls silent"
            await asyncio.sleep(0.05)
            if desk.store.revision != revision:
                quiet_since, revision = loop.time(), desk.store.revision
        assert desk.links.get(link.link_id).carried <= 4
        assert left.values["song/tempo"] == 133.333
