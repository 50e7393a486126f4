"""Money that is held for one attempt, and how it is written down."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lightfast.gateway.cost.rates import Rate, Tariff
from lightfast.gateway.ports import Paid, Payer
from lightfast.sdk import Usage

if TYPE_CHECKING:
    from lightfast.gateway.cost.costs import Costs


class HoldMade:
    """*amount* nano-dollars held for an attempt; the first of `settle` and `release` ends it, the rest do nothing.

    *bounded*: it cannot cost more. *tariff* is what it was made by, and what is paid by. One that a stopped daemon has
    left is booked at its amount where whoever took it up cannot say what was used.
    """

    def __init__(
        self,
        costs: Costs,
        hold_id: str,
        operation_id: str,
        model: str,
        account: str,
        payer: Payer,
        amount: int,
        tariff: Tariff,
        *,
        bounded: bool,
        create_time: int,
    ) -> None:
        self._costs = costs
        self.hold_id, self.operation_id = hold_id, operation_id
        self.model, self.account, self.payer = model, account, payer
        self.amount, self.tariff, self.bounded, self.create_time = amount, tariff, bounded, create_time
        self.written = False
        """A row of it was handed to the database."""
        self.left = False
        """A stopped daemon has left it: what was used before that, nobody can say."""
        self.paid: Paid | None = None
        self.over = False

    def book(self, usage: Usage, *, failed: bool = False) -> asyncio.Future[bool]:
        """Book what was used, and let go of the rest; the future says whether the disk took it, which else follows."""
        return self._costs.book(self, usage, failed=failed)

    async def settle(self, usage: Usage, *, failed: bool = False) -> Paid:
        """Book what was used, and let go of the rest. On the disk when it returns, or on its way where that failed."""
        await self.book(usage, failed=failed)
        return self.paid or Paid(0.0, "unknown")

    def keep(self) -> None:
        """Have it written down before whatever is written next."""
        self._costs.keep(self)

    async def release(self) -> None:
        """Let go of it: nothing was used."""
        await self._costs.release(self)

    def body(self) -> str:
        """Return what its row holds, beside what has a column."""
        tariff = self.tariff
        return json.dumps(
            {
                "model": self.model,
                "account": self.account,
                "payer": asdict(self.payer),
                "bounded": self.bounded,
                "tariff": {
                    "basis": tariff.basis,
                    "free": tariff.free,
                    "rates": [_row(rate) for rate in tariff.rates],
                    "instead": [_row(rate) for rate in tariff.instead],
                },
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )


def _row(rate: Rate) -> list[Any]:
    return [rate.unit, str(rate.usd), [[start, str(usd)] for start, usd in rate.tiers], rate.source, rate.date]


def _rates(rows: list[list[Any]]) -> tuple[Rate, ...]:
    return tuple(
        Rate(unit, Decimal(usd), tuple((start, Decimal(price)) for start, price in tiers), source, date)
        for unit, usd, tiers, source, date in rows
    )


def read_hold(costs: Costs, row: tuple[Any, ...]) -> HoldMade:
    """Return the hold of a row `hold_id, operation_id, nano, create_time, body`."""
    hold_id, operation_id, amount, create_time, body = row
    data = json.loads(body)
    told = data["tariff"]
    tariff = Tariff(told["basis"], _rates(told["rates"]), _rates(told["instead"]), free=told["free"])
    hold = HoldMade(
        costs,
        hold_id,
        operation_id,
        data["model"],
        data["account"],
        Payer(**data["payer"]),
        int(amount),
        tariff,
        bounded=data["bounded"],
        create_time=int(create_time),
    )
    hold.written = hold.left = True
    return hold
