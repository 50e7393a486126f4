"""One change of a task with all that follows from it for others, as one unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightfast.engine.workspaces import rows
from lightfast.engine.workspaces.records import TASK_ENDED, Task, TaskState
from lightfast.engine.workspaces.tasks import TaskReader, outcome

if TYPE_CHECKING:
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Unit

_KINDS = {
    TaskState.DONE: "task.done",
    TaskState.FAILED: "task.failed",
    TaskState.CANCELLED: "task.cancelled",
    TaskState.SPLIT: "task.split",
}


class Draft:
    """What is about to be written to *unit*: reads show it over what is on the disk. *by* is who asks."""

    def __init__(self, reader: TaskReader, events: EventLog, unit: Unit, by: str) -> None:
        self.unit = unit
        self._reader = reader
        self._events = events
        self._by = by
        self._new: dict[str, Task] = {}

    def add(self, task: Task, number: int) -> None:
        """Write a new task."""
        rows.write(self.unit, task, number)
        self._new[task.task_id] = task
        self._events.add(self.unit, "task.created", "task", task.task_id, {**_told(task), "by": self._by})

    def write(self, task: Task) -> None:
        """Write the next version of a task."""
        rows.write(self.unit, task, 0)
        self._new[task.task_id] = task
        kind = _KINDS.get(task.state, "task.changed")
        self._events.add(self.unit, kind, "task", task.task_id, {**_told(task), "by": self._by})

    async def change(self, before: Task, after: Task) -> None:
        """Write a new version, and what follows from its state.

        The parts of a split task that is cancelled are cancelled; what waits for a task that is done goes on; a split
        task ends with its last part.
        """
        self.write(after)
        if after.state is before.state:
            return
        if before.state is TaskState.SPLIT:
            for part in await self._parts(after.task_id) if after.state is TaskState.CANCELLED else ():
                if part.state not in TASK_ENDED:
                    await self.change(part, following(part, TaskState.CANCELLED, after.update_time))
        if after.state is TaskState.DONE:
            for other in await self._reader.waiting_for(after.task_id):
                there = self._new.get(other.task_id, other)
                if there.state is TaskState.BLOCKED and await self._met(there.after):
                    await self.change(there, following(there, TaskState.PENDING, after.update_time))
        if after.state in TASK_ENDED and after.parent_task_id:
            await self._end_parent(after)

    async def _end_parent(self, part: Task) -> None:
        parent = self._new.get(part.parent_task_id) or await self._reader.get(part.parent_task_id)
        parts = await self._parts(parent.task_id)
        end = outcome(parts)
        if parent.state is not TaskState.SPLIT or end is None:
            return
        ended = following(parent, end, part.update_time)
        if end is TaskState.DONE and not parent.result:
            ended = replace(ended, result="\n".join(each.result for each in parts if each.result))
        await self.change(parent, ended)

    async def _parts(self, task_id: str) -> list[Task]:
        return [self._new.get(part.task_id, part) for part in await self._reader.parts(task_id)]

    async def _met(self, after: Sequence[str]) -> bool:
        there = await self._reader.many(after) | self._new
        return all(there[other].state is TaskState.DONE for other in after if other in there)


def following(task: Task, state: TaskState, now: int) -> Task:
    """Return the next version of *task*, in another state from now on."""
    return replace(task, state=state, version=task.version + 1, update_time=now, valid_from=now, valid_to=0)


def _told(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = {"title": task.title[:200], "state": task.state.value, "version": task.version}
    for name in ("workspace_id", "project_id", "parent_task_id", "run_id"):
        if getattr(task, name):
            found[name] = getattr(task, name)
    return found
