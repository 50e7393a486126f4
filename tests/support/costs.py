"""Costs over a real database on a still clock, and models with prices that are easy to reckon with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lightfast.core.clock import StillClock
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost.book import Facts, PriceBook
from lightfast.gateway.cost.budgets import budget
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.ports import CostEstimate, Load
from lightfast.sdk import Model, Price
from lightfast.storage.database import Database

PENNY = ModelRecord("shop/penny", "shop", Model("penny", ("text",), prices=(Price("request", 0.001),)))
"""A tenth of a cent a request."""
TOKENS = ModelRecord(
    "shop/tokens",
    "shop",
    Model(
        "tokens",
        ("text",),
        prices=(Price("input_token", 1e-6), Price("output_token", 4e-6)),
        max_output_tokens=1000,
    ),
)
FREE = ModelRecord("shop/gift", "shop", Model("gift", ("text",), free=True))
RIDDLE = ModelRecord("nobody/riddle", "nobody", Model("riddle", ("text",)))


def facts(provider: str) -> Facts:
    """Say that `house` is local, and that lists call `gemini` `google`."""
    return Facts(local=provider == "house", price_name="google" if provider == "gemini" else "")


def record(provider: str, name: str, outputs: tuple[str, ...] = ("text",), **fields: Any) -> ModelRecord:
    """Return a model of a provider."""
    return ModelRecord(f"{provider}/{name}", provider, Model(name, outputs, **fields))


def asks(model: ModelRecord, usd: float | None, likely: float = 0.0) -> CostEstimate:
    """Return an estimate with this upper bound."""
    return CostEstimate(model.name, likely if usd is None else usd, usd, "test")


def price_book(clock: StillClock, overrides: Mapping[str, Mapping[str, str]] | None = None) -> PriceBook:
    """Return a price book."""
    return PriceBook(clock, facts, overrides)


@asynccontextmanager
async def costs_in(
    folder: Path,
    clock: StillClock,
    *,
    defaults: tuple[tuple[str, str, float, str], ...] = (),
    keep_days: float = 400.0,
) -> AsyncIterator[Costs]:
    """Open the costs of a store in *folder*, and close them."""
    db = await Database.open(folder / "store.db", clock=clock)
    tasks = TaskGroup("costs")
    made = Costs(
        db,
        clock,
        tasks,
        price_book(clock),
        defaults=[budget(*one, source="settings") for one in defaults],
        keep_days=keep_days,
    )
    try:
        await made.start()
        yield made
    finally:
        await tasks.close()
        await db.close()


def load(**fields: Any) -> Load:
    """Return a load."""
    return Load(**fields)
