"""Holds that no budget counts: they cost no row where the attempt is over at once, and have one where it lasts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.costs import PENNY, RIDDLE, asks, costs_in

from lightfast.core.clock import StillClock
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost import costs as module
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.cost.holds import HoldMade
from lightfast.gateway.ports import Payer
from lightfast.sdk import Usage

WHO = Payer("film", "user:ann", "")


async def held(costs: Costs, usd: float | None = 0.001, model: ModelRecord = PENNY) -> HoldMade:
    return await costs.hold("op", model, asks(model, usd), WHO, account="default", consent=True)


async def rows(costs: Costs) -> list[str]:
    """Return the holds on the disk, after all that was handed over."""
    await costs._bookings.flush()
    return [name for (name,) in await costs._db.query("SELECT hold_id FROM cost_holds ORDER BY hold_id")]


async def test_one_that_is_over_at_once_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOLD_AFTER_S", 3600.0)
    async with costs_in(tmp_path, StillClock()) as costs:
        hold = await held(costs)
        assert costs.held_nano == 1_000_000
        assert await rows(costs) == []
        assert (await hold.settle(Usage(requests=1))).cost_usd == 0.001
        assert costs.held_nano == 0
        assert [found.nano for found in await costs.usage()] == [1_000_000]
        released = await held(costs)
        await released.release()
        released.keep()
        assert await rows(costs) == []


@pytest.mark.parametrize("usd", [0.001, None], ids=["bounded", "unbounded"])
async def test_one_that_lasts_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usd: float | None) -> None:
    monkeypatch.setattr(module, "HOLD_AFTER_S", 0.0)
    async with costs_in(tmp_path, StillClock()) as costs:
        hold = await held(costs, usd, RIDDLE if usd is None else PENNY)
        deadline = asyncio.get_running_loop().time() + 20
        while not await rows(costs):
            assert asyncio.get_running_loop().time() < deadline
        assert await rows(costs) == [hold.hold_id]
        await hold.settle(Usage(requests=1))
        assert await rows(costs) == []


async def test_one_that_must_be_kept_is_written_before_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOLD_AFTER_S", 3600.0)
    clock = StillClock()
    async with costs_in(tmp_path, clock) as costs:
        hold = await held(costs)
        hold.keep()
        hold.keep()
        assert await rows(costs) == [hold.hold_id]
    async with costs_in(tmp_path, clock) as costs:  # it has outlived the daemon
        again = await costs.taken_up("op")
        assert again is not None
        assert (again.hold_id, again.amount) == (hold.hold_id, 1_000_000)


async def test_what_is_held_at_the_stop_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOLD_AFTER_S", 3600.0)
    clock = StillClock()
    async with costs_in(tmp_path, clock) as costs:
        await held(costs)
        await costs.close()
    async with costs_in(tmp_path, clock) as costs:
        assert await costs.abandon() == 1
        assert [found.nano for found in await costs.usage()] == [1_000_000]


async def test_what_is_booked_is_known_before_it_is_on_the_disk(tmp_path: Path) -> None:
    async with costs_in(tmp_path, StillClock()) as costs:
        hold = await held(costs)
        booked = hold.book(Usage(requests=1))
        assert hold.paid is not None
        assert (hold.paid.cost_usd, booked.done()) == (0.001, False)
        assert await booked
        assert await hold.book(Usage(requests=5))  # the second one does nothing
        assert [found.nano for found in await costs.usage()] == [1_000_000]
