"""The ledger: sums by what was asked, over any range, with and without the single rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.costs import PENNY, TOKENS, asks, costs_in

from lightfast.core.clock import StillClock
from lightfast.core.errors import InvalidArgument
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.ports import Payer
from lightfast.sdk import Usage

NOON = int(datetime(2028, 3, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000_000
HOUR = 3600 * 1_000_000_000
DAY = 24 * HOUR


async def pay(
    costs: Costs, usage: Usage, *, model: object = PENNY, payer: Payer | None = None, bad: bool = False
) -> None:
    payer = payer or Payer("film", "ann#1", "r1")
    hold = await costs.hold("op", model, asks(PENNY, 1.0), payer, account="main")  # type: ignore[arg-type]
    await hold.settle(usage, failed=bad)


async def test_sums_by_everything(tmp_path: Path) -> None:
    clock = StillClock(NOON)
    async with costs_in(tmp_path, clock) as costs:
        await pay(costs, Usage(10, 5, 0.25, cached_tokens=4, reasoning_tokens=2, seconds=1.5, images=1))
        await pay(costs, Usage(1, 1, 0.5), model=TOKENS, payer=Payer("game", "bob", ""), bad=True)
        clock.advance(86_400.0)
        await pay(costs, Usage(7, 3, 0.125, requests=3))
        await costs.saved("op", PENNY, Payer("film", "ann#9", "r1"), 0.75, "exact")

        (total,) = await costs.usage()
        assert (total.requests, total.failures, total.nano, total.saved) == (5, 1, 875_000_000, 750_000_000)
        assert (total.usage.input_tokens, total.usage.cached_tokens, total.usage.seconds) == (18, 4, 1.5)
        found = await costs.usage(["model", "day"])
        assert [(one.group["model"], one.group["day"], one.nano) for one in found] == [
            ("shop/tokens", "2028-03-01", 500_000_000),
            ("shop/penny", "2028-03-01", 250_000_000),
            ("shop/penny", "2028-03-02", 125_000_000),
        ]
        assert {one.group["client"]: one.nano for one in await costs.usage(["client"])} == {
            "ann": 375_000_000,
            "bob": 500_000_000,
        }
        assert {one.group["run"]: one.requests for one in await costs.usage(["run"])} == {"r1": 4, "": 1}
        assert [one.nano for one in await costs.usage(["provider"], project="film")] == [375_000_000]
        with pytest.raises(InvalidArgument, match="nothing is summed up by 'colour'"):
            await costs.usage(["colour"])
        with pytest.raises(InvalidArgument, match="ends before"):
            await costs.usage(after_ns=NOON, before_ns=NOON)


@pytest.mark.parametrize("names", [[], ["day"], ["run", "day"]])
async def test_any_range_and_after_the_single_rows_are_gone(tmp_path: Path, names: list[str]) -> None:
    clock = StillClock(NOON - 12 * HOUR)
    async with costs_in(tmp_path, clock, keep_days=2) as costs:
        times: list[int] = []
        for _ in range(40):  # one every three hours, five days long
            times.append(clock.now_ns())
            await pay(costs, Usage(cost_usd=0.001))
            clock.advance(3 * 3600.0)

        async def count(after: int, before: int) -> int:
            return sum(one.requests for one in await costs.usage(names, after_ns=after, before_ns=before))

        start = times[0]
        ranges = [(a, b) for a in range(0, 5 * 24, 7) for b in range(a + 1, 5 * 24 + 8, 11)]
        for first, last in ranges:
            after, before = start + first * HOUR, start + last * HOUR
            assert await count(after, before) == sum(after <= time < before for time in times), (first, last)

        assert await costs.let_go() == 24  # the first three days
        assert await costs.let_go() == 0
        assert await count(0, clock.now_ns()) == 40
        for first, last in ranges:  # what lies in those three days counts by the day
            after, before = start + first * HOUR, start + last * HOUR
            whole = start + 3 * DAY
            low = after if after >= whole else (after - start) // DAY * DAY + start
            high = before if before > whole else -((start - before) // DAY) * DAY + start
            assert await count(after, before) == sum(low <= time < high for time in times), (first, last)
    async with costs_in(tmp_path, clock, keep_days=2) as costs:
        (total,) = await costs.usage()
        assert (total.requests, total.nano) == (40, 40_000_000)
        await pay(costs, Usage(cost_usd=0.001))
        (total,) = await costs.usage()
        assert total.requests == 41
