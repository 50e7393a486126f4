"""Joins prices, budgets, the ledger and the log of failures to the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.app.settings import Settings
from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.cost.book import Facts, PriceBook
from lightfast.gateway.cost.budgets import Budget, budget
from lightfast.gateway.cost.costs import Costs
from lightfast.gateway.cost.ledger import Rows
from lightfast.gateway.failure_log import FailureLog
from lightfast.gateway.router import Gateway
from lightfast.gateway.tally import Tally


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is kept of what the gateway does."""

    costs: Costs
    prices: PriceBook
    failures: FailureLog
    tally: Tally


async def join_costs(gateway: Gateway, settings: Settings, db: Rows, clock: Clock, tasks: TaskGroup) -> Accounts:
    """Give *gateway* the room of money, and let what fails be kept; before the gateway starts."""

    def facts(name: str) -> Facts:
        if not gateway.catalog.has(name):
            return Facts()
        provider = gateway.catalog.provider(name)
        return Facts(local=provider.local, price_name=provider.price_provider)

    prices = PriceBook(clock, facts, own_prices(settings))
    costs = Costs(
        db,
        clock,
        tasks,
        prices,
        defaults=default_budgets(settings),
        keep_days=settings.gateway.usage_days,
    )
    await costs.start()
    failures, tally = FailureLog(db), Tally()
    await failures.start()
    costs.on_saved.append(tally.saved)
    gateway.costs = costs
    gateway.on_attempt += [tally, failures]
    return Accounts(costs, prices, failures, tally)


def own_prices(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the prices of the settings: for each provider a text for each model or pattern."""
    return {name: dict(table.prices) for name, table in settings.providers.items() if table.prices}


async def book_leftovers(gateway: Gateway, costs: Costs) -> None:
    """Book what a stopped daemon left held for operations that nobody can resume; after the gateway has started."""
    kept = {operation.operation_id for operation in await gateway.operations.left()}
    if gateway.batches is not None:
        kept.update(await gateway.batches.rows.owing())
    await costs.abandon(keep=kept)


def default_budgets(settings: Settings) -> list[Budget]:
    """Return the budgets of the section `[gateway]`."""
    chosen = (("day", settings.gateway.budget_per_day_usd), ("month", settings.gateway.budget_per_month_usd))
    return [budget("all", "", usd, period, source="settings") for period, usd in chosen if usd]
