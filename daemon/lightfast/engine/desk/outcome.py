"""What became of a line: its row, the event that tells of it, the task behind it, and the parts that follow.

All that ends something goes through `Outcomes`, one at a time for each line, so that it ends once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.turns import Turns
from lightfast.engine.desk.coded import (
    Fault,
    StatusUpdate,
    TaskComplete,
    TaskCreate,
    format_line,
)
from lightfast.engine.desk.judge import History
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.loads import Loads
from lightfast.engine.desk.records import OVER, Line, LineState, Told
from lightfast.engine.desk.suggest import Suggester
from lightfast.engine.desk.words import short
from lightfast.engine.runs.records import Run, RunState

if TYPE_CHECKING:
    from lightfast.engine.ports import RunRoom, WorkspaceRoom

log = structlog.get_logger("lightfast.engine")

MOST_NEXT = 3
_AT_WORK = frozenset((LineState.OPEN, LineState.TAKEN, LineState.RUNNING))
_RECOVERY: Mapping[str, str] = {
    "NOT_FOUND": "See what there is, and say it again with a name that is there.",
    "INVALID_ARGUMENT": "Correct what is named, and say it again.",
    "PERMISSION_DENIED": "Say it with a token that may.",
    "UNAVAILABLE": "Try again when it is back.",
    "RESOURCE_EXHAUSTED": "Try again later, or ask for less.",
}
_ANYWAY = "Look at what is wrong, and say it again."


class Outcomes:
    """Ends lines. *wake* is called where a part was opened that the back does not have yet."""

    def __init__(
        self,
        lines: Lines,
        loads: Loads,
        history: History,
        suggester: Suggester,
        workspaces: WorkspaceRoom,
        runs: RunRoom,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._lines, self._loads, self._history, self._suggester = lines, loads, history, suggester
        self._workspaces, self._runs, self._clock, self._wake = workspaces, runs, clock, wake
        self._turns = Turns()

    async def started(self, line: Line, run_id: str, told: Told) -> None:
        """Keep that a run works on it."""
        await self._change(line, told, state=LineState.RUNNING, run_id=run_id)

    async def over(self, line: Line, state: LineState, told: Told, outcome: str) -> None:
        """End a line, and open the part that comes after it."""
        async with self._turns.of(line.line_id):
            there = await self._lines.get(line.line_id)
            if there is None or there.state in OVER:
                return
            await self._change(there, told, state=state, outcome=short(outcome, 400))
        if line.task_id:
            self._history.add(_title(line), succeeded=state is LineState.DONE)
        if state is LineState.FAILED:
            self._suggester.failed(line.client, line.signature)
        if line.parent:
            await self.part_over(line.parent)

    async def failed(self, line: Line, reason: str, message: str, error: LightfastError | None = None) -> None:
        """End a line as failed, and its task, too."""
        recovery = _recovery(error)
        told = Told("desk.failed", format_line(Fault(reason, message, recovery)), f"{message} {recovery}", line.subject)
        await self._task(line, {"state": "FAILED", "result": short(message, 2_000)})
        await self.over(line, LineState.FAILED, told, message)

    async def left_to_you(self, line: Line, why: str) -> None:
        """End a line whose task no program can do: it is ready for a person."""
        await self._task(line, {"state": "READY", "result": short(why, 2_000)})
        text = f"The task is yours: {why}"
        told = Told("desk.ready", format_line(StatusUpdate(line.subject, "ready")), text, line.subject)
        await self.over(line, LineState.DONE, told, f"left to you: {why}")

    async def split(self, line: Line, children: Sequence[tuple[str, str]]) -> None:
        """Keep that a task was split; its parts become lines of their own, the first one is opened."""
        now = self._clock.now_ns()
        parts = [
            replace(
                line,
                line_id=f"{line.line_id}.{place}",
                said=title,
                command=format_line(TaskCreate(title)),
                letters="tc",
                signature="",
                request_id="",
                ack=None,
                create_time=now,
                state=LineState.OPEN if place == 1 else LineState.WAITING,
                task_id=task_id,
                job_id="",
                run_id="",
                parent=line.line_id,
                place=place,
                routing="one_shot",
                outcome="",
            )
            for place, (task_id, title) in enumerate(children, 1)
        ]
        titles = "; ".join(short(title, 40) for _, title in children)
        told = Told(
            "desk.split",
            format_line(StatusUpdate(line.subject, "split")),
            f"Split into {len(children)} steps: {titles}",
            line.subject,
            more={"parts": [task_id for task_id, _ in children], "task": line.task_id},
        )
        await self._change(line, told, parts, state=LineState.WAITING)

    async def look_at(self, run_id: str) -> None:
        """Take in how a run stands that a line has started; called for each event of it that may matter."""
        line = await self._lines.of_run(run_id)
        if line is None or line.state in OVER:
            return
        run = await self._runs.get(run_id)
        match run.state:
            case RunState.SUCCEEDED:
                await self._complete(line, run)
            case RunState.FAILED | RunState.CANCELLED | RunState.ROLLED_BACK:
                why = run.reason or f"the run was {run.state.lower().replace('_', ' ')}"
                await self.failed(line, f"RUN_{run.state}", why)
            case _:
                pass

    async def _complete(self, line: Line, run: Run) -> None:
        steps = tuple(run.next_steps) or tuple(
            each.line for each in self._suggester.suggest(line.client, MOST_NEXT, (line.said,))
        )
        entity = line.task_id or run.run_id
        told = Told(
            "desk.complete",
            format_line(TaskComplete(entity, "success", {"next": list(steps[:MOST_NEXT])})),
            f"Done: “{short(_title(line))}”.",
            entity,
            steps[:MOST_NEXT],
            {"run": run.run_id, "task": line.task_id},
        )
        await self._task(line, {"state": "DONE", "result": _result(run)})
        await self.over(line, LineState.DONE, told, "done")

    async def part_over(self, line_id: str) -> None:
        """Open the next part of a line, or end it: complete where all are, else failed, or left to a person."""
        async with self._turns.of(line_id):
            whole = await self._lines.get(line_id)
            if whole is None or whole.state in OVER:
                return
            parts = await self._lines.parts(line_id)
            if not parts:
                return
            done = [each for each in parts if each.state is LineState.DONE and not each.outcome.startswith("left to")]
            waiting = [each for each in parts if each.state is LineState.WAITING]
            stuck = next((each for each in parts if each.state is LineState.FAILED), None)
            yours = next((each for each in parts if each.outcome.startswith("left to")), None)
            share = len(done) / len(parts)
            if any(each.state in _AT_WORK for each in parts):
                return
            if stuck is None and yours is None and waiting:
                told = Told(
                    "desk.progress",
                    format_line(StatusUpdate(whole.subject, "in_progress", share)),
                    f"{len(done)} of {len(parts)} steps are done.",
                    whole.subject,
                )
                await self._lines.change(waiting[0], state=LineState.OPEN)
                await self._change(whole, told)
                self._wake()
                return
            for each in waiting:
                await self._change(
                    each, None, state=LineState.FAILED, outcome="not begun: a step before it was not done"
                )
        if stuck is not None:
            await self.failed(whole, "PART_FAILED", f"the step “{short(_title(stuck))}” failed: {stuck.outcome}")
        elif yours is not None:
            text = f"{len(done)} of {len(parts)} steps are done; “{short(_title(yours))}” and what follows are yours."
            line = format_line(StatusUpdate(whole.subject, "ready", share))
            await self.over(
                whole, LineState.DONE, Told("desk.ready", line, text, whole.subject), f"left to you: {text}"
            )
        elif len(done) == len(parts):
            steps = tuple(each.line for each in self._suggester.suggest(whole.client, MOST_NEXT, (whole.said,)))
            told = Told(
                "desk.complete",
                format_line(TaskComplete(whole.subject, "success", {"next": list(steps)})),
                f"Done: all {len(parts)} steps of “{short(_title(whole))}”.",
                whole.subject,
                steps,
                {"task": whole.task_id},
            )
            await self._task(whole, {"state": "DONE", "result": f"all {len(parts)} parts are done"})
            await self.over(whole, LineState.DONE, told, "done")

    async def _task(self, line: Line, changes: Mapping[str, Any]) -> None:
        """Change the task of a line; where that fails, the line still ends as it did."""
        if not line.task_id:
            return
        try:
            await self._workspaces.update_task(line.task_id, changes, line.asker)
        except LightfastError as error:
            log.warning("a task could not be changed", task=line.task_id, reason=error.reason, error=error.message)

    async def _change(self, line: Line, told: Told | None, parts: Sequence[Line] = (), **columns: Any) -> None:
        await self._lines.change(line, () if told is None else (told,), parts, **columns)
        self._loads.lines_changed += 1


def _title(line: Line) -> str:
    return line.said if line.said != line.command else line.command.partition(":")[2].partition("|")[0]


def _recovery(error: LightfastError | None) -> str:
    if error is None:
        return _ANYWAY
    if error.retry_after:
        return f"Try again in {error.retry_after:g} s."
    return _RECOVERY.get(error.status, _ANYWAY)


def _result(run: Run) -> str:
    if isinstance(run.result, str):
        return short(run.result, 2_000)
    return f"{run.steps_done} steps were done by {run.run_id}"
