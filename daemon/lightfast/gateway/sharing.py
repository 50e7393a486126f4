"""Answers that need not be made: one that is kept, or one that is being made for the very same request."""

from __future__ import annotations

import structlog

from lightfast.core.errors import LightfastError, NotFound
from lightfast.gateway.answer import Answer
from lightfast.gateway.cache.flights import Flight, StartAnew
from lightfast.gateway.calls import StepFallback, StepProgress, StepUsage
from lightfast.gateway.order import Order
from lightfast.gateway.ports import Kept
from lightfast.gateway.rooms import Rooms
from lightfast.sdk import Preview, TextDelta
from lightfast_link.value import Asset

log = structlog.get_logger("lightfast.gateway")


async def replay(rooms: Rooms, order: Order, answer: Answer) -> bool:
    """Give a kept answer, if there is one."""
    if rooms.answers is None or order.asked is None:
        return False
    found = await rooms.answers.find(order.asked, order.cache)
    if found is None:
        return False
    kept, how = found
    try:
        for asset in kept.assets:
            await rooms.blobs.get(asset.sha256)
    except NotFound:  # it was collected meanwhile
        return False
    answer.model, answer.finish_reason, answer.cache = kept.model, kept.finish_reason, how
    answer.tell(StepProgress(1.0, f"kept from before ({how})", kept.model, kept.seed))
    if kept.text:
        await answer.add_text(TextDelta(kept.text))
    for asset in kept.assets:
        await answer.add_asset(asset)
    await _saved(rooms, order, answer, kept.cost_usd)
    return True


async def follow(rooms: Rooms, order: Order, answer: Answer, flight: Flight) -> bool:
    """Take in the answer that another one makes; false where that one has left: begin anew."""
    try:
        async for kind in flight.follow():
            match kind:
                case TextDelta():
                    await answer.add_text(kind)
                case Asset():
                    await answer.add_asset(kind)
                case StepProgress() | Preview():
                    answer.fraction = getattr(kind, "fraction", answer.fraction)
                    answer.tell(kind)
                case StepFallback():
                    await answer.fall_back(kind)
                case StepUsage():
                    answer.model, answer.finish_reason, answer.cache = kind.model, kind.finish_reason, "shared"
                    await _saved(rooms, order, answer, kind.cost_usd + kind.saved_usd)
                    return True
    except StartAnew:
        pass
    if answer.passed:
        await answer.fall_back(StepFallback(answer.model, answer.model, restarted=True, reason="the other one left"))
    return False


async def keep(rooms: Rooms, order: Order, answer: Answer) -> None:
    """Keep an answer that was made; a failure of that is no failure of the generation."""
    if rooms.answers is None or order.asked is None:
        return
    kept = Kept(
        answer.model,
        "".join(answer.text),
        answer.assets,
        answer.usage,
        answer.cost_usd,
        answer.finish_reason,
        order.seed,
    )
    try:
        await rooms.answers.keep(order.asked, kept, order.cache)
    except LightfastError as error:
        log.warning("an answer could not be kept", operation=order.operation_id, reason=error.message)


async def _saved(rooms: Rooms, order: Order, answer: Answer, usd: float) -> None:
    answer.saved_usd = usd
    answer.cost_basis = "free"
    if rooms.costs is not None:
        await rooms.costs.saved(order.operation_id, order.candidates[0].record, order.payer, usd, answer.cache)
