"""The front desk: takes lines, answers them at once, and has the back do the work behind.

A line is acknowledged when its row is on the disk, in one unit of work with the event that tells of it; nothing else is
waited for: no other room, no model, no tool. The pump carries it to the back then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.histogram import Histogram
from lightfast.core.tasks import TaskGroup
from lightfast.engine.desk.answering import MOST_OPEN, Answer, Answering, Back, check_request_id
from lightfast.engine.desk.backend import Backend, DeskLine
from lightfast.engine.desk.caches import Kept, Recent
from lightfast.engine.desk.coded import ContextLoad, format_line, parse_command
from lightfast.engine.desk.conversation import Conversation
from lightfast.engine.desk.follow import Follower
from lightfast.engine.desk.front import Front
from lightfast.engine.desk.grammar import CodedFault
from lightfast.engine.desk.judge import MOST_PAST, History
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.loads import Loads
from lightfast.engine.desk.outcome import Outcomes
from lightfast.engine.desk.pump import Pump
from lightfast.engine.desk.records import Ack, Line, LineState, Suggestion, Told
from lightfast.engine.desk.status import Board
from lightfast.engine.desk.suggest import Suggester

if TYPE_CHECKING:
    from lightfast.context.memory.port import TemporalMemory
    from lightfast.context.store import Store
    from lightfast.context.views.views import Views
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import Asker, JobRoom, PlannerRoom, RunRoom, WorkflowRoom, WorkspaceRoom
    from lightfast.gateway.router import Gateway
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

DROWNED = 100
"""With so many waiting the back is called drowned, and acknowledgements say how many come first."""
ACKNOWLEDGED = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
LEARNT = 2_000
"""So many of the newest lines are learnt from at a start."""
BUSY = 4
"""With more waiting nothing is loaded that nobody has asked for."""
_SWEEP_S = 3_600.0
PRELOAD_FROM = 0.3
"""A context that is suggested with this score or more is loaded before anybody asks for it."""


class Desk:
    """The desk; `await start()` before use, `await close()` after. It registers the type of jobs `desk_line`."""

    def __init__(
        self,
        db: Database,
        events: EventLog,
        clock: Clock,
        jobs: JobRoom,
        planner: PlannerRoom,
        runs: RunRoom,
        workspaces: WorkspaceRoom,
        workflows: WorkflowRoom,
        *,
        memory: TemporalMemory | None = None,
        store: Store | None = None,
        views: Callable[[], Views] | None = None,
        gateway: Gateway | None = None,
        model: Callable[[], str] = str,
    ) -> None:
        """*model* returns the name of the front model, empty: none; what may be `None` is done without."""
        self.acknowledged = Histogram(ACKNOWLEDGED)
        """How long acknowledgements took, in seconds."""
        self._clock = clock
        self.recent = Recent()
        self.board = Board(clock)
        self.history = History()
        self.suggester = Suggester()
        self.lines = Lines(db, events, clock)
        self.loads = Loads(self.lines, db, clock, runs, workflows, memory=memory, store=store, views=views)
        self.front = Front(gateway, model)
        self.answering = Answering(clock, self.history, self.suggester, workflows.names, self.loads.ready)
        self.events = events
        self._jobs, self._workflows = jobs, workflows
        self._tasks = TaskGroup("desk")
        self._preloading: set[tuple[str, str]] = set()
        outcomes = Outcomes(self.lines, self.loads, self.history, self.suggester, workspaces, runs, clock, self._wake)
        self.backend = Backend(
            self.lines,
            self.loads,
            outcomes,
            planner,
            runs,
            workspaces,
            workflows,
            memory,
            self._wake,
        )
        self._follower = Follower(events, self.board, self.lines, outcomes, self.backend, jobs)
        self._pump = Pump(self.lines, jobs, self._follower.taken, self._refused)
        self._outcomes = outcomes
        self._job_type = DeskLine(self.backend)

    async def start(self) -> None:
        """Learn from what was said, take up what a stopped daemon left, and begin to carry lines to the back."""
        try:
            await self.lines.sweep()
        except LightfastError as error:  # the disk may be full: they are swept at a later start
            log.warning("old lines could not be swept", reason=error.reason, error=error.message)
        await self._learn_past()
        self._jobs.add_type(self._job_type)
        await self._follower.start()
        await self._pump.start()
        self._tasks.start(self._keep_house(), "sweep")

    async def _keep_house(self) -> None:
        """Drop old lines now and then."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            try:
                await self.lines.sweep()
            except LightfastError as error:  # the disk may be full: what is left is swept later
                log.warning("old lines could not be swept", reason=error.reason, error=error.message)

    async def _learn_past(self) -> None:
        for line in reversed(await self.lines.newest("", LEARNT)):
            self._learn(line)
        for past in await self.lines.past(MOST_PAST):
            self.history.keep(past)

    async def forget(self) -> None:
        """Let go of all that is kept in memory, and learn anew from what is on the disk: something was purged."""
        for each in self._kept():
            each.clear()
        self.recent.clear()
        self.suggester.clear()
        self.history.clear()
        self.board.clear()
        self.loads.lines_changed += 1
        await self._learn_past()

    def _kept(self) -> Sequence[Kept[Any]]:
        return (self.board.snapshots, self.answering.responses, self.loads.summaries, self.loads.relations)

    async def close(self) -> None:
        """Stop; what was acknowledged is done by the next daemon."""
        self._jobs.remove_type(self._job_type)
        await self._pump.close()
        await self._follower.close()
        await self._tasks.close()

    async def say(
        self,
        line: str,
        asker: Asker,
        client: str,
        *,
        request_id: str = "",
        project: str = "",
        conversation: str = "",
    ) -> Ack:
        """Answer one line; what was taken is on the disk when this returns.

        *client* is whose recent commands and whose request ids count. Malformed lines are answered by `er`. Raises
        `AlreadyExists` (REQUEST_ID_REUSED), and what the disk has failed with: then nothing was taken.
        """
        check_request_id(request_id)
        begin = self._clock.monotonic()
        answer = self.answering.answer(line, asker, client, self.back(), project=project, conversation=conversation)
        said = answer.ack if answer.line is None else await self._keep(answer, answer.line, request_id)
        self.acknowledged.add(self._clock.monotonic() - begin)
        return said

    async def _keep(self, answer: Answer, line: Line, request_id: str) -> Ack:
        """Write the line, and only then let it count."""
        line = replace(line, request_id=request_id)
        kind = "desk.queued" if line.state is LineState.OPEN else "desk.answered"
        made, counted = answer.ack, self._pump.counted
        said = await self.lines.add(line, Told(kind, made.line, made.text, made.job, made.next_steps))
        self.loads.lines_changed += 1
        if said.line_id != line.line_id:
            return replace(said, again=True)
        self._learn(line)
        if line.state is LineState.OPEN:
            self._pump.came(counted)
        self._preload(line.client)
        return said

    def back(self) -> Back:
        """Return how the back stands."""
        stopped = self._jobs.stopped or self._pump.trouble
        waiting = self._pump.waiting + self._jobs.waiting
        return Back(waiting, stopped, waiting >= DROWNED, self._pump.waiting >= MOST_OPEN)

    def converse(self, asker: Asker, client: str, *, after: int | None = None) -> Conversation:
        """Return a conversation; it is to be closed. *after*: all events after the one of this number are told, too."""
        return Conversation(self, asker, client, after)

    def suggest(self, client: str, limit: int = 3) -> list[Suggestion]:
        """Return what may come next for a client, the likeliest first."""
        return self.suggester.suggest(client, max(1, min(limit or 3, 20)), self.board.lines()[:5], self._sayable)

    async def words(self, said: str, ack: Ack, client: str, origin: str, project: str = "") -> AsyncIterator[str]:
        """Yield what the front model says to a line, after its acknowledgement; nothing where there is none."""
        status = (ack.line, *self.board.lines())
        async for delta in self.front.words(said, self.recent.newest(client), status, origin=origin, project=project):
            yield delta

    async def propose(self, said: str, client: str, origin: str, project: str = "") -> str:
        """Return the line the front model proposes for words that were not clear; empty where it has none."""
        command = await self.front.propose(
            said,
            self.recent.newest(client),
            self.board.lines(),
            self._workflows.names(),
            origin=origin,
            project=project,
        )
        return "" if command is None else format_line(command)

    def figures(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the figures of each cache by name: size, most, lifetime_s, hits, misses, stale, hit_ratio."""
        return {"commands": self.recent.figures(), **{each.name: each.figures() for each in self._kept()}}

    def _wake(self) -> None:
        self._pump.wake()

    def _learn(self, line: Line) -> None:
        self.recent.add(line.client, line.command)
        if line.signature:
            self.suggester.learn(line.client, line.signature, line.command)
            if line.state is LineState.FAILED:
                self.suggester.failed(line.client, line.signature)

    def _sayable(self, line: str) -> bool:
        try:
            command = parse_command(line)
        except CodedFault:
            return False
        name = getattr(command, "workflow", "")
        return not name or name in self._workflows.names()

    def _preload(self, client: str) -> None:
        """Load what is likely asked for next, one at a time for each client; not while lines wait."""
        if self._pump.waiting > BUSY:
            return
        for suggestion in self.suggester.suggest(client, 2):
            if suggestion.score < PRELOAD_FROM or not suggestion.line.startswith("cl:"):
                continue
            command = parse_command(suggestion.line)
            if not isinstance(command, ContextLoad) or (client, command.context) in self._preloading:
                continue
            if len(self._preloading) >= 8 or not command.context.startswith(("/", "conversation")):
                continue
            self._preloading.add((client, command.context))
            self._tasks.start(self._load(client, command), "preload")

    async def _load(self, client: str, command: ContextLoad) -> None:
        try:
            async with asyncio.timeout(10.0):
                await self.loads.load(client, command.context, command.depth)
        except (LightfastError, TimeoutError) as error:
            log.debug("a likely context could not be loaded", context=command.context, error=str(error))
        finally:
            self._preloading.discard((client, command.context))

    async def _refused(self, line: Line, error: LightfastError) -> None:
        await self._outcomes.failed(line, error.reason, error.message, error)
