"""The hold where things go wrong in it: channels that raise, wishes on the way, and reports in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.desk import App, hello, open_desk, until

from lightfast.context.entry import Status

TEMPO = "/live/song/tempo"


async def test_one_broken_channel_keeps_no_other_application_from_being_held(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        class Broken(App):
            def cancel(self, call_id: int) -> None:
                raise RuntimeError("a bug of a bridge")

        first, second = Broken({"song/tempo": 1.0}), App({"song/tempo": 2.0})
        await desk.live(first, hello("i1", "a"))
        await desk.live(second, hello("i2", "b"))
        steps = await desk.registry.invoke("/live", "render", {"path": "/x"}, 30.0)
        running = asyncio.ensure_future(anext(steps))
        await until(lambda: bool(first.calls))
        desk.registry.hold("panic")
        await asyncio.wait([running], timeout=10)
        await desk.set("/live-2/song/tempo", 99.0)
        await asyncio.sleep(0.1)  # nothing else tells that nothing goes out
        assert second.wishes == []
        desk.registry.release()
        await desk.status("/live-2/song/tempo", Status.SETTLED)
        assert desk.registry.held == ""


async def test_one_broken_channel_keeps_no_other_application_from_being_released(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        class Broken(App):
            def apply(self, wishes: object) -> None:
                raise RuntimeError("a bug of a bridge")

        first, second = Broken({"song/tempo": 1.0}), App({"song/tempo": 2.0})
        await desk.live(first, hello("i1", "a"))
        await desk.live(second, hello("i2", "b"))
        desk.registry.hold("panic")
        await desk.set(TEMPO, 98.0)
        await desk.set("/live-2/song/tempo", 99.0)
        desk.registry.release()
        await desk.status("/live-2/song/tempo", Status.SETTLED)


async def test_a_newer_wish_goes_out_though_an_older_one_is_still_on_its_way(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0}, answers=False)
        await desk.live(app, hello())
        await desk.set(TEMPO, 90.0)
        await until(lambda: len(app.wishes) == 1)
        desk.registry.hold("panic")
        await desk.set(TEMPO, 80.0)
        await desk.store.drain()
        desk.registry.release()
        await until(lambda: [wish.value for wish in app.wishes] == [90.0, 80.0])
        app.joined.settle(app.wishes[0].wish_id, 90.0)  # the answer to the older one comes late
        app.joined.settle(app.wishes[1].wish_id, 80.0)
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert (entry.value, entry.reported) == (80.0, 80.0)
