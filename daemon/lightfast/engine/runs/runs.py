"""The runs: programs that were asked for, each carried out durably, once, and to an end that is on record."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.events.log import stopping
from lightfast.engine.programs.checked import Plan
from lightfast.engine.rights import Rights
from lightfast.engine.runs import limits as bounds
from lightfast.engine.runs.drive import Drive
from lightfast.engine.runs.journal import Room
from lightfast.engine.runs.kept import Kept
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.live import Live
from lightfast.engine.runs.order import untouched
from lightfast.engine.runs.ports import RunBudgets, Runner, There
from lightfast.engine.runs.records import ENDED, Run, RunAsk, RunEvent, RunState, Step, StepState
from lightfast.engine.runs.rows import RunRows
from lightfast.engine.runs.showing import check_show
from lightfast.engine.runs.steering import Steering
from lightfast.sdk import World

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import Asker, OperationBook
    from lightfast.engine.show.show import Show
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.runs")

_HOUR_NS = 3600 * 1_000_000_000
_LOOK_S = 15.0
_WATCH_S = 5.0
_MOST_SAID = 5


class Runs(Steering):
    """Open one with `await Runs.open(…)`; implements `lightfast.engine.ports.RunRoom`, and can be held in a panic."""

    def __init__(
        self,
        room: Room,
        drive: Drive,
        limits: RunLimits,
        show: Show | None,
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        """Use `open`."""
        super().__init__(room, drive, show)
        self._limits = limits
        self._settled = settled
        self._tasks = TaskGroup("runs' house")
        self._leaving = False
        self._begun = 0
        """How many runs were begun since it was last looked whether there are too many."""

    @classmethod
    async def open(
        cls,
        db: Database,
        store: Store,
        events: EventLog,
        operations: OperationBook,
        world: World,
        runner: Runner,
        *,
        settled: Callable[[], Awaitable[None]],
        clock: Clock = SYSTEM,
        show: Show | None = None,
        budgets: RunBudgets | None = None,
        there: There | None = None,
        limits: RunLimits | None = None,
        rights: Rights | None = None,
    ) -> Runs:
        """Read what an earlier daemon left, which goes on after `begin`; the oldest of too many ended runs go.

        *settled* returns when the plugins are loaded.
        *there* says whether an application is connected, *budgets* what a run may spend, *rights* what who asked may
        still do when it begins or goes on. It joins the panic of *show*.
        """
        limits = limits or RunLimits()
        room = Room(db, store, RunRows(db, events, clock), clock)
        self = cls(
            room,
            Drive(room, operations, world, runner, limits, budgets, there, rights or Rights()),
            limits,
            show,
            settled,
        )
        await room.rows.let_go(limits.keep)
        for kept in await room.rows.open_runs():
            live = self._drive.live(kept)
            live.fresh = False
            if kept.store_id != db.store_id:
                await self._restored(live)
            elif kept.ending is None and kept.run.state is RunState.RUNNING:
                self._drive.waiting.append(live)
        if show is not None:
            show.panic.join("runs", self)
        return self

    async def _restored(self, live: Live) -> None:
        """Let a run of a backup stand: what it did after the backup was made is not on record."""
        if live.kept.ending is not None and live.run.state in ENDED:
            await self._drive.change(live, ending=None, quiet=True)
            del self._drive.lives[live.run.run_id]
        elif live.run.state is RunState.RUNNING:
            why = (
                "it was under way when the backup was made that this store was restored from: what it did after that"
                f" is not on record; look, then lightfast runs resume {live.run.run_id}, or cancel it"
            )
            await self._drive.change(live, state=RunState.PAUSED, reason=why, ending=None)

    def begin(self) -> None:
        """Let runs go on, once the plugins are loaded; before, what is started waits."""
        self._tasks.start(self._begin(), "begin")
        self._tasks.start(self._look(), "look")

    async def close(self) -> None:
        """Stop where everything is: the next daemon takes it up."""
        await self._tasks.close()
        await self._drive.close()

    def live(self) -> Counter[str]:
        """Return how many runs that have not ended are in each state; QUEUED are those that wait for room."""
        found = Counter(str(live.run.state) for live in self._drive.lives.values())
        found["QUEUED"] = len(self._drive.waiting)
        return found

    # Starting

    async def start(self, plan: Plan, asker: Asker, ask: RunAsk) -> Run:
        """Start a run; durable when this returns.

        Raises `InvalidArgument` (PROGRAM_INVALID), `Exhausted` (RUNS_FULL, APPROVALS_FULL), `AlreadyExists`
        (REQUEST_ID_REUSED), `FailedPrecondition` (PANIC, SHOW_LOCKED).
        """
        _check_plan(plan)
        if not ask.request_id:
            return untouched((await self._create(plan, asker, ask)).run)

        async def create() -> str:
            return (await self._create(plan, asker, ask)).run.run_id

        key = (asker.identity, "Run", ask.request_id)
        return await self.get(await self._room.store.requests.run(key, _asked(plan, ask), create, str))

    async def started(self, asker: Asker, request_id: str, asked: str) -> Run | None:
        """Return the run that a request has started before; raises `AlreadyExists` where it asked for another.

        What it asked for may have become another program since, or none, because of what that run did.
        """
        run_id = await self._room.store.requests.answer((asker.identity, "Run", request_id), asked)
        return None if run_id is None else await self.get(run_id)

    async def _create(self, plan: Plan, asker: Asker, ask: RunAsk) -> Live:
        state = RunState.AWAITING_APPROVAL if plan.checked.needs_approval else RunState.RUNNING
        self._check_room(state)
        run_id, digest = ask.run_id or new_id("run"), plan.checked.digest
        run = Run(
            run_id,
            state,
            plan.program,
            asker.identity,
            f"run:{run_id}",
            self._room.clock.now_ns(),
            intent=ask.intent or plan.intent,
            digest=digest,
            reason=_awaiting(run_id, digest) if state is RunState.AWAITING_APPROVAL else "",
            project=ask.project,
            next_steps=ask.next_steps or plan.next_steps,
            approval_reasons=tuple(
                why if why.startswith(f"{name}: ") else f"{name}: {why}"
                for name, why in plan.checked.approval_reasons.items()
            ),
            max_cost_usd=plan.checked.max_cost_usd,
            compensate=ask.compensate,
            via=asker.via,
            timeout=ask.timeout or self._limits.run_hours * 3600.0,
            details=dict(ask.details),
        )
        kept = Kept(run, budget_usd=ask.max_cost_usd, allowed=plan.checked.effects, ai=_of_ai(plan, asker))
        check_show(self._show, kept)
        live = self._drive.live(kept)
        try:
            await self._drive.allow(live.kept)
            unit = self._room.db.unit()
            self._room.rows.add(unit, live.kept)
            if ask.request_id:
                row = self._room.store.requests.row(asker.identity, "Run", ask.request_id, _asked(plan, ask), run_id)
                unit.log([row], len(run_id))
            await self._room.rows.commit(unit, run_id)
        except BaseException:
            self._drive.lives.pop(run_id, None)
            raise
        self._begun += 1
        log.info("run asked for", run=run_id, state=str(state), instructions=len(run.program.instructions))
        if live.run.state is RunState.RUNNING:
            self._drive.queue(live)
        return live

    def _check_room(self, state: RunState) -> None:
        awaiting = sum(live.run.state is RunState.AWAITING_APPROVAL for live in self._drive.lives.values())
        if state is RunState.AWAITING_APPROVAL and awaiting >= bounds.MOST_AWAITING:
            raise Exhausted(
                f"{awaiting} runs wait for an approval: approve or cancel some of them first",
                reason="APPROVALS_FULL",
            )
        if len(self._drive.waiting) >= bounds.MOST_WAITING:
            raise Exhausted(
                f"{len(self._drive.waiting)} runs wait for room: try again when some have ended, or cancel some",
                reason="RUNS_FULL",
                retry_after=5.0,
            )

    # Looking

    async def get(self, run_id: str) -> Run:
        """Return a run with its steps; raises `NotFound` (RUN_UNKNOWN)."""
        kept = await self._room.rows.get(run_id)
        if kept is None:
            raise _unknown(run_id)
        live = self._drive.lives.get(run_id)
        if live is None or not live.journal.told:
            return kept.run
        told = live.journal.told
        steps = [
            replace(
                step,
                state=StepState.STARTED,
                fraction=told[step.step_id].fraction,
                message=told[step.step_id].message,
            )
            if step.step_id in told and step.state in (StepState.STARTED, StepState.PENDING)
            else step
            for step in kept.run.steps
        ]
        return replace(kept.run, steps=tuple(steps))

    async def page(self, *, states: Sequence[str] = (), size: int = 0, token: str = "") -> tuple[list[Run], str]:
        """Return a page of runs without their steps, the newest first, and the token of the next one."""
        count = page_size(size, 50, 1000)
        mark = fingerprint("ListRuns", tuple(sorted(map(str, states))))
        before = min(read_token(token, mark).number or 0, 1 << 62) if token else 1 << 62
        found = await self._room.rows.page(states, before, count + 1)
        if len(found) <= count:
            return [kept.run for kept in found], ""
        found = found[:count]
        return [kept.run for kept in found], write_token(Token(mark, 0, "", found[-1].number))

    def send_away(self) -> None:
        """End the watches of guests: the daemon stops, and they come back later."""
        self._leaving = True
        for wake in self._room.rows.watching:
            wake.set()

    async def watch(self, run_id: str, after: int = 0, *, guest: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of a run after the one numbered *after*, until it has ended and all were yielded.

        They are read from the disk as they are wanted: a slow reader misses none and takes no memory. For a *guest*,
        one at a door, it ends with `Unavailable` (STOPPING) when the daemon stops.
        """
        kept = await self._room.rows.get(run_id)
        if kept is None:
            raise _unknown(run_id)
        run = replace(kept.run, steps=())
        watching = self._room.rows.watching
        if len(watching) >= bounds.MOST_WATCHERS:
            raise Exhausted(f"{len(watching)} follow runs already", reason="TOO_MANY_WATCHERS", retry_after=5.0)
        wake = asyncio.Event()
        watching[wake] = run_id
        try:
            while True:
                wake.clear()
                found, state = await self._room.rows.events_after(run, after)
                for event in found:
                    yield event
                if found:
                    after = found[-1].sequence
                elif state is None or state in ENDED:
                    return
                elif guest and self._leaving:
                    raise stopping()
                else:
                    try:
                        async with asyncio.timeout(_WATCH_S):
                            await wake.wait()
                    except TimeoutError:
                        continue
        finally:
            del watching[wake]

    async def rollback(self, run_id: str, asker: Asker, *, dry_run: bool = False) -> AsyncGenerator[Step | Run, None]:
        """Take a run back, newest step first: yields each `Step` as it stands then, and last the `Run`.

        It goes on when the caller leaves. Raises `FailedPrecondition` (RUN_NOT_ENDED, PANIC).
        """
        if dry_run:
            kept = await self._ended_run(run_id)
            async for step in self._rehearse(kept):
                yield step
            yield kept.run
            return
        live = await self._taking_back(run_id, asker)
        told, over = 0, False
        while not over:
            over = live.over.is_set()
            live.news.clear()
            while told < len(live.taken):  # more may come, and others may follow, while one of them is read
                told += 1
                yield live.taken[told - 1]
            if not live.over.is_set():
                await live.news.wait()
        yield await self.get(run_id)

    # The house

    async def _begin(self) -> None:
        await self._settled()
        self._drive.settled.set()
        for live in tuple(self._drive.lives.values()):
            if live.kept.ending is not None:
                self._drive.take_back(live)
        self._drive.fill()

    async def _look(self) -> None:
        while True:
            try:
                await self.sweep()
            except LightfastError as error:  # the disk may be full: it is looked again
                log.warning("the runs could not be looked through", reason=error.reason, error=str(error))
            await asyncio.sleep(min(_LOOK_S, max(0.05, self._limits.approval_hours * 3600.0 / 4)))

    async def sweep(self) -> None:
        """Cancel the runs that nobody approved in time, and let the oldest of too many ended ones go."""
        before = self._room.clock.now_ns() - round(self._limits.approval_hours * _HOUR_NS)
        for live in tuple(self._drive.lives.values()):
            if live.run.state is RunState.AWAITING_APPROVAL and live.run.create_time <= before:
                await self._expire(live)
        if self._begun:
            self._begun = 0
            await self._room.rows.let_go(self._limits.keep)

    async def _expire(self, live: Live) -> None:
        async with live.changing:
            if live.run.state is RunState.AWAITING_APPROVAL:
                why = f"nobody approved it within {self._limits.approval_hours:g} hours"
                await self._drive.end(live, RunState.CANCELLED, why)


