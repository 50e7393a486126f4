"""Pools: bounded, fair between runs, and none keeps another waiting."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.pipelines import NO_WORLD, Book, Memory, idle

from lightfast.app.engine_settings import EngineSettings
from lightfast.core.errors import Unavailable
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.runner import run
from lightfast.engine.programs.program import Instruction, Program


async def test_a_full_pool_keeps_no_other_waiting() -> None:
    pools = Pools({"application": 1, "provider": 1})
    await pools.enter("application", "other")
    acts = tuple(Instruction(f"s{n}", "act", {"thing": f"t{n}", "what": n}, timeout=2.0) for n in (1, 2))
    peek = Instruction("s0", "peek", {"thing": "x"})
    journal = Memory()
    program = Program((peek, *acts))
    end = await run(program, Book(), journal, pools, run_id="r", origin="run:r", world=NO_WORLD)
    assert (end.state, end.failed_step, end.reason) == ("FAILED", "s1", "DEADLINE_EXCEEDED")
    assert journal.rows["s0"].state == "DONE", "the other pool was free"
    assert not [step for kind, step in journal.history if kind == "started"], (
        "what never began is not on record as begun"
    )
    assert pools.waiting("application") == 0
    pools.leave("application")
    assert pools.busy("application") == 0


async def test_runs_take_turns() -> None:
    pools = Pools({"media": 1})
    await pools.enter("media", "first")
    order: list[str] = []

    async def one(run_id: str) -> None:
        await pools.enter("media", run_id)
        order.append(run_id)
        await idle(1)
        pools.leave("media")

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for run_id in "aaaabbc":
            group.create_task(one(run_id))
            await idle(1)
        assert pools.waiting("media") == 7
        pools.leave("media")
    assert "".join(order) == "abcabaa"
    assert pools.busy("media") == 0


async def test_a_pool_never_works_on_more_than_it_has_places() -> None:
    pools, book = Pools({"application": 3}), Book()
    acts = tuple(Instruction(f"s{n}", "act", {"thing": f"t{n}", "what": n, "delay": 5}) for n in range(20))
    ends = await asyncio.gather(
        *(
            run(Program(acts), book, Memory(), pools, run_id=f"r{n}", origin=f"run:r{n}", world=NO_WORLD)
            for n in range(4)
        )
    )
    assert {end.state for end in ends} == {"SUCCEEDED"}
    assert book.outside.most == 3
    assert pools.busy("application") == pools.waiting("application") == 0


async def test_a_wait_that_is_given_up_gives_its_place_back() -> None:
    pools = Pools({"archive": 1})
    await pools.enter("archive", "a")
    waits = [asyncio.create_task(pools.enter("archive", run_id)) for run_id in "bcd"]
    await idle(2)
    waits[1].cancel()
    await idle(2)
    pools.leave("archive")
    waits[0].cancel()  # as its place came
    await idle(3)
    assert pools.busy("archive") == 1
    await waits[2]
    pools.leave("archive")
    assert pools.busy("archive") == 0


async def test_closing_tells_who_waits() -> None:
    pools = Pools({"archive": 1})
    await pools.enter("archive", "a")
    wait = asyncio.create_task(pools.enter("archive", "b"))
    await idle(2)
    await pools.close()
    with pytest.raises(Unavailable):
        await wait
    with pytest.raises(Unavailable):
        await pools.enter("archive", "c")


def test_the_settings_say_how_large_they_are() -> None:
    pools = Pools.of(EngineSettings(media_pool=7))
    assert pools.size("media") == 7
    assert pools.size("provider") == EngineSettings().provider_pool
    with pytest.raises(ValueError, match="is no pool"):
        Pools({"kitchen": 1})
