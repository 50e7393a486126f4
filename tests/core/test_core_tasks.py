"""The group that holds the background tasks of one owner."""

from __future__ import annotations

import asyncio

import pytest

from lightfast.core.tasks import TaskGroup


async def test_a_task_that_swallows_a_cancellation_is_ended_by_the_next() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    group = TaskGroup("owner")
    task = group.start(deaf(), "deaf")
    await asyncio.sleep(0)
    await group.close(budget=0.05)
    assert task.cancelled()
    assert swallowed == 2


async def test_what_a_task_does_at_its_end_is_not_cut_short() -> None:
    done = False

    async def tidy() -> None:
        nonlocal done
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)
            done = True

    group = TaskGroup("owner")
    group.start(tidy(), "tidy")
    await asyncio.sleep(0)
    await group.close(budget=30)
    assert done


async def test_a_closed_group_takes_no_task() -> None:
    group = TaskGroup("owner")
    await group.close()

    async def late() -> None:
        return

    with pytest.raises(RuntimeError, match="owner is closed"):
        group.start(late(), "late")
    assert len(group) == 0
