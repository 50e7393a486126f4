"""A memory whose teller goes away in the midst of it: what is on disk is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.memory import MONDAY, Desk, open_house, said

from lightfast.context.memory.records import Question
from lightfast.core.clock import StillClock


async def test_what_nobody_waited_for_is_found_by_its_likeness(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with open_house(tmp_path, clock) as house:
        desk = Desk(house.memory, clock)
        await desk.fact("the fog machine hissed at the drummer")
        await house.memory.recall(Question(query="fog"))  # from now on the index hears of what is written
        for steps in range(0, 40, 2):  # the teller goes away at each step between the question and the answer
            telling = asyncio.ensure_future(desk.fact(f"the fog machine hissed {steps} times"))
            for _ in range(steps):
                await asyncio.sleep(0)
            telling.cancel()
            await asyncio.wait([telling])
        await house.db.commit(house.db.unit())  # what went before it is on disk
        kept = {text for (text,) in await house.db.query("SELECT text FROM memory_wordings")}
        hits = await desk.ask("the fog machine hissed times")
        assert {said(hit.thing) for hit in hits if hit.vector_rank} == kept
