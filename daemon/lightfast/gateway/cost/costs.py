"""Prices, budgets and the ledger: what `lightfast.gateway.ports.Costs` asks for.

A budget is never exceeded, because the most an attempt can cost is held before it is made: checked and held on the loop
without waiting in between, and on the disk before the request is sent where a budget counts. What was used is booked
when the attempt is over, the rest is let go. A call that nobody can bound needs consent; where budgets count it, it
holds all that is left in them, so that nothing else is spent beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.cost import ledger
from lightfast.gateway.cost.allowances import Allowances, BudgetState
from lightfast.gateway.cost.book import PriceBook
from lightfast.gateway.cost.bookings import Bookings
from lightfast.gateway.cost.budgets import (
    DAY_NS,
    Budget,
    Purse,
    client_of,
)
from lightfast.gateway.cost.estimates import Estimated, estimate
from lightfast.gateway.cost.holds import HoldMade, read_hold
from lightfast.gateway.cost.ledger import Booking, Rows, UsageSum
from lightfast.gateway.cost.money import MOST_USD, dollars, nano
from lightfast.gateway.cost.rates import Tariff
from lightfast.gateway.cost.refusals import exceeded, price_unknown, too_dear
from lightfast.gateway.cost.sane import sane
from lightfast.gateway.ports import CostEstimate, Load, Paid, Payer
from lightfast.sdk import Price, Usage

log = structlog.get_logger("lightfast.gateway.cost")

MOST_CALLS = 10_000
"""Of how many operations with a bound of their own it is kept what they have spent."""
MOST = nano(MOST_USD)
"""The most that one attempt can be booked for, in nano-dollars."""
HOLD_AFTER_S = 0.05
"""A hold that no budget counts is written when it has lasted so long, in seconds: most that end sooner need no row."""
HOUSE_S = 6 * 3600.0
"""How often single rows that are old enough are let go, in seconds."""


class Costs:
    """What things cost, what may be spent, and what was; `await start()` before use.

    *defaults* are the budgets of the settings, *keep_days* how long single rows are kept (their sums stay for ever).
    """

    def __init__(
        self,
        db: Rows,
        clock: Clock,
        tasks: TaskGroup,
        book: PriceBook,
        *,
        defaults: Iterable[Budget] = (),
        keep_days: float = 400.0,
    ) -> None:
        self.saved_nano = 0
        """What was not paid since the start, because an answer was kept or shared, in nano-dollars."""
        self.on_saved: list[Callable[[str, int, str], None]] = []
        """Told of the model, nano-dollars and how, on the loop, whenever something was saved."""
        self._db, self._clock, self._tasks, self._book = db, clock, tasks, book
        self._bookings = Bookings(db)
        self._live: dict[str, HoldMade] = {}
        self._allowances = Allowances(db, self._bookings, self._live, self._now, defaults)
        self.purses_of = self._allowances.purses
        """Returns, awaited, the purses that count what a payer pays, as they stand now."""
        self._left: dict[str, list[HoldMade]] = {}
        self._calls: dict[str, int] = {}
        self._keep_days = keep_days
        self._detail_day = self._newest = 0

    async def start(self) -> None:
        """Read the budgets, and what a stopped daemon has left held: that counts as held until somebody settles it."""
        await self._bookings.start()
        self._detail_day = await ledger.detail_day(self._db)
        await self._allowances.start()
        rows = await self._db.query(
            "SELECT hold_id, operation_id, nano, create_time, body FROM cost_holds ORDER BY create_time, hold_id"
        )
        for row in rows:
            hold = read_hold(self, row)
            self._live[hold.hold_id] = hold
            self._left.setdefault(hold.operation_id, []).append(hold)
        self._tasks.start(self._keep_house(), "costs")

    async def close(self) -> None:
        """Write what is still to be written: holds of jobs that are left to the next daemon are among it."""
        for hold in self._live.values():
            self.keep(hold)
        await self._bookings.flush()
        if self._bookings.owed:
            log.error("what attempts have cost could not be written", count=self._bookings.owed)

    # Prices

    async def ready(self, *records: ModelRecord) -> None:
        """Load the price lists off the loop, where one of *records* needs them: before `estimate` and `prices`."""
        await self._book.ready(*records)

    def prices(self, record: ModelRecord) -> tuple[Price, ...]:
        """Return the prices of a model, for display and for ranking; without `ready` the first call may take 0.3 s."""
        return self._book.prices(record)

    def is_free(self, record: ModelRecord) -> bool:
        """Say whether a model costs nothing."""
        return self._book.tariff(record, {}).free

    def estimate(self, record: ModelRecord, load: Load) -> Estimated:
        """Return what an attempt will cost; without `ready` the first call may take 0.3 s."""
        tariff = self._book.tariff(record, load.settings)
        return estimate(
            tariff,
            record,
            load,
            context_tokens=self._book.context_tokens(record),
            most_seconds=0.0 if tariff.free else self._book.most_seconds(record),
        )

    # Holding and booking

    async def hold(
        self,
        operation_id: str,
        record: ModelRecord,
        estimate: CostEstimate,
        payer: Payer,
        *,
        account: str,
        most_usd: float = 0.0,
        consent: bool = False,
    ) -> HoldMade:
        """Hold the upper bound in every budget that counts; see `lightfast.gateway.ports.Costs`."""
        tariff = estimate.tariff if isinstance(estimate, Estimated) else self._book.tariff(record, {})
        payer = replace(payer, client=client_of(payer.client))
        bounded = estimate.most_usd is not None
        if not bounded and not consent:
            raise price_unknown(record, tariff)
        if tariff.free or estimate.most_usd == 0:
            return self._held(operation_id, record.name, account, payer, 0, tariff, bounded=True)
        asked = min(MOST, nano(estimate.likely_usd if estimate.most_usd is None else estimate.most_usd, up=True))
        purses = await self._allowances.purses(payer)
        # From here to the entry in the purses nothing waits: two cannot both find the last cent.
        own = None if not most_usd else max(0, nano(most_usd) - self._calls.get(operation_id, 0))
        for purse in purses:
            if asked > purse.left or (not bounded and purse.left <= 0):
                raise exceeded(purse, asked, record)
        if own is not None and asked > own:
            raise too_dear(own, asked, record, most_usd)
        if not bounded:
            rooms = [purse.left for purse in purses] + ([own] if own is not None else [])
            asked = max([asked, min(rooms)]) if rooms else asked
        hold = self._held(operation_id, record.name, account, payer, asked, tariff, bounded=bounded)
        for purse in purses:
            purse.held += asked
        if most_usd:
            self._count_call(operation_id, 0)
        if not purses:
            asyncio.get_running_loop().call_later(HOLD_AFTER_S, self.keep, hold)
            return hold
        try:
            await self._db.commit(self._row(hold))
        except BaseException:
            await self.release(hold)
            raise
        return hold

    def _held(
        self,
        operation_id: str,
        model: str,
        account: str,
        payer: Payer,
        amount: int,
        tariff: Tariff,
        *,
        bounded: bool,
    ) -> HoldMade:
        hold = HoldMade(
            self,
            new_id("hold"),
            operation_id,
            model,
            account,
            payer,
            amount,
            tariff,
            bounded=bounded,
            create_time=self._now(),
        )
        self._live[hold.hold_id] = hold
        return hold

    def keep(self, hold: HoldMade) -> None:
        """Have a hold written down that is not yet, without waiting."""
        if hold.written or hold.over or (hold.bounded and not hold.amount):
            return
        try:
            self._db.enqueue(self._row(hold), _log_failure)
        except LightfastError as error:
            _log_failure(error)

    def _row(self, hold: HoldMade) -> Any:
        unit = self._db.unit()
        unit.execute(
            "INSERT INTO cost_holds(hold_id, operation_id, nano, create_time, body) VALUES(?, ?, ?, ?, ?)",
            (hold.hold_id, hold.operation_id, hold.amount, hold.create_time, hold.body()),
        )
        hold.written = True
        return unit

    def book(self, hold: HoldMade, usage: Usage, *, failed: bool) -> asyncio.Future[bool]:
        """Book what an attempt used; see `Hold.book`."""
        if hold.over:
            done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            done.set_result(True)
            return done
        usage = sane(usage, hold.model)
        amount, basis = self._cost(hold, usage, failed=failed)
        amount = min(amount, MOST)
        hold.paid = Paid(dollars(amount), basis)
        return self._book_hold(hold, usage, amount, basis, failed=failed)

    def _cost(self, hold: HoldMade, usage: Usage, *, failed: bool) -> tuple[int, str]:
        if usage.cost_usd is not None:
            return nano(usage.cost_usd), "reported"
        cost = hold.tariff.cost(usage)
        if hold.tariff.free:
            return 0, "free"
        if cost is not None:
            return nano(cost), "prices"
        if hold.left:
            return hold.amount, "unknown"
        if failed or not hold.tariff.known or not hold.bounded:
            return 0, "prices" if failed and hold.tariff.known else "unknown"
        log.warning(
            "a service did not say what it used: the upper bound is booked",
            model=hold.model,
            operation=hold.operation_id,
            usd=dollars(hold.amount),
        )
        return hold.amount, "unknown"

    def _book_hold(
        self, hold: HoldMade, usage: Usage, amount: int, basis: str, *, failed: bool
    ) -> asyncio.Future[bool]:
        booking = Booking(
            self._now(), hold.operation_id, hold.model, hold.account, hold.payer, usage, amount, basis, failed
        )
        self._end(hold)
        for purse in self._allowances.counting(hold.payer, booking.time):
            purse.spent += amount
        if hold.operation_id in self._calls:
            self._count_call(hold.operation_id, amount)
        if hold.bounded and amount > hold.amount:
            log.error(
                "an attempt has cost more than its upper bound",
                model=hold.model,
                operation=hold.operation_id,
                paid_usd=dollars(amount),
                bound_usd=dollars(hold.amount),
            )
        return self._bookings.write(booking, hold.hold_id if hold.written else "")

    async def release(self, hold: HoldMade) -> None:
        """Let go of a hold: nothing was used."""
        if hold.over:
            return
        self._end(hold)
        if hold.written:
            unit = self._db.unit()
            unit.execute("DELETE FROM cost_holds WHERE hold_id = ?", (hold.hold_id,))
            try:
                self._db.enqueue(unit, _log_failure)
            except LightfastError as error:
                _log_failure(error)

    def _end(self, hold: HoldMade) -> None:
        hold.over = True
        self._live.pop(hold.hold_id, None)
        for purse in self._allowances.counting(hold.payer, self._now()):
            purse.held -= hold.amount

    def _count_call(self, operation_id: str, amount: int) -> None:
        self._calls[operation_id] = self._calls.pop(operation_id, 0) + amount
        if len(self._calls) > MOST_CALLS:
            del self._calls[next(iter(self._calls))]

    async def saved(self, operation_id: str, record: ModelRecord, payer: Payer, usd: float, how: str) -> None:
        """Book what was not paid; it is on its way to the disk when it returns."""
        amount = min(MOST, nano(usd))
        payer = replace(payer, client=client_of(payer.client))
        self.saved_nano += amount
        for tell in self.on_saved:
            tell(record.name, amount, how)
        if amount:
            booking = Booking(self._now(), operation_id, record.name, "", payer, Usage(), 0, how, saved=amount)
            self._bookings.write(booking)

    # After a crash

    async def taken_up(self, operation_id: str) -> HoldMade | None:
        """Return the hold of an operation that a stopped daemon left; whoever resumes it settles it."""
        holds = self._left.get(operation_id)
        if not holds:
            return None
        hold = holds.pop()
        if not holds:
            del self._left[operation_id]
        return hold

    async def abandon(self, operation_id: str = "", *, keep: Collection[str] = ()) -> int:
        """Book what was left held for an operation at its upper bound, for nobody knows what was used.

        Without *operation_id* for all that were not taken up, those of *keep* excepted: somebody still may resume
        them. Returns how many holds that were.
        """
        names = [operation_id] if operation_id else [name for name in self._left if name not in keep]
        count = 0
        for name in names:
            for hold in self._left.pop(name, []):
                hold.paid = Paid(dollars(hold.amount), "unknown")
                await self._book_hold(hold, Usage(), hold.amount, "unknown", failed=True)
                count += 1
        if count:
            log.warning("attempts that a stopped daemon left are booked at their upper bound", count=count)
        return count

    # Budgets

    async def set_budget(self, scope: str, name: str, limit_usd: float, period: str) -> BudgetState:
        """Set or change a budget; raise `InvalidArgument`. On the disk when it returns."""
        return await self._allowances.put(scope, name, limit_usd, period)

    async def remove_budget(self, scope: str, name: str, period: str) -> BudgetState:
        """Let a budget go and return what it was; one of the settings counts again. Raises `NotFound`."""
        return await self._allowances.remove(scope, name, period)

    async def budgets(self) -> list[BudgetState]:
        """Return the budgets with what was spent and what is held."""
        return await self._allowances.states()

    def purses(self) -> list[Purse]:
        """Return what budgets have counted lately, for the metrics."""
        return self._allowances.loaded()

    @property
    def held_nano(self) -> int:
        """What is held now, in nano-dollars."""
        return sum(hold.amount for hold in self._live.values())

    # What was used

    async def usage(
        self, group_by: Iterable[str] = (), *, after_ns: int = 0, before_ns: int = 0, project: str = ""
    ) -> list[UsageSum]:
        """Sum up what was used, the most expensive first; *before_ns* 0 means now. Raises `InvalidArgument`."""
        await self._bookings.flush()
        before = before_ns or self._now() + 1
        return await ledger.usage(self._db, list(group_by), after_ns, before, project, self._detail_day)

    async def let_go(self) -> int:
        """Delete single rows that are older than they are kept; their sums stay. Returns how many went."""
        before = self._now() // DAY_NS - int(self._keep_days)
        if before <= self._detail_day:
            return 0
        gone = await ledger.let_go(self._db, before)
        self._detail_day = before
        return gone

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSE_S)
            try:
                await self.let_go()
            except LightfastError as error:  # the disk may be full: they go later
                log.warning("old rows of the ledger cannot be let go", reason=str(error))

    def _now(self) -> int:
        """Return the time; it never goes back, so that a row is of the period that it was counted in."""
        self._newest = max(self._newest, self._clock.now_ns())
        return self._newest


def _log_failure(error: BaseException | None) -> None:
    if error is not None:
        log.error("what is held cannot be written", reason=str(error))
