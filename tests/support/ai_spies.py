"""Rooms of accounts and of money that only note what is asked of them, and a provider that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast.core.errors import Exhausted
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.ports import CostEstimate, Load, Paid, Payer
from lightfast.sdk import (
    GenerationRequest,
    Job,
    Limits,
    Model,
    Progress,
    Provider,
    ProviderError,
    Session,
    Step,
    TextDelta,
    Usage,
    Workbench,
)
from lightfast_link.value import Value

COST = 0.01
PAUSE = 0.003
"""What things take here, in seconds: long enough that others come in between."""


@dataclass
class Thing:
    """Something that must be ended exactly once."""

    what: str
    ends: list[str] = field(default_factory=list)
    refusals: int = 0

    def end(self, how: str) -> None:
        """Note an end."""
        self.ends.append(how)


class Place(Thing):
    """A reservation."""

    session = Session(account="one")

    def tell(self, limits: Limits) -> None:
        """Take it in."""

    def refused(self, error: ProviderError) -> None:
        self.refusals += 1

    def settle(self, usage: Usage, duration: float) -> None:
        self.end("settled")

    def release(self) -> None:
        self.end("released")


class Money(Thing):
    """A hold; to write it down takes a while."""

    paid: Paid | None = None
    used: Usage | None = None

    def book(self, usage: Usage, *, failed: bool = False) -> asyncio.Future[bool]:
        self.end("settled")
        self.used, self.paid = usage, Paid(usage.cost_usd or 0.0, "reported")
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(PAUSE, written.set_result, True)
        return written

    async def settle(self, usage: Usage, *, failed: bool = False) -> Paid:
        await self.book(usage, failed=failed)
        assert self.paid is not None
        return self.paid

    def keep(self) -> None:
        """Take it in."""

    async def release(self) -> None:
        self.end("released")
        await asyncio.sleep(0)


class Spies:
    """Implements `ports.Sessions` and `ports.Costs`; each `no` of *verdicts* refuses what is asked next."""

    def __init__(self, verdicts: Sequence[str]) -> None:
        self.verdicts = list(verdicts)
        self.places: list[Place] = []
        self.money: list[Money] = []
        self.saved_usd = 0.0
        self.delays: dict[str, float] = {}

    async def _verdict(self, what: str) -> None:
        said = self.verdicts.pop(0) if self.verdicts else "yes"
        if said != "yes":
            await asyncio.sleep(PAUSE)
        if said == "no":
            raise Exhausted(f"there is no {what} left for this", reason="LIMIT_REACHED")

    async def reserve(self, record: ModelRecord, load: Load, *, deadline: float, account: str = "") -> Place:
        await self._verdict("place")
        self.places.append(Place(record.name))
        return self.places[-1]

    def delay(self, record: ModelRecord, load: Load) -> float:
        return self.delays.get(record.name, 0.0)

    async def any_session(self, provider: str, account: str = "") -> Session:
        return Session(account="one")

    def trouble(self, provider: str) -> str:
        return ""

    async def ready(self, *records: ModelRecord) -> None:
        await asyncio.sleep(0)

    def prices(self, record: ModelRecord) -> tuple[Any, ...]:
        return ()

    def estimate(self, record: ModelRecord, load: Load) -> CostEstimate:
        return CostEstimate(record.name, COST, COST, "prices")

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
        await self._verdict("money")
        self.money.append(Money(record.name))
        return self.money[-1]

    async def saved(self, operation_id: str, record: ModelRecord, payer: Payer, usd: float, how: str) -> None:
        self.saved_usd += usd

    async def taken_up(self, operation_id: str) -> Money | None:
        return None


class Scripted(Provider):
    """Does at its nth attempt what stands there; after the last one it answers."""

    def __init__(self, name: str, acts: Sequence[str], *, continues: bool) -> None:
        self.name, self._acts, self._continues = name, list(acts), continues
        self.attempts = 0
        self.jobs: list[str] = []
        self.given_up: list[str] = []
        self.under_way = 0

    def models(self) -> Sequence[Model]:
        able = ("continue",) if self._continues else ()
        return (Model("m", outputs=("text",), settings=_SETTINGS, capabilities=able),)

    async def generate(self, request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
        act = self._acts.pop(0) if self._acts else "answer"
        self.attempts += 1
        self.under_way += 1
        try:
            async for step in self._steps(act, request):
                yield step
        finally:
            self.under_way -= 1

    async def _steps(self, act: str, request: GenerationRequest) -> AsyncIterator[Step]:
        told = f"{self.name}{self.attempts} "
        yield Progress(0.1, "begun")
        if act.startswith("job"):
            job = request.job or f"{self.name}-job-{len(self.jobs) + 1}"
            if not request.job:
                self.jobs.append(job)
            yield Job(job)
        if act.endswith("hang"):
            await asyncio.Event().wait()
        if act == "stubborn":
            for _ in range(3):
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    continue
        if act in ERRORS:
            raise made(act)
        yield TextDelta(told)
        await asyncio.sleep(PAUSE)
        if act.removeprefix("late ") in ERRORS:
            raise made(act.removeprefix("late "))
        if act == "late stall":
            await asyncio.Event().wait()
        yield TextDelta("end")
        yield Usage(5, 7, COST / 2)

    async def cancel(self, session: Session, job: str) -> None:
        self.given_up.append(job)


_SETTINGS: dict[str, Value] = {}
_KINDS = ("auth", "overloaded", "unavailable", "malformed", "invalid", "filtered", "limit", "not_found")
ERRORS = (*_KINDS, "boom", "exit", "own cancel")


def made(error: str) -> BaseException:
    """Return one of `ERRORS`."""
    match error:
        case "boom":
            return RuntimeError("boom")
        case "exit":
            return SystemExit(3)
        case "own cancel":
            return asyncio.CancelledError()
        case kind:
            return ProviderError(f"it is {kind}", kind=kind)


ACTS = (
    "answer", "hang", "late stall", "stubborn", "job", "job hang", *ERRORS, *(f"late {kind}" for kind in ERRORS),
)  # fmt: skip
