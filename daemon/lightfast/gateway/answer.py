"""What came so far of a generation, and how it goes on to the one who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from lightfast.gateway.cache.flights import Flight
from lightfast.gateway.calls import StepFallback, StepKind, StepProgress
from lightfast.gateway.channel import StepChannel
from lightfast.gateway.operations import TEXT_KEPT, Operation
from lightfast.gateway.ports import Hold, Paid
from lightfast.sdk import Preview, TextDelta, Usage
from lightfast_link.value import Asset


@dataclass(slots=True)
class Taken:
    """A job at a service that is under way, with the account it was made with and the money held for it."""

    model: str
    job_id: str
    account: str = ""
    hold: Hold | None = None


class Answer:
    """Grows while the generation runs; `snapshot` is its row. Whoever shares the answer gets each step, too."""

    def __init__(self, operation: Operation, channel: StepChannel, *, keep_text: bool = True) -> None:
        self.operation = operation
        self.channel = channel
        self.flight: Flight | None = None
        self.text: list[str] = []
        self.text_size = 0
        self.assets: tuple[Asset, ...] = operation.assets
        self.fraction = operation.fraction
        self.usage = operation.usage
        self.cost_usd = operation.cost_usd
        self.cost_basis = operation.cost_basis
        self.saved_usd = 0.0
        self.cache = ""
        self.model = operation.model
        self.finish_reason = ""
        self.duration = 0.0
        self.fallbacks: tuple[StepFallback, ...] = operation.fallbacks
        self.taken: Taken | None = None
        self.settings = operation.settings
        self.halted = False
        """Set when it is to end: nothing more is taken in."""
        self.bookings: list[asyncio.Future[bool]] = []
        """What is paid, on its way to the disk."""
        self.write_row: Callable[[], None] = _nothing
        """Has the first row written, if it is not yet, without waiting."""
        self.stopping = False
        """Set when the daemon stops: a job is left to the next one."""
        self._keep_text = keep_text

    @property
    def passed(self) -> bool:
        """Say whether something of the answer was passed on."""
        return bool(self.text or self.assets)

    def snapshot(self) -> Operation:
        """Return how the operation stands."""
        taken = self.taken
        text = ""
        if self._keep_text and self.text:
            text = "".join(self.text)[:TEXT_KEPT]
        return replace(
            self.operation,
            model=self.model,
            fraction=self.fraction,
            assets=self.assets,
            text=text,
            usage=self.usage,
            cost_usd=self.cost_usd,
            cost_basis=self.cost_basis,
            saved_usd=self.saved_usd,
            cache=self.cache,
            finish_reason=self.finish_reason,
            duration=self.duration,
            fallbacks=self.fallbacks,
            job_id=taken.job_id if taken is not None else self.operation.job_id,
            account=taken.account if taken is not None else self.operation.account,
            settings=self.settings,
        )

    def tell(self, kind: StepProgress | Preview) -> None:
        """Pass on what may be lost."""
        self.channel.offer(kind)
        if self.flight is not None:
            self.flight.publish(kind)

    async def add_text(self, delta: TextDelta) -> None:
        """Add text, and pass it on; waits while the reader is slow."""
        self.text.append(delta.text)
        self.text_size += len(delta.text)
        if self.flight is not None:
            self.flight.publish(delta)
        if not self.channel.offer_text(delta):
            await self.channel.put(delta)

    async def add_asset(self, asset: Asset) -> None:
        """Add an asset that is stored, and pass it on."""
        self.assets = (*self.assets, asset)
        await self.put(asset)

    async def put(self, kind: StepKind) -> None:
        """Pass on what must not be lost."""
        if self.flight is not None:
            self.flight.publish(kind)
        await self.channel.put(kind)

    async def fall_back(self, step: StepFallback) -> None:
        """Another model goes on; with a restart, what came before is let go."""
        if step.restarted:
            self.begin_anew()
        self.model = step.to_model
        self.fallbacks = (*self.fallbacks, step)
        await self.put(step)

    def begin_anew(self) -> None:
        """Let go of what came."""
        self.text, self.text_size, self.assets, self.fraction, self.finish_reason = [], 0, (), 0.0, ""

    def pay(self, usage: Usage, paid: Paid) -> None:
        """Add what an attempt has used and cost."""
        self.usage = usage if self.usage == _NOTHING else self.usage + usage
        self.cost_usd += paid.cost_usd
        self.cost_basis = paid.basis


_NOTHING = Usage()


def _nothing() -> None:
    """Do nothing."""
