"""Drives runs: as many as there is room for, each to its end, what must be taken back of it included."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.errors import Denied, LightfastError, NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.ports import Asker
from lightfast.engine.rights import Rights
from lightfast.engine.runs.approval import AUTHORS
from lightfast.engine.runs.journal import Journal, Room
from lightfast.engine.runs.kept import Ending, Kept
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.live import Live
from lightfast.engine.runs.order import Places
from lightfast.engine.runs.ports import RunBudgets, Runner, There
from lightfast.engine.runs.records import Run, RunState, StepState
from lightfast.engine.runs.returning import apps_back
from lightfast.sdk import World

if TYPE_CHECKING:
    from lightfast.engine.ports import OperationBook

log = structlog.get_logger("lightfast.runs")

_S = 1_000_000_000
_RETRY_S = 1.0
_PASSING = frozenset(("RESOURCE_EXHAUSTED", "UNAVAILABLE"))
"""What a full disk or a store that closes brings: it is tried again."""
_ENDS = frozenset((RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.NEEDS_YOU))


class Drive:
    """All runs that have not ended. A run that goes on holds one of `limits.runs` places; others wait in order."""

    def __init__(
        self,
        room: Room,
        operations: OperationBook,
        world: World,
        runner: Runner,
        limits: RunLimits,
        budgets: RunBudgets | None,
        there: There | None,
        rights: Rights,
    ) -> None:
        self._rights = rights
        self.room, self.operations, self.world = room, operations, world
        self.limits = limits
        self.lives: dict[str, Live] = {}
        self.held = ""
        self.waiting: deque[Live] = deque()
        self.running: set[str] = set()
        self.settled = asyncio.Event()
        """Set when plugins are loaded: nothing is run before."""
        self._runner, self._budgets, self._there = runner, budgets, there
        self._tasks = TaskGroup("runs")

    async def close(self) -> None:
        """Stop where everything is: the next daemon takes it up."""
        self.waiting.clear()
        await self._tasks.close()

    def live(self, kept: Kept) -> Live:
        """Take a run in."""
        opened = asyncio.Event()
        if not self.held:
            opened.set()
        run = kept.run
        found = self.lives[run.run_id] = Live(kept, Journal(self.room, run.run_id, run.origin, opened, run.program))
        return found

    def unlisted(self, kept: Kept) -> Live:
        """Return a run to look at, which is not taken in."""
        run = kept.run
        return Live(kept, Journal(self.room, run.run_id, run.origin, asyncio.Event(), run.program))

    async def allow(self, kept: Kept) -> None:
        """Set the budget of a run that has one."""
        if self._budgets is not None and kept.budget_usd:
            await self._budgets.set_budget("run", kept.run.run_id, kept.budget_usd, "total")

    def queue(self, live: Live) -> None:
        """Let a run go on as soon as there is room."""
        if live not in self.waiting and live.run.run_id not in self.running:
            self.waiting.append(live)
            self.fill()

    def fill(self) -> None:
        """Begin what waits, while there is room."""
        while self.settled.is_set() and not self.held and self.waiting and len(self.running) < self.limits.runs:
            live = self.waiting.popleft()
            self.running.add(live.run.run_id)
            live.task = self._tasks.start(self._drive(live), live.run.run_id)

    def take_back(self, live: Live) -> None:
        """Begin to take a run back; that waits for no room."""
        live.task = self._tasks.start(self._drive(live), f"take back {live.run.run_id}")

    def soon(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Do something beside."""
        self._tasks.start(work, name)

    async def change(self, live: Live, **changes: Any) -> None:
        """Write a run as it stands now; what is no field of the record is one of `Kept`, or *quiet*: tells nobody."""
        quiet = changes.pop("quiet", False)
        own = {name: changes.pop(name) for name in ("deadline", "left_s", "ending") if name in changes}
        kept = replace(live.kept.changed(**changes), **own)
        unit = self.room.db.unit()
        self.room.rows.change(unit, kept, quiet=quiet)
        await self.room.rows.commit(unit, kept.run.run_id)
        live.kept = kept

    def _count_from(self, live: Live, now: int) -> None:
        """Let the time of a run begin; whatever it writes comes after that on the disk, so that it need not wait."""
        kept = replace(live.kept, deadline=now + round(live.run.timeout * _S))
        unit = self.room.db.unit()
        self.room.rows.change(unit, kept, quiet=True)

        def written(error: BaseException | None) -> None:
            if error is not None:
                log.warning("until when a run may go on was not written", run=live.run.run_id, error=str(error))

        self.room.db.enqueue(unit, written)
        live.kept = kept

    async def end(self, live: Live, state: RunState, reason: str, **changes: Any) -> None:
        """Write that a run is over, and let go of it."""
        await self.change(live, state=state, reason=reason, end_time=self.room.clock.now_ns(), ending=None, **changes)
        log.info("run ended", run=live.run.run_id, state=str(state))
        self.lives.pop(live.run.run_id, None)
        if live in self.waiting:
            self.waiting.remove(live)
        live.over.set()
        live.news.set()
        if self._budgets is not None and live.kept.budget_usd:
            try:
                await self._budgets.remove_budget("run", live.run.run_id, "total")
            except NotFound:
                pass
            except LightfastError as error:
                log.warning("the budget of a run stays", run=live.run.run_id, reason=error.reason)

    async def load(self, live: Live) -> None:
        """Read the steps of a run that an earlier daemon began."""
        kept = await self.room.rows.get(live.run.run_id)
        if kept is not None:
            live.journal.steps.update(
                {step.step_id: step for step in kept.run.steps if step.state is not StepState.PENDING}
            )

    async def _drive(self, live: Live) -> None:
        """Run it, write how it ended, and give its place away; what cannot be written is tried again."""
        try:
            if not live.fresh:
                await self.load(live)
            while True:
                try:
                    if live.kept.ending is not None:
                        await self._take_back(live, live.kept.ending)
                        return
                    if not await self._once(live):
                        return
                except LightfastError as error:
                    if error.status not in _PASSING:
                        log.exception("a run broke", run=live.run.run_id)
                        await self._broke(live, f"{error.message} ({error.reason})")
                        return
                    log.warning(
                        "a run cannot be written down: it is tried again", run=live.run.run_id, error=str(error)
                    )
                    await asyncio.sleep(_RETRY_S)
                    live.journal.steps.clear()
                    await self.load(live)
        except Exception as error:  # else it would stand for ever, and who follows it would wait
            log.exception("a run broke", run=live.run.run_id)
            await self._broke(live, f"{type(error).__name__}: {error}")
        finally:
            self.running.discard(live.run.run_id)
            self.fill()

    async def _broke(self, live: Live, why: str) -> None:
        async with live.changing:
            await self.end(live, RunState.FAILED, f"the daemon failed: {why}")

    async def _once(self, live: Live) -> bool:
        """Let the runner run until it ends; say whether there is more to do."""
        run = live.run
        if self._there is not None and not live.fresh and live.goes_on:
            await apps_back(run.program, live.journal.steps, self._there, lambda: live.cancelling is None)
        async with live.changing:  # whoever pauses it at this moment is written first
            if not live.goes_on:
                return await self._ended(live, RunEnd(RunState.PAUSED))
            now = self.room.clock.now_ns()
            if not live.kept.deadline:
                self._count_from(live, now)
            live.control = self._runner.control()
        if live.cancelling is not None:
            live.control.cancel(live.cancelling)
        else:
            self.admit(live)
        try:
            end = await self._runner.run(
                run.program,
                live.journal,
                run_id=run.run_id,
                origin=run.origin,
                project=run.project,
                recorded=dict(live.journal.steps),
                control=live.control,
                deadline_s=max(0.001, (live.kept.deadline - now) / _S),
                budget_usd=live.kept.most_usd,
                allowed=live.kept.allowed,
            )
        except LightfastError:
            raise
        except Exception as error:
            log.exception("a run broke", run=run.run_id)
            end = RunEnd(
                RunState.FAILED, error=f"the daemon failed: {type(error).__name__}: {error}", reason="INTERNAL"
            )
        finally:
            live.control, live.fresh = None, False
        async with live.changing:
            return await self._ended(live, end)

    def admit(self, live: Live) -> None:
        """Let a run fail before it goes on, where who asked for it may not have it done any more."""
        try:
            self._check_rights(live.run)
        except Denied as error:
            if live.control is not None:
                live.control.refuse(error.message, error.reason)

    def _check_rights(self, run: Run) -> None:
        """Raise `Denied` where nobody who answers for *run* may still let it be done: who asked, or who approved it."""
        remedy = "start it again with a token that may"
        asked = Asker(run.requester, run.origin, frozenset(("operate",)), run.via)
        try:
            for each in (asked, *(replace(asked, identity=who) for who in run.details.get(AUTHORS, ())[-1:])):
                self._rights.now(each, remedy)
        except Denied:
            if not run.approver:
                raise
            self._rights.now(replace(asked, identity=run.approver, scopes=frozenset()), remedy)

    async def _ended(self, live: Live, end: RunEnd) -> bool:
        """Write how a run ended; say whether it goes on at once: to be taken back, or because it was resumed."""
        state = RunState(end.state)
        if state not in _ENDS:
            if live.cancelling is None:
                return live.run.state is RunState.RUNNING
            state, end = RunState.CANCELLED, RunEnd(RunState.CANCELLED)
        if state is RunState.NEEDS_YOU:
            await self.change(live, state=state, reason=needs_you(live.run.run_id, end.unknown))
            return False
        reason = _reason(end, live.cancelling)
        steps = self._to_take_back(live, end)
        if steps is None or steps:
            said = f"{reason}; what was done is being taken back"
            await self.change(live, reason=said, ending=Ending(state, reason, steps))
            return True
        await self.end(live, state, reason, result=end.result)
        return False

    def _to_take_back(self, live: Live, end: RunEnd) -> tuple[str, ...] | None:
        """Return the steps to take back after a failure (`None`: all): those that acted though they come later."""
        if end.state != RunState.FAILED:
            return ()
        if live.run.compensate:
            return None
        places = Places(live.run.program)
        failed = places.of(end.failed_step) if end.failed_step else None
        return tuple(
            step.step_id
            for step in live.journal.steps.values()
            if failed is not None
            and step.state is StepState.DONE
            and places.of(step.step_id) > failed
            and (step.undo is not None or step.stuck or step.revision)
        )

    async def _take_back(self, live: Live, ending: Ending) -> None:
        run = live.run
        order = await self.room.rows.done_last(run.run_id)
        if ending.steps is not None:
            order = [step_id for step_id in order if step_id in ending.steps]
        from lightfast.engine.runs.undoing import TakeBack  # loaded when something is taken back

        taking = TakeBack(run, live.journal, self.operations, self.world, live.kept.allowed)
        tally = await taking.go(order, whole=ending.steps is None, told=live.tell)
        said = str(tally) if ending.by else f"{ending.reason}; {tally}"
        async with live.changing:
            await self.end(live, ending.state, said)


def needs_you(run_id: str, unknown: tuple[str, ...]) -> str:
    """Return what a person is told who must say what became of steps."""
    return (
        f"it cannot be known whether {', '.join(unknown)} happened: look, and say so with lightfast runs resolve"
        f" {run_id} {unknown[0] if unknown else 'STEP'} --happened, --repeat, --skip or --give-up"
    )


def _reason(end: RunEnd, cancelling: str | None) -> str:
    if end.state == RunState.CANCELLED and cancelling:
        return cancelling
    where = f"{end.failed_step}: " if end.failed_step else ""
    reason = f" ({end.reason})" if end.reason and end.reason not in end.error else ""
    return f"{where}{end.error}{reason}" if end.error or end.reason else ""
