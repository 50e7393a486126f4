"""What may be spent: the budgets on the disk, and for each payer the purses that count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from lightfast.core.errors import NotFound
from lightfast.gateway.cost import ledger
from lightfast.gateway.cost.bookings import Bookings
from lightfast.gateway.cost.budgets import (
    FOREVER,
    Budget,
    BudgetBook,
    Key,
    Purse,
    budget,
    called,
    check_key,
    name_of,
    span,
)
from lightfast.gateway.cost.holds import HoldMade
from lightfast.gateway.cost.ledger import Rows
from lightfast.gateway.cost.money import dollars
from lightfast.gateway.ports import Payer

log = structlog.get_logger("lightfast.gateway.cost")


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget with what was spent in its period and what is held, in nano-dollars; *end* in ns, 0: never.

    Of one for `*`: of the name that has spent most.
    """

    budget: Budget
    spent: int
    held: int
    end: int


class Allowances:
    """The budgets; *live* are the holds under way, *now* returns a time that never goes back."""

    def __init__(
        self,
        db: Rows,
        bookings: Bookings,
        live: Mapping[str, HoldMade],
        now: Callable[[], int],
        defaults: Iterable[Budget],
    ) -> None:
        self._db, self._bookings, self._live, self._now = db, bookings, live, now
        self._budgets = BudgetBook(defaults)

    async def start(self) -> None:
        """Read the budgets."""
        for scope, name, period, limit in await self._db.query("SELECT scope, name, period, nano FROM cost_budgets"):
            self._budgets.put(Budget(scope, name, period, int(limit)))

    async def put(self, scope: str, name: str, limit_usd: float, period: str) -> BudgetState:
        """Set or change a budget; raise `InvalidArgument`. On the disk when it returns."""
        made = budget(scope, name, limit_usd, period)
        unit = self._db.unit()
        unit.execute("INSERT OR REPLACE INTO cost_budgets VALUES(?, ?, ?, ?)", (*made.key, made.limit))
        await self._db.commit(unit)
        self._budgets.put(made)
        log.info("budget set", budget=made.title, period=made.period, usd=dollars(made.limit))
        return await self._state(made)

    async def remove(self, scope: str, name: str, period: str) -> BudgetState:
        """Let a budget go and return what it was; one of the settings counts again. Raises `NotFound`."""
        key = check_key(scope, name, period)
        found = self._budgets.get(key)
        if found is None or found.source != "set":
            there = ", ".join(f"{one.title} per {one.period}" for one in self._budgets if one.source == "set")
            raise NotFound(
                f"no budget of {called(key[0], key[1])} per {key[2]} was set: there is {there or 'none'}",
                reason="BUDGET_NOT_FOUND",
                field="budget",
            )
        state = await self._state(found)
        unit = self._db.unit()
        unit.execute("DELETE FROM cost_budgets WHERE scope = ? AND name = ? AND period = ?", key)
        await self._db.commit(unit)
        self._budgets.remove(key)
        return state

    async def states(self) -> list[BudgetState]:
        """Return the budgets with what was spent and what is held."""
        return [await self._state(one) for one in list(self._budgets)]

    async def _state(self, made: Budget) -> BudgetState:
        now = self._now()
        end = span(made.period, now)[1]
        end = 0 if end == FOREVER else end
        if made.name == "*":
            await self._bookings.flush()
            total = await ledger.most_spent(self._db, made.scope, made.period, now)
            return BudgetState(made, total, 0, end)
        purse = await self._purse(made.key)
        return BudgetState(made, purse.spent if purse else 0, purse.held if purse else 0, end)

    async def purses(self, payer: Payer) -> list[Purse]:
        """Return all purses that count what *payer* pays; whoever calls goes on without waiting."""
        while True:
            missing = [key for key in self._budgets.keys(payer) if self._budgets.purse(key, self._now()) is None]
            if not missing:
                return self._budgets.counting(payer, self._now())
            await self._purse(missing[0])

    async def _purse(self, key: Key) -> Purse | None:
        purse = self._budgets.purse(key, self._now())
        if purse is None:
            total, time = await self._bookings.spent(key, self._now)
            held = sum(hold.amount for hold in self._live.values() if _counts(key, hold.payer))
            self._budgets.load(key, time, total, held)
            purse = self._budgets.purse(key, self._now())
        return purse

    def counting(self, payer: Payer, now_ns: int) -> list[Purse]:
        """Return the loaded purses that count what *payer* pays."""
        return self._budgets.counting(payer, now_ns)

    def loaded(self) -> list[Purse]:
        """Return what budgets have counted lately."""
        return self._budgets.loaded()


def _counts(key: Key, payer: Payer) -> bool:
    return key[0] == "all" or name_of(payer, key[0]) == key[1]
