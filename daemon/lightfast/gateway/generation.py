"""One generation: from its start to the row of its end, under one deadline.

It runs in a task of its own, so that nothing a provider does (awaiting for ever, swallowing its cancellation, raising
`SystemExit`) reaches the one who reads the steps.
"""

from __future__ import annotations

import asyncio

import structlog

from lightfast.context.entry import Set
from lightfast.core.errors import Cancelled, DeadlineExceeded, LightfastError, Unavailable
from lightfast.core.redaction import hide
from lightfast.gateway import sharing
from lightfast.gateway.answer import Answer, Taken
from lightfast.gateway.attempt import give_job_up
from lightfast.gateway.attempts import Attempts
from lightfast.gateway.calls import StepProgress, StepUsage
from lightfast.gateway.channel import StepChannel
from lightfast.gateway.operations import Operation, OperationState
from lightfast.gateway.order import Order
from lightfast.gateway.rooms import Rooms
from lightfast.sdk import Provider
from lightfast.storage.blobs import Provenance
from lightfast_link.value import MAX_BYTES, Asset, Value

log = structlog.get_logger("lightfast.gateway")

GRACE = 2.0
"""How long a cancelled provider may clean up, in seconds; then it is left behind and named in the log."""
STOPPING = "STOPPING"
SHORT = 256 * 1024
"""A text of at most so many characters is found in memory as soon as it is kept; a longer one is waited for."""
ROW_AFTER = 0.05
"""A free generation that is over sooner than this, in seconds, has one row written instead of two."""


