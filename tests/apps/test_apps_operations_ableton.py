"""Commands of Live in a program, with the simulated Live: what takes each back, and what cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.apps.test_apps_ableton_house import Port
from tests.support.desk import until
from tests.support.operations import OpHouse, operation_house
from tests.support.osc_live import simulated
from tests.support.ports import free_port

from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.records import AppState
from lightfast.sdk import Outcome
from lightfast_bridges.ableton.bridge import AbletonBridge


@contextlib.asynccontextmanager
async def live_house(folder: Path) -> AsyncIterator[OpHouse]:
    reply_port = free_port()
    async with simulated(reply_port=reply_port) as live, operation_house(folder) as house:
        port = Port()
        runner = BridgeRunner(house.rooms.registry, port)
        settings = {"remote": f"127.0.0.1:{live.port}", "reply_port": reply_port, "poll": 0.1, "silence": 5.0}
        runner.add(AbletonBridge(settings))

        def there() -> bool:
            return any(app.state is AppState.LIVE for app in house.rooms.registry.list())

        try:
            await until(there)
            yield house
        finally:
            await runner.close()
            port.port.close()


async def do(house: OpHouse, step: str, command: str, /, **arguments: object) -> Outcome:
    given = {"app": "/ableton", "command": command, "arguments": arguments}
    assert house.check("app.command", **given) == []
    return await house.perform("app.command", step, **given)


def count(house: OpHouse, pattern: str) -> int:
    return len(house.rooms.store.select(f"/ableton/{pattern}"))


async def test_what_was_made_is_deleted_again(tmp_path: Path) -> None:
    async with live_house(tmp_path) as house:
        assert house.effects("app.command", app="/ableton", command="clip_slot.create_clip") == {"reversible"}
        tracks, scenes = count(house, "tracks/*/name"), count(house, "scenes/*/name")
        made = await do(house, "s1", "song.create_midi_track", index=0)
        await until(lambda: count(house, "tracks/*/name") == tracks + 1)
        await house.undo(made)
        await until(lambda: count(house, "tracks/*/name") == tracks)
        doubled = await do(house, "s2", "song.duplicate_scene", scene=0)
        await until(lambda: count(house, "scenes/*/name") == scenes + 1)
        await house.undo(doubled)
        await until(lambda: count(house, "scenes/*/name") == scenes)


async def test_one_at_the_end_cannot_be_found_again_and_says_so(tmp_path: Path) -> None:
    async with live_house(tmp_path) as house:
        made = await do(house, "s1", "song.create_midi_track", index=-1)
        assert made.undo is None
        assert "it was given arguments.index as -1, which counts from the end" in made.stuck


async def test_what_may_be_done_again(tmp_path: Path) -> None:
    async with live_house(tmp_path) as house:
        operation, world = house.find("app.command"), house.book.world

        def repeatable(command: str) -> bool:
            return operation.repeatable({"app": "/ableton", "command": command}, world)

        names = ("song.stop_playing", "clip.get_notes", "song.create_midi_track", "clip.fire", "song.tap_tempo")
        assert [repeatable(name) for name in names] == [True, True, False, False, False]
        made = await do(house, "s1", "song.create_midi_track", index=0)
        call = house.call({"app": "/ableton", "command": "song.create_midi_track", "arguments": {"index": 0}})
        assert made.undo is not None
        assert await operation.recover(call, house.bench) is None  # Live keeps no record of what it did
