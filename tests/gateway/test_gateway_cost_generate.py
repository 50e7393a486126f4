"""Money and generations together: two hundred at once, cancelled ones, and what is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.costs import facts
from tests.support.gateway import House, house

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.cost.asking import estimates
from lightfast.gateway.cost.book import PriceBook
from lightfast.gateway.cost.costs import Costs
from lightfast.sdk import GenerationRequest, Model, Price, Provider, Step, TextDelta, Usage, Workbench


class Shop(Provider):
    """Sells answers for a tenth of a cent a token."""

    name = "shop"

    def __init__(self) -> None:
        self.sold = 0
        self.begun = asyncio.Event()

    def models(self) -> Sequence[Model]:
        prices = (Price("output_token", 0.001),)
        return (Model("word", ("text",), prices=prices, max_output_tokens=1),)

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.sold += 1
        yield TextDelta("word")
        yield Usage(3, 1)
        if request.prompt == "wait":
            self.begun.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


@asynccontextmanager
async def shop_in(folder: Path) -> AsyncIterator[tuple[House, Shop, Costs]]:
    async with house(folder) as found:
        costs = Costs(found.db, SYSTEM, found.tasks, PriceBook(SYSTEM, facts))
        await costs.start()
        found.gateway.costs = costs
        found.gateway._most = 500
        shop = Shop()
        found.gateway.register(shop, "shops")
        yield found, shop, costs


async def test_two_hundred_generations_at_once_spend_a_cent_and_no_more(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as (found, shop, costs):
        await costs.set_budget("project", "film", 0.01, "total")

        async def one(index: int) -> str:
            try:
                await found.run(f"say {index}", model="shop/word", project="film", strict=True)
            except Exhausted as refused:
                return refused.reason
            return "ok"

        ends = await asyncio.gather(*(one(index) for index in range(200)))
        assert shop.sold == ends.count("ok") == 10
        assert ends.count("BUDGET_EXCEEDED") == 190
        (state,) = await costs.budgets()
        assert (state.spent, state.held) == (10_000_000, 0)
        (total,) = await costs.usage()
        assert (total.requests, total.usage.output_tokens, total.nano) == (10, 10, 10_000_000)


async def test_one_that_is_cancelled_is_paid_for_what_it_used(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as (found, shop, costs):
        await costs.set_budget("all", "", 1.0, "day")
        steps = found.gateway.generate(GenerateCall("shop/word", prompt="wait", strict=True), "user:ann#1")

        async def read() -> None:
            async for _ in steps:
                pass

        reading = asyncio.ensure_future(read())
        await asyncio.wait_for(shop.begun.wait(), 60)
        (state,) = await costs.budgets()
        assert (state.spent, state.held) == (0, 1_000_000)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await steps.aclose()  # type: ignore[attr-defined]
        (state,) = await costs.budgets()
        assert (state.spent, state.held) == (1_000_000, 0)
        (total,) = await costs.usage(["client"])
        assert (total.group, total.failures, total.usage.output_tokens) == ({"client": "user:ann"}, 1, 1)


async def test_what_is_local_costs_nothing_and_is_counted(tmp_path: Path) -> None:
    async with shop_in(tmp_path) as (found, shop, costs):
        await costs.set_budget("all", "", 0.0, "total")
        found.gateway.costs._book._facts = lambda name: facts("house" if name == "puppet" else name)  # type: ignore[union-attr]
        await found.run("text", model="puppet/write")
        (total,) = await costs.usage(["model"])
        assert (total.group["model"], total.requests, total.nano) == ("puppet/write", 1, 0)
        (estimate,) = await estimates(found.gateway, GenerateCall("puppet/write", prompt="text"), "test")
        assert (estimate.most_usd, estimate.basis) == (0.0, "free")
        (priced,) = await estimates(found.gateway, GenerateCall("shop/word", prompt="text", strict=True), "test")
        assert (priced.likely_usd, priced.most_usd, shop.sold) == (0.001, 0.001, 0)
