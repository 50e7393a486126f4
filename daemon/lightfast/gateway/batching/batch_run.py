"""One batch under way: at its service, or worked through here."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace

import structlog

from lightfast.core.errors import Cancelled, DeadlineExceeded, Exhausted, LightfastError, Unavailable
from lightfast.core.redaction import hide
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.batching.batch_rows import BatchItem, BatchRows, BatchState
from lightfast.gateway.calls import GenerateCall, ModelRecord, OperationStep, StepFallback, StepUsage
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.ports import Hold
from lightfast.gateway.rooms import Rooms
from lightfast.sdk import (
    BatchAnswer,
    Provider,
    TextDelta,
    Usage,
)

log = structlog.get_logger("lightfast.gateway")

GRACE = 2.0
"""How long a cancelled batch may clean up, in seconds."""
AT_ONCE = 4
"""So many requests of a batch that is worked through here are under way."""


class Run(ABC):
    """One batch under way. `rest` leaves it as it is, to go on later; `stop` ends it for good."""

    def __init__(
        self, rooms: Rooms, rows: BatchRows, operation: Operation, state: BatchState, record: ModelRecord
    ) -> None:
        self.operation = operation
        self.done = asyncio.Event()
        self._rooms, self._rows, self._state, self._record = rooms, rows, state, record
        self.provider: Provider = rooms.catalog.provider(record.provider)
        self._stopped: LightfastError | None = None
        self._over: Callable[[Run], None] | None = None
        self._ending = False
        self._task: asyncio.Task[None] | None = None
        self.hold: Hold | None = None
        """The money that is held, also while it rests."""

    def start(self, over: Callable[[Run], None]) -> None:
        """Begin, or go on; *over* is called at its end."""
        self._over = over
        self._task = self._rooms.tasks.start(self._run(), f"batch {self.operation.operation_id}")
        self._task.add_done_callback(self._is_over)  # also of one that was cancelled before it began

    def _is_over(self, _: asyncio.Task[None]) -> None:
        """Take note that the task is over; one that was stopped is ended by `stop`."""
        if self._stopped is None:
            self._finish()

    def _finish(self) -> None:
        if not self.done.is_set():
            self.done.set()
            if self._over is not None:
                self._over(self)

    def rest(self) -> None:
        """Leave it to be taken up; one that is ending ends."""
        if self._task is not None and not self._ending:
            self._task.cancel()

    async def stop(self, error: LightfastError) -> None:
        """End it, and wait for that; a provider that does not obey its cancellation is left behind."""
        if self._stopped is None and not self._ending and not self.done.is_set():
            stopping = self._rooms.tasks.start(self._stop(error), f"stop {self.operation.operation_id}")
            self._stopped = error
            if self._task is not None:
                self._task.cancel()  # now: a moment later it may be at its end, which nothing should cut short
            stopping.add_done_callback(lambda _: self._finish())  # also of one that was cancelled before it began
            await asyncio.shield(stopping)  # who asked for it may go away meanwhile
        await self.done.wait()

    async def _stop(self, error: LightfastError) -> None:
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=GRACE)
            if late:
                log.error("a batch does not obey its cancellation", operation=self.operation.operation_id)
        await self._end(error)

    @property
    def owing(self) -> bool:
        """Whether it was given up, and what its service still finishes is to be booked."""
        return self._state.owing

    @property
    def _left(self) -> float:
        """How long it may still take, in seconds."""
        return max(0.0, (self.operation.deadline - self._rooms.clock.now_ns()) / 1e9)

    def after(self, kind: type[Run]) -> Run:
        """Return what follows its job to the end."""
        found = kind(self._rooms, self._rows, self.operation, self._state, self._record)
        found.hold, self.hold = self.hold, None
        return found

    async def _run(self) -> None:
        error: LightfastError | None = Unavailable("the daemon failed over this batch: see its log")
        try:
            async with asyncio.timeout(self._left):
                await self._work()
            error = None
        except TimeoutError:
            error = DeadlineExceeded(f"{self._record.name} was not done with the batch in time")
        except LightfastError as raised:
            error = raised
        except asyncio.CancelledError:
            return  # it rests, or `stop` ends it
        except Exception:  # it would be taken up again at once, and fail again
            log.exception("a batch failed", operation=self.operation.operation_id)
        await self._end(error)

    async def _end(self, error: LightfastError | None) -> None:
        """Give the job up where it failed, settle the money, and write the last row; once."""
        if self._ending:
            return
        self._ending = True
        answers = await self._rows.answers(self.operation.operation_id)
        usage = sum((answer.usage for answer in answers), Usage())
        if error is not None:
            await self._give_up()
        await self._settle(usage, failed=error is not None)
        now = self._rooms.clock.now_ns()
        if error is None:
            ended = self.operation.ended(OperationState.SUCCEEDED, now)
        else:
            state = OperationState.CANCELLED if isinstance(error, Cancelled) else OperationState.FAILED
            ended = self.operation.ended(state, now, hide(error.message))
        began = self.operation.create_time
        self.operation = replace(ended, usage=usage, duration=(now - began) / 1e9)
        await self._rows.save(self.operation, self._state)
        failed = sum(bool(answer.error) for answer in answers)
        log.info("batch ended", operation=ended.operation_id, state=ended.state, answers=len(answers), failed=failed)

    def _tell(self, fraction: float) -> None:
        self.operation = replace(self.operation, fraction=min(1.0, max(self.operation.fraction, fraction)))
        self._rooms.operations.remember(self.operation)

    @abstractmethod
    async def _work(self) -> None:
        """Work until every request is answered; raise what it fails with."""

    async def _give_up(self) -> None:  # noqa: B027 — only a service has something to hear
        """Tell the service that it is not wanted any more."""

    @abstractmethod
    async def _settle(self, usage: Usage, *, failed: bool) -> None:
        """Settle what is held, and note what it has cost."""


class HereRun(Run):
    """A batch that is worked through here: each request by the normal path, a few at a time."""

    def __init__(
        self,
        rooms: Rooms,
        rows: BatchRows,
        operation: Operation,
        state: BatchState,
        record: ModelRecord,
        generate: Callable[[GenerateCall, str], AsyncIterator[OperationStep]],
    ) -> None:
        super().__init__(rooms, rows, operation, state, record)
        self._generate = generate

    async def _work(self) -> None:
        operation_id = self.operation.operation_id
        left = await self._rows.items(operation_id, open_only=True)
        total = len(await self._rows.items(operation_id))
        waiting = iter(left)
        done = total - len(left)

        async def worker() -> None:
            nonlocal done
            for at, item in waiting:
                await self._rows.answer(operation_id, [await self._one(at, item)])
                done += 1
                self._tell(done / total)

        async with TaskGroup(operation_id) as tasks:
            workers = [tasks.start(worker(), "worker") for _ in range(min(AT_ONCE, len(left)))]
            if workers:
                await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for each in workers:
                if each.done():
                    each.result()

    async def _one(self, at: int, item: BatchItem) -> BatchAnswer:
        call = GenerateCall(
            self._record.name,
            "text",
            item.prompt,
            item.settings,
            seed=item.seed,
            system=item.system,
            messages=item.messages,
            schema=item.schema,
            max_output_tokens=item.max_output_tokens,
            strict=True,
            project=self.operation.project,
            price_consent=self._state.consent,
        )
        while True:
            text: list[str] = []
            usage = Usage()
            try:
                async with aclosing(self._generate(call, self.operation.origin)) as steps:  # type: ignore[type-var]
                    async for step in steps:
                        if isinstance(step.kind, TextDelta):
                            text.append(step.kind.text)
                        elif isinstance(step.kind, StepFallback) and step.kind.restarted:
                            text.clear()
                        elif isinstance(step.kind, StepUsage):
                            usage = replace(step.kind.usage, cost_usd=step.kind.cost_usd)
                return BatchAnswer(at, "".join(text), usage=usage)
            except Exhausted as busy:
                if busy.reason not in {"TOO_MANY_GENERATIONS", "LIMIT_REACHED"}:
                    return BatchAnswer(at, error=hide(busy.message))
                await asyncio.sleep(busy.retry_after or 1.0)
            except LightfastError as error:
                return BatchAnswer(at, error=hide(error.message))

    async def _settle(self, usage: Usage, *, failed: bool) -> None:
        self.operation = replace(self.operation, cost_usd=usage.cost_usd or 0.0, cost_basis="sum")
