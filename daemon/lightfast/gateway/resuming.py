"""Operations that a stopped daemon left: those with a job at a service are taken up again."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import LightfastError
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.order import Candidate, Order
from lightfast.gateway.ports import Load, Payer
from lightfast.gateway.preparing import contents
from lightfast.sdk import Usage
from lightfast_link.value import from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightfast.gateway.calls import ModelRecord
    from lightfast.gateway.generation import Generation
    from lightfast.gateway.rooms import Rooms
    from lightfast.sdk import Provider

log = structlog.get_logger("lightfast.gateway")

SPARE = 60.0
"""So long after its deadline, in seconds, an operation waits for its provider: it is to be told that it ended."""
ENDED = "the daemon stopped"


class Leftovers:
    """Holds operations with a job until their provider is there; `run` takes a generation under way."""

    def __init__(self, rooms: Rooms, run: Callable[[Generation], None]) -> None:
        self._rooms, self._run = rooms, run
        self._waiting: dict[str, Operation] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def start(self) -> tuple[int, int]:
        """Read what was left; return how many operations wait for their provider, and how many have failed."""
        rooms, now = self._rooms, self._rooms.clock.now_ns()
        left = [each for each in await rooms.operations.left() if each.output != "batch"]  # those have a room of theirs
        self._waiting = {each.operation_id: each for each in left if each.job_id}
        lost = [each.ended(OperationState.FAILED, now, ENDED) for each in left if not each.job_id]
        await rooms.operations.clean(lost)
        loop = asyncio.get_running_loop()
        for operation in self._waiting.values():
            rooms.operations.remember(operation)
            late = max(0.0, (operation.deadline - now) / 1e9) + SPARE
            self._timers[operation.operation_id] = loop.call_later(late, self._expire, operation.operation_id)
        return len(self._waiting), len(lost)

    def close(self) -> None:
        """Wait for nothing any more; the rows stay as they are."""
        for timer in self._timers.values():
            timer.cancel()

    def arrived(self, provider: Provider) -> None:
        """Take up what waits for *provider*."""
        if not self._waiting:
            return
        prefix = f"{provider.name}/"
        for operation in [each for each in self._waiting.values() if each.model.startswith(prefix)]:
            self._drop(operation.operation_id)
            self._rooms.tasks.start(self._take_up(operation), f"take up {operation.operation_id}")

    async def cancel(self, operation_id: str) -> Operation | None:
        """Cancel one that waits; the service is not told, its provider is not there. `None`: it does not wait."""
        operation = self._waiting.get(operation_id)
        if operation is None:
            return None
        self._drop(operation_id)
        message = f"operation {operation_id} was cancelled"
        return await self._end(operation, OperationState.CANCELLED, message)

    def _drop(self, operation_id: str) -> None:
        self._waiting.pop(operation_id, None)
        timer = self._timers.pop(operation_id, None)
        if timer is not None:
            timer.cancel()

    def _expire(self, operation_id: str) -> None:
        operation = self._waiting.get(operation_id)
        if operation is not None:
            self._drop(operation_id)
            message = f"{operation.model} did not come back before the deadline"
            self._rooms.tasks.start(self._end(operation, OperationState.FAILED, message), f"expire {operation_id}")

    async def _end(self, operation: Operation, state: OperationState, message: str) -> Operation:
        rooms = self._rooms
        if rooms.costs is not None:
            hold = await rooms.costs.taken_up(operation.operation_id)
            if hold is not None:
                await hold.settle(Usage(), failed=True)
        ended = operation.ended(state, rooms.clock.now_ns(), message)
        await rooms.operations.save(ended)
        return ended

    async def _take_up(self, operation: Operation) -> None:
        from lightfast.gateway.generation import Generation

        try:
            record = self._record(operation)
            order = await self._order(operation, record)
        except LightfastError as error:
            log.warning("an operation cannot be taken up", operation=operation.operation_id, reason=error.message)
            await self._end(operation, OperationState.FAILED, error.message)
            return
        generation = Generation(self._rooms, order, operation, resumed=True)
        if self._rooms.costs is not None and generation.answer.taken is not None:
            generation.answer.taken.hold = await self._rooms.costs.taken_up(operation.operation_id)
        log.info("an operation is taken up", operation=operation.operation_id, job=operation.job_id)
        self._run(generation)

    def _record(self, operation: Operation) -> ModelRecord:
        return self._rooms.catalog.match(GenerateCall(operation.model, operation.output))

    async def _order(self, operation: Operation, record: ModelRecord) -> Order:
        rooms = self._rooms
        settings = json.loads(operation.settings or "{}")
        described = [await rooms.blobs.get(sha256) for sha256 in operation.sources]
        left = (operation.deadline - rooms.clock.now_ns()) / 1e9
        if left <= 0:
            log.info("the deadline of an operation went by", operation=operation.operation_id)
        call = GenerateCall(
            operation.model,
            operation.output,
            operation.prompt,
            sources=operation.sources,
            target_path=operation.target_path,
            group=operation.group,
            project=operation.project,
            run=operation.run,
            strict=True,
        )
        load = Load(output=operation.output, settings=settings)
        candidate = Candidate(record, load, {name: from_json(value, name) for name, value in settings.items()})
        return Order(
            operation_id=operation.operation_id,
            call=call,
            origin=operation.origin,
            output=operation.output,
            seed=operation.seed,
            timeout=(operation.deadline - operation.create_time) / 1e9,
            deadline=rooms.clock.monotonic() + max(0.0, left),
            candidates=[candidate],
            payer=Payer(operation.project, operation.origin, operation.run),
            sources=await contents(rooms, described),
            source_types=tuple(asset.media_type for asset in described),
        )
