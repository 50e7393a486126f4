"""A process that is killed in the midst of calls: nothing that it held or booked is forgotten."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.children import watched
from tests.support.costs import costs_in

from lightfast.core.clock import StillClock

ROUNDS = int(os.environ.get("LIGHTFAST_CRASHES", "2"))

WORKER = """
import asyncio, sys
from pathlib import Path
from lightfast.core.clock import StillClock
from lightfast.core.errors import Exhausted
from lightfast.gateway.ports import Payer
from lightfast.sdk import Usage
from tests.support.costs import PENNY, asks, costs_in

def say(*words):
    print(*words, flush=True)

async def call(costs, index):
    hold = await costs.hold(f"op-{index}", PENNY, asks(PENNY, 0.001), Payer("film", "me", ""), account="")
    say("held", index)
    await asyncio.sleep(0.001 * (index % 5))
    await hold.settle(Usage(cost_usd=0.0001 * (1 + index % 9)))
    say("paid", index, 1 + index % 9)

async def main():
    async with costs_in(Path(sys.argv[1]), StillClock()) as costs:
        await costs.set_budget("project", "film", 1000.0, "total")
        for begin in range(0, 100000, 8):
            await asyncio.gather(*(call(costs, begin + i) for i in range(8)))
asyncio.run(main())
"""


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_killed_in_mid_call(tmp_path: Path, number: int) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    told: list[list[str]] = []
    try:
        assert worker.stdout is not None
        with watched(worker, "the worker"):
            for line in worker.stdout:
                words = line.split()
                if words and words[0] in {"held", "paid"}:
                    told.append(words)
                if len(told) >= 40 + random.Random(number).randrange(60):
                    break
    finally:
        worker.kill()
        rest, _ = worker.communicate(timeout=30)
    told += [words for line in rest.splitlines() if len(words := line.split()) >= 2 and words[0] in {"held", "paid"}]
    assert len(told) >= 40
    held = {words[1] for words in told if words[0] == "held"}
    paid = {words[1]: int(words[2]) for words in told if words[0] == "paid" and len(words) == 3}
    async with costs_in(tmp_path, StillClock()) as costs:
        left = set(costs._left)
        rows = await costs._db.query("SELECT operation_id, nano FROM cost_ledger")
        booked: dict[str, int] = dict(rows)
        assert len(booked) == len(rows)  # nothing twice
        for index, tenths in paid.items():
            assert booked[f"op-{index}"] == tenths * 100_000
        for index in held:  # it is held, or it was booked before anybody could be told
            assert (f"op-{index}" in left) != (f"op-{index}" in booked)
        (state,) = await costs.budgets()
        assert state.spent == sum(booked.values())
        assert state.held == len(left) * 1_000_000
        kept = sorted(left)[:1]
        assert await costs.abandon(keep=kept) == len(left) - len(kept)
        (state,) = await costs.budgets()
        assert state.spent == sum(booked.values()) + (len(left) - len(kept)) * 1_000_000
