"""The runner: performs what the pipeline yields, and tells it the news."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import DeadlineExceeded
from lightfast.core.tasks import TaskGroup
from lightfast.engine.pipeline.control import Control
from lightfast.engine.pipeline.effects import (
    Commit,
    Effect,
    Finish,
    Look,
    Note,
    Perform,
    Record,
    Recover,
    Sleep,
    Stop,
)
from lightfast.engine.pipeline.faults import fault_of
from lightfast.engine.pipeline.machine import Pipeline
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.ports import RunEnd, RunJournal
from lightfast.engine.pipeline.slots import Fault, Slot
from lightfast.engine.pipeline.workbench import Workbench
from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import Step
from lightfast.host.guard import Outcome as Guarded
from lightfast.host.guard import guarded_await
from lightfast.sdk import Effect as Allowed
from lightfast.sdk import Operation, OperationCall, Outcome, World

STOP_S = 5.0
"""How long a step that is ended may take to end, in seconds."""
MOST_ROWS = 64
"""How many rows of steps that change nothing may be on the way to the disk at once."""
LOOK_S = 30.0
"""How long reading the context for an expression may take, in seconds."""


async def run(
    program: Program,
    operations: OperationBook,
    journal: RunJournal,
    pools: Pools,
    *,
    run_id: str,
    origin: str,
    world: World,
    project: str = "",
    recorded: Mapping[str, Step] | None = None,
    control: Control | None = None,
    deadline_s: float = 0.0,
    budget_usd: float = 0.0,
    allowed: Mapping[str, frozenset[Allowed]] | None = None,
    clock: Clock = SYSTEM,
    stop_s: float = STOP_S,
) -> RunEnd:
    """Run *program* and return how it ended, all that is told of it on the disk.

    *recorded* are the steps of a run that is taken up. *deadline_s* bounds the whole, 0: nothing does; *budget_usd*
    what it may cost, with what *recorded* steps did; *allowed* what each instruction may do, by identity: one that is
    not named may only read (`None`: nothing was checked, and each may do what it does). Cancelling the task that awaits
    this leaves the rows as they are: the run can be taken up. Raises only what the journal's own mistakes raise.
    """
    pipeline = Pipeline(
        program,
        operations,
        run_id=run_id,
        origin=origin,
        world=world,
        project=project,
        recorded=recorded,
        budget_usd=budget_usd,
        allowed=allowed,
        clock=clock,
    )
    runner = Runner(pipeline, operations, journal, pools, run_id, stop_s)
    return await runner.run(control or Control(), deadline_s)


class Runner:
    """Performs the effects of one pipeline."""

    def __init__(
        self,
        pipeline: Pipeline,
        operations: OperationBook,
        journal: RunJournal,
        pools: Pools,
        run_id: str,
        stop_s: float = STOP_S,
    ) -> None:
        self._pipeline = pipeline
        self._operations = operations
        self._journal = journal
        self._pools = pools
        self._run_id = run_id
        self._stop_s = stop_s
        self._tasks = TaskGroup(f"run {run_id}")
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[RunEnd] = self._loop.create_future()
        self._working: dict[Slot, asyncio.Task[None]] = {}
        self._timers: dict[Slot, asyncio.TimerHandle] = {}
        self._quick: deque[tuple[Slot, Operation, OperationCall]] = deque()
        self._quickly: asyncio.Task[None] | None = None
        self._writes: deque[Commit | Record | Note] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._pumping = False
        self._built_in: dict[str, bool] = {}

    async def run(self, control: Control, deadline_s: float) -> RunEnd:
        """Run it to its end."""
        deadline = self._loop.call_later(deadline_s, self._expired, deadline_s) if deadline_s > 0.0 else None
        control.follow(lambda: self._steer(control))
        try:
            self._steer(control)
            return await self._end
        finally:
            control.follow(None)
            if deadline is not None:
                deadline.cancel()
            for timer in self._timers.values():
                timer.cancel()
            await self._tasks.close(self._stop_s)

    def _steer(self, control: Control) -> None:
        if control.refused:
            self._pipeline.cancel(control.cancelled or "", control.refused, "FAILED")
        elif control.cancelled is not None:
            self._pipeline.cancel(control.cancelled)
        elif control.paused:
            self._pipeline.pause(leave=control.leave)
        else:
            self._pipeline.resume()
        self._pump()

    def _expired(self, seconds: float) -> None:
        self._pipeline.cancel(f"it took longer than {seconds:g} s", DeadlineExceeded.reason, "FAILED")
        self._pump()

    def _pump(self) -> None:
        """Perform what the pipeline yields, until it waits for news."""
        if self._pumping or self._end.done():
            return
        self._pumping = True
        try:
            while effects := self._pipeline.advance():
                for effect in effects:
                    self._do(effect)
        except BaseException as error:
            if not self._end.done():
                self._end.set_exception(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._pumping = False

    def _do(self, effect: Effect) -> None:
        match effect:
            case Perform(slot, operation, call, step):
                if step is None and operation.quick and self._ours(operation.name):
                    self._quick.append((slot, operation, call))
                    if self._quickly is None:
                        self._quickly = self._vital(self._perform_quick(), "quick")
                else:
                    self._start(slot, self._perform(slot, operation, call, step))
            case Recover(slot, operation, call):
                self._start(slot, self._recover(slot, operation, call))
            case Look(slot, paths):
                self._start(slot, self._look(slot, paths))
            case Sleep(slot, seconds):
                self._timers[slot] = self._loop.call_later(seconds, self._woke, slot)
            case Stop(slot):
                self._stop(slot)
            case Commit() | Record() | Note():
                self._writes.append(effect)
                if self._writer is None:
                    self._writer = self._vital(self._write(), "writer")
            case Finish(end):
                self._end.set_result(end)

    def _ours(self, name: str) -> bool:
        if name not in self._built_in:
            self._built_in[name] = not self._operations.plugin(name)
        return self._built_in[name]

    def _vital(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task without which the run cannot go on."""
        task = self._tasks.start(work, name)
        task.add_done_callback(self._broke)
        return task

    def _broke(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._end.done():
            self._end.set_exception(error)

    # --- performing --------------------------------------------------------------------------------------------------

    def _start(self, slot: Slot, work: Coroutine[Any, Any, None]) -> None:
        task = self._working[slot] = self._tasks.start(work, slot.step_id)
        task.add_done_callback(lambda _: self._ended(slot, task))

    def _ended(self, slot: Slot, task: asyncio.Task[None]) -> None:
        """Hear that a task has ended; one that told no news was cancelled, or broke."""
        if self._working.get(slot) is not task:
            return
        del self._working[slot]
        self._forget_timer(slot)
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._pipeline.stopped(slot)
        else:
            self._pipeline.failed(slot, fault_of(error, slot.step_id))
        self._pump()

    async def _perform(self, slot: Slot, operation: Operation, call: OperationCall, step: Step | None) -> None:
        bench = Workbench(self._journal, slot.step_id, (lambda note: self._pipeline.kept(slot, note)) if step else None)

        async def work() -> Outcome:
            await self._pools.enter(operation.pool, self._run_id)
            try:
                if step is not None:
                    self._pipeline.check_leash(slot)  # it may have waited for its place
                    self._pipeline.began(slot)
                    await self._journal.started(step)
                return await operation.perform(call, bench)
            finally:
                self._pools.leave(operation.pool)

        await self._within(slot, call.deadline_s, work, lambda outcome: self._pipeline.performed(slot, outcome))

    async def _recover(self, slot: Slot, operation: Operation, call: OperationCall) -> None:
        bench = Workbench(self._journal, slot.step_id, lambda note: self._pipeline.kept(slot, note))

        def found(outcome: Outcome | None) -> None:
            if outcome is None:
                self._pipeline.lost(slot)
            else:
                self._pipeline.performed(slot, outcome)

        await self._within(slot, call.deadline_s, lambda: operation.recover(call, bench), found)

    async def _look(self, slot: Slot, paths: tuple[str, ...]) -> None:
        await self._within(
            slot, LOOK_S, lambda: self._journal.read(paths), lambda values: self._pipeline.looked(slot, values)
        )

    async def _within(
        self, slot: Slot, seconds: float, work: Callable[[], Awaitable[Any]], tell: Callable[[Any], None]
    ) -> None:
        """Await *work* for so many seconds, and tell what came of it; cancelling this tells nothing."""
        # What swallows its cancellation is given up a little later, though its task goes on.
        self._timers[slot] = self._loop.call_later(seconds + self._stop_s, self._late, slot)
        try:
            async with asyncio.timeout(seconds):
                done = await guarded_await(work())
        except TimeoutError:
            done = Guarded(error=_too_late(slot, seconds))
        if self._working.pop(slot, None) is None:
            return  # it was given up
        self._forget_timer(slot)
        if done.error is None:
            tell(done.value)
        else:
            self._pipeline.failed(slot, fault_of(done.error, slot.step_id))
        self._pump()

    async def _perform_quick(self) -> None:
        """Perform what waits for nothing but the context, one after the other."""
        while self._quick:
            slot, operation, call = self._quick[0]
            try:
                async with asyncio.timeout(call.deadline_s):
                    while self._quick:
                        slot, operation, call = self._quick[0]
                        done = await guarded_await(operation.perform(call, Workbench(self._journal, slot.step_id)))
                        self._quick.popleft()
                        if done.error is None:
                            self._pipeline.performed(slot, done.value)
                        else:
                            self._pipeline.failed(slot, fault_of(done.error, slot.step_id))
            except TimeoutError:
                self._quick.popleft()
                self._pipeline.failed(slot, fault_of(_too_late(slot, call.deadline_s)))
            self._pump()
        self._quickly = None

    # --- ending ------------------------------------------------------------------------------------------------------

    def _stop(self, slot: Slot) -> None:
        task = self._working.get(slot)
        if task is not None:
            task.cancel()
            self._forget_timer(slot)
            self._timers[slot] = self._loop.call_later(self._stop_s, self._late, slot)
            return
        self._forget_timer(slot)
        self._pipeline.stopped(slot)

    def _late(self, slot: Slot) -> None:
        """Go on without a task that will not end; it keeps its place in the pool until it does."""
        self._timers.pop(slot, None)
        if self._working.pop(slot, None) is not None:
            self._pipeline.stopped(slot, late=True)
            self._pump()

    def _woke(self, slot: Slot) -> None:
        self._timers.pop(slot, None)
        self._pipeline.woke(slot)
        self._pump()

    def _forget_timer(self, slot: Slot) -> None:
        timer = self._timers.pop(slot, None)
        if timer is not None:
            timer.cancel()

    # --- writing -----------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write what is to be written, in order; after one that fails, what was to follow is dropped."""
        while self._writes:
            batch = self._batch()
            if len(batch) == 1:
                ended = [await guarded_await(self._written(batch[0]))]
            else:
                ended = await asyncio.gather(*(guarded_await(self._written(each)) for each in batch))
            for effect, done in zip(batch, ended, strict=True):
                if done.error is not None:
                    self._writes.clear()
                    self._pipeline.refused(effect.slot, _refusal(done.error, effect.slot))
                    break
                if isinstance(effect, Note):
                    self._pipeline.decided(effect.slot)
                else:
                    self._pipeline.committed(effect.slot)
            self._pump()
        self._writer = None

    def _batch(self) -> list[Commit | Record | Note]:
        """Take the next one; or rows that change nothing and follow each other, for no store can refuse them."""
        batch = [self._writes.popleft()]
        if _is_row(batch[0]):
            while self._writes and len(batch) < MOST_ROWS and _is_row(self._writes[0]):
                batch.append(self._writes.popleft())
        return batch

    async def _written(self, effect: Commit | Record | Note) -> None:
        if isinstance(effect, Commit):
            await self._journal.committed(effect.step, effect.changes)
        elif isinstance(effect, Record):
            await self._journal.ended(effect.step)
        else:
            await self._journal.started(effect.step)


def _is_row(effect: Commit | Record | Note) -> bool:
    """Say whether *effect* writes a row and changes nothing."""
    return isinstance(effect, Record) or (isinstance(effect, Commit) and not effect.changes)


def _too_late(slot: Slot, seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{slot.step_id} took longer than {seconds:g} s: give it a longer timeout")


def _refusal(error: BaseException, slot: Slot) -> Fault:
    fault = fault_of(error, slot.step_id)
    return Fault(fault.reason, fault.message)
