"""A thousand requests at once, in bad weather: each ends, rightly, and the limits, the money and the memory hold.

`LIGHTFAST_CHAOS=N` runs N more seeds. What goes wrong with which request depends on the seed alone (see
`tests.support.ai_weather`), so a seed that fails can be run again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.ai_audit import (
    at_rest,
    check_limits,
    check_money,
    check_operations,
    check_single_flight,
    living,
    names_of_tasks,
    open_sockets,
)
from tests.support.ai_crowd import CHAIN, LONGEST, WARM, Asked, Crowd, check_answer, crowd, plan
from tests.support.ai_weather import Weather

from lightfast.gateway.routing.candidates import Routing
from lightfast_providers._common.bounded import MOST_CONNECTIONS

MORE = int(os.environ.get("LIGHTFAST_CHAOS", "0"))
CASES = [(1, 1000, 0.012), (2, 250, 0.0), *((seed, 1000, 0.012 * (seed % 3)) for seed in range(3, 3 + MORE))]
"""Seed, how many ask at once, and the budget in US dollars (0: none)."""
NEVER = (
    "an attempt has cost more than its upper bound",
    "a provider failed while it closed",
    "a provider raised",
    "what an attempt has cost cannot be written now",
    "the end of an operation cannot be written",
    "task failed",
)
KEPT = {
    "lightfast.gateway.ports.Kept": 350,
    "lightfast.gateway.cache.answers._Near": 350,
    "lightfast.gateway.operations.Operation": 256,
    "lightfast.gateway.calls.StepFallback": 256 * 9,
    "lightfast.sdk.generation.Usage": 256 + 350 + 10,
    "lightfast.gateway.limits.meter.Slot": 601 * 6,
    "lightfast.gateway.routing.circuits.Circuit": 2 * len(CHAIN),
}
"""What is kept on purpose, and the most of it: answers, the newest operations, the last minute of each limit."""


async def warmed_up(here: Crowd) -> list[Asked]:
    """Ask every service once, so that what is loaded and opened once is there."""
    known = [
        Asked(name, {"prompt": f"warm #{name}#", "model": model, "timeout": 50.0, "max_output_tokens": LONGEST})
        for name, model in enumerate(CHAIN, WARM)
    ]
    await here.ask_all(known)
    assert [asked.error for asked in known] == [None] * len(CHAIN)
    return known


def who_asked(seed: int, count: int) -> tuple[list[Asked], set[int]]:
    """Return the plan, and the names of the requests that nothing happens to."""
    everybody = plan(seed, count)
    return everybody, {asked.name for asked in everybody if asked.calm}


@pytest.mark.limit(400)
@pytest.mark.parametrize(("seed", "count", "budget_usd"), CASES, ids=[f"{seed}-{count}" for seed, count, _ in CASES])
async def test_everybody_is_told_the_truth(tmp_path: Path, seed: int, count: int, budget_usd: float) -> None:
    everybody, calm = who_asked(seed, count)
    most = 0

    async def look(here: Crowd) -> None:
        nonlocal most
        while True:
            most = max(most, here.house.gateway.running)
            await asyncio.sleep(0.002)

    with capture_logs() as logs:
        async with crowd(tmp_path, everybody, seed=seed, budget_usd=budget_usd) as here:
            first = await warmed_up(here)
            looking = asyncio.get_running_loop().create_task(look(here))
            try:
                await here.ask_all(everybody)
            finally:
                looking.cancel()
            await at_rest(here)
            assert most > count / 2  # they were there at once, but for those who had left before the last came
            ends = Counter(type(asked.error).__name__ for asked in everybody)
            assert ends["NoneType"] > count / 4, ends  # the weather is not all there is
            assert len(ends) > 3, ends
            assert [f"#{asked.name}: {said}" for asked in everybody if (said := check_answer(asked))] == []
            assert check_limits(here) == []
            if seed == 1:  # the budget is used up, and somebody was told so
                assert any(getattr(asked.error, "reason", "") == "BUDGET_EXCEEDED" for asked in everybody)
            assert any(asked.calm and asked.last is not None and asked.last.cache == "shared" for asked in everybody)
            assert check_single_flight(here, everybody, calm) == []
            assert await check_money(here, [*first, *everybody], budget_usd) == []
            assert await check_operations(here, everybody) == []
    assert [line for line in logs if line["event"] in NEVER] == []


@pytest.mark.limit(400)
async def test_nothing_stays_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What hundreds of requests leave behind is what is kept on purpose, within a bound."""
    caplog.set_level(logging.ERROR, "httpx2")  # records that are captured hold the address of each request
    everybody, _ = who_asked(7, 500)
    async with crowd(tmp_path, everybody, seed=7, budget_usd=0.05) as here:
        await warmed_up(here)
        first, then = everybody[:150], everybody[150:]
        everybody.clear()
        await here.ask_all(first)
        first.clear()
        await hung_up(here)
        before, tasks, opened = living(), names_of_tasks(), open_sockets()
        assert tasks["Health._watch"] == 0
        await here.ask_all(then)
        then.clear()
        assert sum(service.connections for service in here.services.values()) <= MOST_CONNECTIONS * 4  # clients
        await hung_up(here)
        now = living()
        grown = {kind: count - before[kind] for kind, count in now.items() if count > before[kind]}
        assert {kind: count for kind, count in grown.items() if count > KEPT.get(kind, 0)} == {}
        assert names_of_tasks() - tasks == {}
        assert open_sockets() <= opened


async def hung_up(here: Crowd) -> None:
    """Wait until nothing is under way, and close what stays open for the next request.

    A service whose circuit is open, as where a busy machine keeps it from answering in time, is asked again and again
    whether it is back: whatever a probe holds at the moment would be counted.
    """
    await at_rest(here)
    routing = here.house.gateway.candidates
    assert isinstance(routing, Routing)
    for provider in here.house.gateway.catalog.all():
        routing.health.forget(provider.name)
        await provider.close()
    for service in here.services.values():
        await service.until(partial(_alone, service), "the end of connections")
    await at_rest(here)


def _alone(service: Weather) -> bool:
    return not service.connections
