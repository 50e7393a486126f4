"""Operations on tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightfast.engine.operations.built import TEXT, Built, missing, needed, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.ports import Asker
from lightfast.sdk import Bench, Effect, Mistake, OperationCall, Outcome, Undoing, World

STATES = ("PENDING", "READY", "IN_PROGRESS", "BLOCKED", "DONE", "FAILED", "CANCELLED")
_PLACE = "/lightfast/tasks//"
"""Stands for the tasks, so that what changes them keeps its order."""
_SHARE: Mapping[str, Any] = {"type": ["number", "string"], "minimum": 0, "maximum": 1}
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "title": said(TEXT, "The title.", maxLength=500),
    "description": said(TEXT, "What is to be done."),
    "workspace_id": said(TEXT, "The workspace."),
    "project_id": said(TEXT, "The project."),
    "parent_task_id": said(TEXT, "The task it is a part of."),
    "intent_type": said(TEXT, "create, change, find, fix, plan, or a word of your own."),
    "business_goal": said(TEXT, "What it is good for."),
    "confidence": said(_SHARE, "How sure it is how to do it, 0 to 1."),
    "complexity": said(_SHARE, "How complex it is, 0 to 1."),
    "result": said(TEXT, "What came out."),
    "metadata": {"type": "object", "description": "More about it."},
}


class _Task(Built):
    possible_effects = frozenset((Effect.REVERSIBLE,))
    result: ClassVar[Mapping[str, Any]] = {"type": "object", "description": "task_id, state, version."}

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what stands for the tasks."""
        return (_PLACE,)

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there are tasks here."""
        return missing(self.rooms.workspaces, "workspaces")


class Create(_Task):
    """Creates."""

    name = "task.create"
    summary = "Create a task."
    arguments: ClassVar[Mapping[str, Any]] = schema(("title",), **_FIELDS)
    keyed = True

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Create."""
        room = needed(self.rooms.workspaces, "workspaces")
        fields = {"intent_source": "workflow", "run_id": call.run_id, **call.arguments}
        async with bounded(call.deadline_s, self.name):
            task = await room.create_task(fields, _asker(call), request_id=call.key)
        return Outcome(_told(task), undo=Undoing("task.update", {"task_id": task.task_id, "state": "CANCELLED"}))


class Update(_Task):
    """Changes."""

    name = "task.update"
    summary = "Change a task; the former version stays on record."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("task_id",),
        task_id=said(TEXT, "The task."),
        state={"type": "string", "description": "How it stands: " + ", ".join(STATES) + "."},
        **_FIELDS,
    )
    idempotent = True

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Change, and say what the fields were."""
        room = needed(self.rooms.workspaces, "workspaces")
        changes = {name: value for name, value in call.arguments.items() if name != "task_id"}
        async with bounded(call.deadline_s, self.name):
            if call.note:
                former = json.loads(call.note)
            else:
                before = await room.get_task(call.arguments["task_id"])
                former = {name: _plain(getattr(before, name)) for name in changes}
                await bench.keep(json.dumps(former))
            task = await room.update_task(call.arguments["task_id"], changes, _asker(call))
        return Outcome(_told(task), undo=Undoing("task.update", {"task_id": task.task_id, **former}))


def _asker(call: OperationCall) -> Asker:
    return Asker(call.origin, call.origin, frozenset(("operate",)), via="workflow")


def _plain(value: Any) -> Any:
    return str(value.value) if hasattr(value, "value") else dict(value) if isinstance(value, Mapping) else value


def _told(task: Any) -> dict[str, Any]:
    return {"task_id": task.task_id, "state": _plain(task.state), "version": task.version}


WORKING = (Create, Update)
