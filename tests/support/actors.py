"""Providers that play scripts, and rooms of the gateway that write down what is asked of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.errors import Exhausted, LightfastError
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.ports import CostEstimate, Load, Paid, Payer
from lightfast.sdk import (
    GenerationRequest,
    Limits,
    Model,
    Price,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)

Line = Step | BaseException | Callable[[], Any]
"""A step that is yielded, an error that is raised, or what is called, and awaited where it can be."""


class Actor(Provider):
    """Plays the next script at each request; without one it says `fine`."""

    description = "plays a script"

    def __init__(self, name: str, *capabilities: str, outputs: tuple[str, ...] = ("text",)) -> None:
        self.name = name
        self._model = Model("one", outputs=outputs, capabilities=capabilities, free=True)
        self.scripts: deque[Sequence[Line]] = deque()
        self.requests: list[GenerationRequest] = []
        self.cancelled: list[str] = []
        self.closed = 0
        """So many generators were closed."""

    def models(self) -> Sequence[Model]:
        return (self._model,)

    def plays(self, *lines: Line) -> Actor:
        """Add a script."""
        self.scripts.append(lines)
        return self

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        self.requests.append(request)
        script = self.scripts.popleft() if self.scripts else (TextDelta("fine"),)
        try:
            for line in script:
                if isinstance(line, BaseException):
                    raise line
                if callable(line):
                    made = line()
                    if asyncio.iscoroutine(made) or isinstance(made, asyncio.Future):
                        await made
                else:
                    yield line
        finally:
            self.closed += 1

    async def cancel(self, session: Session, job: str) -> None:
        self.cancelled.append(f"{session.account}:{job}")


def down(message: str = "no connection", **fields: Any) -> ProviderError:
    """Return the error of a service that cannot be reached."""
    return ProviderError(message, **{"kind": "unavailable", **fields})


async def for_ever() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@dataclass
class Place:
    """A reservation that writes down its end."""

    book: Accounts
    session: Session
    told: list[Limits] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    def tell(self, limits: Limits) -> None:
        self.told.append(limits)

    def refused(self, error: ProviderError) -> None:
        self.book.refused.append(self.session.account)

    def settle(self, usage: Usage, duration: float) -> None:
        self.ends.append("settled")

    def release(self) -> None:
        self.ends.append("released")


class Accounts:
    """`ports.Sessions` with the given accounts, used in turn until they are refused."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.refused: list[str] = []
        self.places: list[Place] = []
        self.wanted: list[str] = []

    def _free(self) -> list[str]:
        return [name for name in self.names if name not in self.refused]

    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Place:
        self.wanted.append(account)
        free = [account] if account else self._free()
        if not free:
            raise Exhausted(f"all accounts of {record.provider} have reached their limits", reason="LIMIT_REACHED")
        place = Place(self, Session(free[0]))
        self.places.append(place)
        return place

    def delay(self, record: ModelRecord, load: Load) -> float:
        return 0.0 if self._free() else float("inf")

    async def any_session(self, provider: str, account: str = "") -> Session:
        return Session(account or self.names[0])

    def trouble(self, provider: str) -> str:
        return ""


@dataclass
class Money:
    """A hold that writes down its end."""

    purse: Purse
    operation_id: str
    model: str
    most: float
    ends: list[str] = field(default_factory=list)
    paid: Paid | None = None
    kept: bool = False

    def book(self, usage: Usage, *, failed: bool = False) -> asyncio.Future[bool]:
        cost = usage.cost_usd or 0.0
        self.paid = Paid(cost, "reported")
        self.ends.append("failed" if failed else "settled")
        self.purse.spent += cost
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(written.set_result, True)
        return written

    async def settle(self, usage: Usage, *, failed: bool = False) -> Paid:
        await self.book(usage, failed=failed)
        assert self.paid is not None
        return self.paid

    def keep(self) -> None:
        self.kept = True

    async def release(self) -> None:
        self.ends.append("released")


class Purse:
    """`ports.Costs`: each attempt may cost at most *each*, all together *limit* US dollars."""

    def __init__(self, limit: float = 100.0, each: float = 1.0) -> None:
        self.limit, self.each, self.spent = limit, each, 0.0
        self.holds: list[Money] = []
        self.saves: list[tuple[float, str]] = []
        self.left: dict[str, Money] = {}
        self.refuses: LightfastError | None = None

    async def ready(self, *records: ModelRecord) -> None:
        """Nothing has to be loaded."""

    def prices(self, record: ModelRecord) -> tuple[Price, ...]:
        return (Price("request", self.each),)

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        return CostEstimate(record.name, self.each / 2, self.each, "prices", load.input_tokens)

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
    ) -> Money:
        await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        if self.spent + self.each > self.limit:
            raise Exhausted("the budget of the project is used up", reason="BUDGET_EXCEEDED")
        hold = Money(self, operation_id, record.name, estimate.most_usd or 0.0)
        self.holds.append(hold)
        return hold

    async def saved(self, operation_id: str, record: ModelRecord, payer: Payer, usd: float, how: str) -> None:
        self.saves.append((usd, how))

    async def taken_up(self, operation_id: str) -> Money | None:
        return self.left.pop(operation_id, None)
