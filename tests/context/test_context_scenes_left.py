"""Scenes whose caller goes away in the midst of it: what is on disk is what is known."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.store import House, open_store

from lightfast.context.scenes.records import Wanted
from lightfast.context.scenes.scenes import Scenes
from lightfast.core.clock import StillClock


async def versions(house: House, scenes: Scenes, name: str) -> list[int]:
    """Return the versions of a scene as *scenes* knows them."""
    known = await scenes._known()
    return sorted(known.get(name, {}))


async def test_what_is_on_disk_is_known_though_nobody_waited_for_it(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_store(tmp_path, clock=clock) as house:
        scenes = Scenes(house.store, house.db, clock)
        await house.set(("/a", 1))
        for steps in range(0, 60, 2):  # the caller goes away at each step between the question and the answer
            name = f"scene {steps}"
            await scenes.save(Wanted(name), origin="client:me")
            for act in (scenes.save(Wanted(name), origin="client:me"), scenes.delete(name)):
                caller = asyncio.ensure_future(act)
                for _ in range(steps):
                    await asyncio.sleep(0)
                caller.cancel()
                await asyncio.wait([caller])
                await house.db.commit(house.db.unit())  # what went before it is on disk
                afresh = Scenes(house.store, house.db, clock)
                assert await versions(house, scenes, name) == await versions(house, afresh, name), (name, act)
