"""What a call would cost, before it is made: for each model that might answer, in the order they would be tried."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.ports import CostEstimate
from lightfast.gateway.preparing import fit, prepare

if TYPE_CHECKING:
    from lightfast.gateway.rooms import Rooms


async def estimates(
    rooms: Rooms, call: GenerateCall, origin: str, settled: Callable[[], Awaitable[None]] | None = None
) -> list[CostEstimate]:
    """Return one estimate for each model that can do what *call* asks for; nothing is read, held or made.

    Raises what the call is wrong in, as making it would.
    """
    costs = rooms.costs
    if costs is None:
        raise FailedPrecondition("nobody knows prices here", reason="NO_PRICES")
    described = [await rooms.blobs.get(sha256) for sha256 in call.sources]
    sources = tuple((asset.media_type, asset.size) for asset in described)
    order = await prepare(rooms, replace(call, sources=(), target_path=""), origin, settled)
    await costs.ready(*(candidate.record for candidate in order.candidates))
    found: list[CostEstimate] = []
    for candidate in order.candidates:
        try:
            await fit(rooms, order.call, candidate)
        except LightfastError:  # the call is too long for this one, and it would be left out
            continue
        if candidate.unfit is None:
            found.append(costs.estimate(candidate.record, replace(candidate.load, sources=sources)))
    return found
