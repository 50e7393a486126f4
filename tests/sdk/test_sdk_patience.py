"""How long an application may take to answer: what this process stood still does not count."""

from __future__ import annotations

import asyncio
import time

from tests.support.desk import bounded

from lightfast.sdk.patience import LOOKS, Patience


async def test_it_is_over_after_its_time() -> None:
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    began = time.monotonic()
    Patience(0.2, over.set_result, "no answer")
    assert await bounded(over) == "no answer"
    assert time.monotonic() - began >= 0.19


async def test_one_that_is_cancelled_is_never_over() -> None:
    told: list[str] = []
    patience, later = Patience(0.05, told.append, "one"), Patience(0.2, told.append, "other")
    patience.cancel()
    later.cancel()
    later.cancel()
    over = asyncio.Event()
    Patience(0.4, over.set)
    await bounded(over.wait())
    assert told == []


async def test_standstills_of_this_process_do_not_use_it_up() -> None:
    told: list[str] = []
    patience = Patience(0.1, told.append, "no answer")
    for _ in range(LOOKS):
        time.sleep(0.3)
        await asyncio.sleep(0)  # one turn of the loop, in which something else was read
    assert told == [], "nobody had the time to answer"
    over = asyncio.Event()
    patience.cancel()
    Patience(0.1, over.set)
    await bounded(over.wait())
