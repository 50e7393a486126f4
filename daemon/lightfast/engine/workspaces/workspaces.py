"""The room of workspaces, projects and tasks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightfast.core.errors import AlreadyExists, Conflict, FailedPrecondition, InvalidArgument, NotFound
from lightfast.core.ids import new_id
from lightfast.engine.workspaces.draft import Draft
from lightfast.engine.workspaces.places import Places
from lightfast.engine.workspaces.records import MOST_PARTS, TASK_ENDED, Task, TaskState, changed, check_identity
from lightfast.engine.workspaces.tasks import TaskReader
from lightfast.engine.workspaces.turns import Turns

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import Asker
    from lightfast.engine.workspaces.records import Project, Workspace
    from lightfast.storage.database import Database
    from lightfast.storage.requests import Requests

_ACTIVE = (TaskState.IN_PROGRESS, TaskState.DONE)
_INHERITED = (
    *("workspace_id", "project_id", "intent_type", "intent_source", "business_goal", "parent_context"),
    "context_adaptations",
)


class Workspaces(Places):
    """Open one with `await Workspaces.open(…)`; a `WorkspaceRoom`. Every change is durable when its call returns."""

    def __init__(self, db: Database, clock: Clock, events: EventLog, requests: Requests) -> None:
        """Use `open`."""
        super().__init__(db, clock, events, Turns())
        self.tasks = TaskReader(db, clock)
        self._requests = requests
        self._number = 0

    @classmethod
    async def open(cls, db: Database, clock: Clock, events: EventLog, requests: Requests) -> Workspaces:
        """Go on with what is in *db*."""
        self = cls(db, clock, events, requests)
        self._number = await self.tasks.last_number()
        return self

    async def get_task(self, task_id: str, *, at_time: int = 0) -> Task:
        """Return a task, as it is or as it was at *at_time*; raises `NotFound` (TASK_UNKNOWN)."""
        return await self.tasks.get(task_id, at_time=at_time)

    async def create_task(self, fields: Mapping[str, Any], asker: Asker, *, request_id: str = "") -> Task:
        """Create a task of *fields*, named like those of `Task`.

        It is BLOCKED where one of *after* is not done. Raises `InvalidArgument`, `NotFound` (TASK_UNKNOWN,
        WORKSPACE_UNKNOWN, PROJECT_UNKNOWN) and `AlreadyExists` (TASK_EXISTS, REQUEST_ID_REUSED).
        """

        async def act(row: Callable[[str], tuple[Any, ...] | None]) -> str:
            bound = fields.get("parent_task_id") or fields.get("after")
            given = {**fields, "task_id": fields.get("task_id") or new_id("task")}
            async with self._turns.alone() if bound else self._turns.of(str(given["task_id"])):
                task = await self._made(given, asker)
                draft = self._draft(asker)
                self._add(draft, task)
                answer = row(task.task_id)
                if answer is not None:
                    draft.unit.log([answer], len(task.task_id))
                await self._commit(draft)
            return task.task_id

        return await self.tasks.get(await self._once(asker, "CreateTask", request_id, dict(fields), act))

    async def update_task(self, task_id: str, changes: Mapping[str, Any], asker: Asker, *, etag: str = "") -> Task:
        """Change a task; the former version stays on record.

        *valid_from* in *changes* says since when that is true, without it: now. A task that ends ends its parent,
        where that is split and nothing else is open, and lets those go on that wait for it. Raises `Conflict`
        (ETAG_MISMATCH), `FailedPrecondition` (TASK_BLOCKED, TASK_SPLIT) and `InvalidArgument` (TASK_CYCLE).
        """
        if {"task_id", "parent_task_id"} & set(changes):
            raise InvalidArgument("what a task is called and part of stays as it is", field="task_id")
        async with self._turns.of(task_id):
            before = await self.tasks.get(task_id)
            alone = await self._is_bound(before, changes)
            if not alone:
                await self._update(before, changes, asker, etag)
        if alone:  # what hangs on it, and what it hangs on, must stand still meanwhile
            async with self._turns.alone():
                await self._update(await self.tasks.get(task_id), changes, asker, etag)
        return await self.tasks.get(task_id)

    async def _is_bound(self, task: Task, changes: Mapping[str, Any]) -> bool:
        """Say whether a change may touch other tasks, or depend on them; only one who is alone makes new bonds."""
        if task.parent_task_id or task.after or task.state is TaskState.SPLIT or changes.get("after"):
            return True
        return str(changes.get("state", "")) == TaskState.DONE and bool(await self.tasks.waiting_for(task.task_id))

    async def _update(self, before: Task, changes: Mapping[str, Any], asker: Asker, etag: str) -> None:
        if etag and etag != before.etag:
            raise Conflict(
                f"{before.task_id} was changed since its etag {etag!r:.40} was read: get it again and decide anew",
                reason="ETAG_MISMATCH",
                metadata={"etag": before.etag},
                field="etag",
            )
        now = self._clock.now_ns()
        valid_from = int(changes.get("valid_from") or now)
        after = changed(before, {**changes, "valid_from": valid_from})
        after = replace(after, version=before.version + 1, update_time=now, valid_to=0)
        await self._check_place(after)
        after = await self._checked(before, after)
        draft = self._draft(asker)
        await draft.change(before, after)
        await self._commit(draft)

    async def split_task(
        self,
        task_id: str,
        parts: Sequence[Mapping[str, Any]],
        asker: Asker,
        *,
        in_order: bool = False,
        reason: str = "",
        confidence: float = 0.0,
    ) -> tuple[Task, list[Task]]:
        """Split a task into *parts*, in order; return it and them.

        A part has what the task has where it says nothing itself, and waits for what the task waits for; with
        *in_order* for the part before, too. The task is SPLIT, and ends with its parts. Raises `FailedPrecondition`
        (TASK_SPLIT, TASK_ENDED) and `InvalidArgument`.
        """
        if not 1 <= len(parts) <= MOST_PARTS:
            raise InvalidArgument(f"a task is split into 1 to {MOST_PARTS} parts, not {len(parts)}", field="parts")
        async with self._turns.alone():
            before = await self.tasks.get(task_id)
            if before.state is TaskState.SPLIT:
                raise FailedPrecondition(f"{task_id} is split already: split one of its parts", reason="TASK_SPLIT")
            if before.state in TASK_ENDED:
                raise FailedPrecondition(f"{task_id} is {before.state.told}: open it again first", reason="TASK_ENDED")
            now = self._clock.now_ns()
            metadata = {**before.metadata, **({"split_reason": reason} if reason else {})}
            told = {"routing_decision": "split", "metadata": metadata, "confidence": confidence or before.confidence}
            parent = changed(before, told)
            parent = replace(
                parent, state=TaskState.SPLIT, version=before.version + 1, update_time=now, valid_from=now, valid_to=0
            )
            draft = self._draft(asker)
            draft.write(parent)
            made: list[Task] = []
            unmet = await self.tasks.unmet(before.after)
            for given in parts:
                fields = {name: getattr(before, name) for name in _INHERITED} | {k: v for k, v in given.items() if v}
                fields["after"] = (*fields.get("after", ()), *unmet, *([made[-1].task_id] if in_order and made else ()))
                part = await self._made({**fields, "parent_task_id": task_id}, asker, siblings=made)
                self._add(draft, part)
                made.append(part)
            new = {part.task_id for part in made}
            needs = {other for part in (*await self.tasks.parts(task_id), *made) for other in part.after} - new
            await self.tasks.check_cycle(task_id, sorted(needs))  # from now on it waits for its parts
            await self._commit(draft)
        return await self.tasks.get(task_id), await self.tasks.parts(task_id)

    # What a mirror reads

    async def mirrored(self, kind: str, identity: str) -> Workspace | Project | Task:
        """Return one `workspace`, `project` or `task` as it is; raises `NotFound`."""
        if kind == "task":
            return await self.tasks.get(identity)
        return await (self.workspace(identity) if kind == "workspace" else self.project(identity))

    async def all_mirrored(self, size: int) -> AsyncIterator[tuple[str, Workspace | Project | Task]]:
        """Yield every record with its kind, those that are archived, too; *size* are read at a time."""
        token = ""
        while True:
            spaces, token = await self.workspaces(size=size, token=token, include_archived=True)
            for space in spaces:
                yield "workspace", space
            if not token:
                break
        while True:
            projects, token = await self.projects(size=size, token=token, include_archived=True)
            for project in projects:
                yield "project", project
            if not token:
                break
        while True:
            tasks, token = await self.tasks.page(size=size, token=token)
            for task in tasks:
                yield "task", task
            if not token:
                return

    def forget(self) -> None:
        """Keep nothing in memory: something was purged."""
        self.tasks.forget()

    # Within

    async def _once(
        self,
        asker: Asker,
        method: str,
        request_id: str,
        what: Mapping[str, Any],
        act: Callable[[Callable[[str], tuple[Any, ...] | None]], Awaitable[str]],
    ) -> str:
        if not request_id:
            return await act(lambda _: None)
        mark = hashlib.sha256(repr(sorted(what.items())).encode()).hexdigest()
        key = (asker.identity, method, request_id)
        return await self._requests.run(
            key, mark, lambda: act(lambda answer: self._requests.row(*key, mark, answer)), str
        )

    async def _made(self, fields: Mapping[str, Any], asker: Asker, siblings: Sequence[Task] = ()) -> Task:
        now = self._clock.now_ns()
        task_id = str(fields.get("task_id") or new_id("task"))
        check_identity(task_id, "task_id")
        given = {name: value for name, value in fields.items() if name != "task_id"}
        given["valid_from"] = int(given.get("valid_from") or now)
        given.setdefault("intent_source", asker.via)
        task = replace(changed(Task(), given), task_id=task_id, create_time=now, update_time=now)
        if task.state is TaskState.SPLIT:
            raise InvalidArgument("a new task is not split: create it, then split it", field="state")
        if await self.tasks.find(task_id) is not None:
            raise AlreadyExists(f"there is a task {task_id!r} already: leave task_id empty", reason="TASK_EXISTS")
        if task.parent_task_id and not siblings and "parent_task_id" in fields:
            whole = await self.tasks.get(task.parent_task_id)
            if whole.state is TaskState.SPLIT:
                await self.tasks.check_cycle(whole.task_id, task.after)
        await self._check_place(task)
        known = {each.task_id for each in siblings}
        unmet = await self.tasks.unmet([other for other in task.after if other not in known])
        if unmet or known & set(task.after):
            if task.state in _ACTIVE:
                raise _blocked(task, unmet)
            if task.state in (TaskState.PENDING, TaskState.READY):
                task = replace(task, state=TaskState.BLOCKED)
        return task

    async def _check_place(self, task: Task) -> None:
        if task.workspace_id:
            await self.workspace(task.workspace_id)
        if task.project_id:
            project = await self.project(task.project_id)
            if task.workspace_id and project.workspace_id != task.workspace_id:
                raise NotFound(
                    f"the workspace {task.workspace_id} has no project {task.project_id}",
                    reason="PROJECT_UNKNOWN",
                    field="project_id",
                )

    async def _checked(self, before: Task, after: Task) -> Task:
        """Return the new version, BLOCKED where it has to wait; raise what may not be."""
        split = TaskState.SPLIT
        if after.state is split and before.state is not split:
            raise InvalidArgument("a task is split by SplitTask", field="state")
        if before.state is split and after.state not in (split, TaskState.CANCELLED):
            raise FailedPrecondition(
                f"{before.task_id} is split: it ends with its parts, or is cancelled with them", reason="TASK_SPLIT"
            )
        if after.after != before.after:
            await self.tasks.check_cycle(after.task_id, after.after)
        unmet = await self.tasks.unmet(after.after) if after.after else []
        if not unmet:
            return after
        if after.state in _ACTIVE and (after.state is not before.state or after.after != before.after):
            raise _blocked(after, unmet)
        if after.state in (TaskState.PENDING, TaskState.READY):
            return replace(after, state=TaskState.BLOCKED)
        return after

    def _draft(self, asker: Asker) -> Draft:
        return Draft(self.tasks, self._events, self._db.unit(), asker.identity)

    def _add(self, draft: Draft, task: Task) -> None:
        self._number += 1
        draft.add(task, self._number)

    async def _commit(self, draft: Draft) -> None:
        self.tasks.changes += 1
        await self._db.commit(draft.unit, self._written)
        self._events.poke()

    def _written(self, _: BaseException | None) -> None:
        self.tasks.changes += 1


def _blocked(task: Task, unmet: Sequence[str]) -> FailedPrecondition:
    return FailedPrecondition(
        f"{task.task_id} waits for {', '.join(unmet) or 'other parts'}, which must be done first",
        reason="TASK_BLOCKED",
    )