def _check_plan(plan: Plan) -> None:
    mistakes = plan.checked.mistakes
    if not mistakes and plan.program.instructions:
        return
    said = [f"{each.instruction or 'program'}: {each.reason}: {each.message}" for each in mistakes[:_MOST_SAID]]
    more = f"; and {len(mistakes) - _MOST_SAID} more" if len(mistakes) > _MOST_SAID else ""
    raise InvalidArgument(
        f"the program cannot run: {'; '.join(said) or 'it holds no instruction'}{more}",
        reason="PROGRAM_INVALID",
        field="program",
        metadata={"mistakes": str(len(mistakes)), "first": mistakes[0].reason if mistakes else "EMPTY"},
    )


def _of_ai(plan: Plan, asker: Asker) -> bool:
    return plan.planner not in ("", "grammar") or plan.program.untrusted or asker.untrusted or asker.via == "mcp"


def _asked(plan: Plan, ask: RunAsk) -> str:
    how = [plan.checked.digest, ask.project, ask.max_cost_usd, ask.timeout, ask.compensate]
    return ask.asked or hashlib.sha256(json.dumps(how).encode()).hexdigest()


def _awaiting(run_id: str, digest: str) -> str:
    return f"it waits for an approval: lightfast approve {run_id} --digest {digest}"


def _unknown(run_id: str) -> NotFound:
    return NotFound(
        f"there is no run {run_id!r:.60}: lightfast runs lists those there are",
        reason="RUN_UNKNOWN",
        metadata={"run_id": run_id[:100]},
    )