class Generation:
    """One generation; `start` it, read `channel`, and `stop` it when nobody reads any more."""

    def __init__(self, rooms: Rooms, order: Order, operation: Operation, *, resumed: bool = False) -> None:
        self._rooms, self._order, self._resumed = rooms, order, resumed
        self.channel = StepChannel(operation_id=operation.operation_id)
        self.done = asyncio.Event()
        self.answer = Answer(operation, self.channel, keep_text=order.call.keep_prompt)
        self._attempts = Attempts(rooms, order, self.answer)
        self._ended: Operation | None = None
        self._ending = self._succeeds = False
        self._halted: LightfastError | None = None
        self._task: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._began = rooms.clock.monotonic()
        self._keeping: asyncio.Task[None] | None = None
        self._has_row = resumed or bool(order.call.operation_id)
        self.answer.write_row = self.write_row
        if resumed and operation.job_id:
            self.answer.taken = Taken(operation.model, operation.job_id, operation.account)

    @property
    def operation(self) -> Operation:
        """Return how it stands."""
        return self._ended or self.answer.snapshot()

    @property
    def provider(self) -> Provider | None:
        """Return the provider that works on it."""
        return self._attempts.provider

    def start(self) -> None:
        """Begin; the first step says which model works with which seed."""
        operation = self.answer.operation
        self._rooms.operations.remember(operation)
        if self._resumed:
            self.channel.detach()
        else:
            self._timers.append(asyncio.get_running_loop().call_later(ROW_AFTER, self.write_row))
            self.answer.tell(StepProgress(0.0, "started", operation.model, operation.seed))
        left = self._order.deadline - self._rooms.clock.monotonic()
        self._timers.append(asyncio.get_running_loop().call_later(max(0.0, left), self._expire))
        self._task = self._rooms.tasks.start(self._run(), operation.operation_id)
        self._task.add_done_callback(self._over)  # also of one that was cancelled before it began

    def write_row(self) -> None:
        """Have the first row written, if it is not yet, without waiting."""
        if self._has_row or self._ending:
            return
        self._has_row = True
        try:
            self._rooms.operations.begin(self.answer.snapshot(), self._begun)
        except LightfastError as error:
            self._begun(error)

    def _begun(self, error: BaseException | None) -> None:
        if error is not None:  # the end cannot be written either, then, and says so
            log.error("the start of an operation cannot be written", reason=str(error))

    def _expire(self) -> None:
        model, timeout = self.answer.model, self._order.timeout
        self._halt(
            DeadlineExceeded(
                f"{model} was not done after {timeout:g} s: ask for less, or give it a longer timeout",
                metadata={"operation_id": self._order.operation_id},
            )
        )

    async def stop(self, error: LightfastError) -> None:
        """Cancel it with *error* as the reason, and wait until it is over; one that is over stays as it is."""
        self._halt(error)
        await self.done.wait()

    def _halt(self, error: LightfastError) -> None:
        if self._halted is not None or self._ending or self._task is None:
            if self._halted is None and not self._succeeds:
                self.channel.close(error)  # a sender that waits for room must not wait for a reader who left
            return
        self._halted = error
        self.answer.halted = True
        self.answer.stopping = error.reason == STOPPING
        self.channel.close(error)
        self._task.cancel()
        self._timers.append(asyncio.get_running_loop().call_later(GRACE, self._leave_behind))

    def _leave_behind(self) -> None:
        """End without a provider that does not obey its cancellation."""
        if self._ending:
            return
        operation_id = self._order.operation_id
        log.error(
            "a provider does not obey its cancellation and is left behind",
            model=self.answer.model,
            operation=operation_id,
        )
        self._end_apart()

    def _over(self, _: asyncio.Task[None]) -> None:
        """Take note that its task is over: one that never began has not ended it."""
        if not self._ending:
            self._end_apart()

    def _end_apart(self) -> None:
        """End it in a task of its own. Whoever waits for its end gets it, even where nothing can be done any more."""
        self._ending = True
        error = self._halted or Cancelled("the daemon is stopping", reason=STOPPING)
        self.answer.stopping = error.reason == STOPPING
        try:
            ending = self._rooms.tasks.start(self._end(error), f"{self._order.operation_id}:end")
        except RuntimeError:  # the tasks are closed: the next start of the daemon marks the row
            self._told(error)
        else:
            ending.add_done_callback(lambda _: self._told(error))  # it may be cancelled before it begins

    def _told(self, error: LightfastError) -> None:
        """Tell who reads and who waits that it is over, where nobody has yet."""
        if self.done.is_set():
            return
        for timer in self._timers:
            timer.cancel()
        self.channel.close(error)
        self.done.set()
        if self.answer.flight is not None:
            self.answer.flight.finish(error)

    async def _run(self) -> None:
        error: LightfastError | None = Unavailable("the daemon failed over this generation: see its log")
        task = asyncio.current_task()
        try:
            error = await self._make()
        except LightfastError as raised:
            error = raised
        except asyncio.CancelledError:
            error = self._halted or Cancelled("the daemon is stopping", reason=STOPPING)
            self.answer.stopping = error.reason == STOPPING
            if self._halted is not None and task is not None:
                task.uncancel()
        finally:
            if not self._ending:
                self._ending = True
                await self._end(error)

    async def _make(self) -> LightfastError | None:
        """Find the answer, or make it; return what went wrong."""
        rooms, order, answer = self._rooms, self._order, self.answer
        if self._resumed:
            return await self._attempts.run()
        key = ""
        if rooms.flights is not None and rooms.answers is not None and order.asked is not None:
            key = rooms.answers.key(order.asked, order.cache)
        if not key or rooms.flights is None:
            return None if await sharing.replay(rooms, order, answer) else await self._attempts.run()
        while not (flight := rooms.flights.join(key)).leads:
            if await sharing.follow(rooms, order, answer, flight):
                return None
        answer.flight = flight
        return None if await sharing.replay(rooms, order, answer) else await self._attempts.run()

    async def _end(self, error: LightfastError | None) -> None:
        """Write the last row, with the result placed in the same unit of work; then tell."""
        answer = self.answer
        answer.duration = self._rooms.clock.monotonic() - self._began
        self._succeeds = error is None  # who reads is told so from now on, as its row says, whatever time it is
        try:
            if error is None:
                try:
                    await self._succeed()
                except LightfastError as refused:
                    error = refused
            if error is not None:
                await self._fail(error)
        except asyncio.CancelledError:
            error = error or Cancelled("the daemon is stopping", reason=STOPPING)
            raise
        except BaseException:
            error = Unavailable("the daemon failed over this generation: see its log")
            raise
        finally:
            for timer in self._timers:
                timer.cancel()
            self.channel.close(error)
            self.done.set()
            await self._land(error)

    async def _land(self, error: LightfastError | None) -> None:
        """End the flight once the answer can be found: a short text at once, others when they are on the disk."""
        answer = self.answer
        try:
            if self._keeping is not None and (answer.assets or answer.text_size > SHORT):
                await asyncio.wait({self._keeping})
        finally:
            if answer.flight is not None:
                answer.flight.finish(error)

    async def _fail(self, error: LightfastError) -> None:
        answer, rooms = self.answer, self._rooms
        if answer.stopping and answer.taken is not None:
            self._ended = answer.snapshot()  # its row says RUNNING: the next daemon takes the job up
            log.info("a job is left to the next daemon", operation=self._order.operation_id, job=answer.taken.job_id)
            return
        tried = self._attempts.tried
        if tried is not None:
            await tried.settle(asyncio.CancelledError())  # of one that is left behind
        if answer.taken is not None:
            await give_job_up(rooms, self._order, tried, answer.taken)
        cancelled = isinstance(error, Cancelled) and error.reason != STOPPING
        state = OperationState.CANCELLED if cancelled else OperationState.FAILED
        self._ended = answer.snapshot().ended(state, rooms.clock.now_ns(), hide(error.message))
        log.info("generation ended", operation=self._order.operation_id, state=state, reason=error.reason)
        try:
            await rooms.operations.save(self._ended)
        except LightfastError:  # the next start of the daemon marks the row
            log.exception("the end of an operation cannot be written", operation=self._order.operation_id)

    async def _succeed(self) -> None:
        answer, rooms = self.answer, self._rooms
        ended = answer.snapshot().ended(OperationState.SUCCEEDED, rooms.clock.now_ns())
        if rooms.answers is not None and not answer.cache and self._order.cache != "off":
            self._keeping = rooms.tasks.start(sharing.keep(rooms, self._order, answer), f"{ended.operation_id}:keep")
        if ended.target_path:
            await self._place(ended)
        else:
            await rooms.operations.save(ended)
        self._ended = ended
        if not all(booked.done() for booked in answer.bookings):
            await asyncio.wait(answer.bookings)  # what the disk did not take is in the log, and tried again
        usage = answer.usage
        last = StepUsage(
            usage.input_tokens,
            usage.output_tokens,
            answer.duration,
            answer.cost_usd,
            usage,
            answer.cost_basis,
            answer.saved_usd,
            answer.cache,
            answer.model,
            answer.finish_reason,
        )
        if answer.flight is not None:
            answer.flight.publish(last)
        self.channel.finish(last)

    async def _place(self, operation: Operation) -> None:
        """Place the result in the context, in one unit of work with the row."""
        rooms = self._rooms
        rooms.may_write()  # it may have been forbidden since this began
        result = await self._result()
        unit = rooms.operations.unit()
        rooms.operations.write(unit, operation)
        applied = await rooms.store.apply(
            [Set(operation.target_path, result)],
            origin=f"operation:{operation.operation_id}",
            group=operation.group,
            label=f"generated by {operation.model}",
            unit=unit,
        )
        rooms.operations.remember(operation)
        if not applied.revision:  # a signal is not committed, and its unit of work is not either
            await rooms.operations.save(operation)

    async def _result(self) -> Value:
        """Return what is placed in the context: the asset, a list of several, or the text."""
        answer, operation = self.answer, self.answer.operation
        if answer.assets:
            return answer.assets[0] if len(answer.assets) == 1 else list(answer.assets)
        text = "".join(answer.text)
        if len(text.encode()) <= MAX_BYTES:
            return text
        record = await self._rooms.blobs.put(
            text.encode(),
            "text/plain; charset=utf-8",
            "text.txt",
            Provenance(origin=operation.origin, generator=answer.model, prompt=operation.prompt),
        )
        asset = Asset(record.uri, record.media_type, record.sha256, record.size)
        answer.assets = (asset,)
        return asset
