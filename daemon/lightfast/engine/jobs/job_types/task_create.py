"""task_create: creates a task, and splits it where the planner finds it too complex for one go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from lightfast.engine.jobs.ports import OwnBench
from lightfast.engine.ports import PlannerRoom, WorkspaceRoom
from lightfast.sdk import JobBench, JobType
from lightfast_link.value import Value

_TEXTS = (
    *("title", "description", "intent_type", "intent_source", "business_goal", "context_adaptations"),
    *("parent_context", "workspace_id", "project_id", "parent_task_id"),
)
SPLIT_FROM = 0.7
"""From this complexity on a task is marked to be split."""


class TaskCreate(JobType):
    """The task carries the job's identity as its request id: a second attempt finds the task of the first."""

    name: ClassVar[str] = "task_create"
    summary: ClassVar[str] = "Creates a task, and says how sure we are of how to do it and how complex it is."
    payload: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            **{name: {"type": "string", "maxLength": 100_000} for name in _TEXTS},
            "metadata": {"type": "object"},
            "after": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
            "assess": {"type": "boolean"},
        },
        "required": ["title"],
        "additionalProperties": False,
    }
    timeout: ClassVar[float] = 300.0

    def __init__(self, workspaces: WorkspaceRoom, planner: PlannerRoom | None = None) -> None:
        self._workspaces = workspaces
        self._planner = planner

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        """Create the task and return its identity, and how it is best done."""
        asker = cast("OwnBench", bench).asker
        fields: dict[str, Any] = {name: value for name, value in payload.items() if name != "assess"}
        fields.setdefault("intent_source", asker.via)
        task = await self._workspaces.create_task(fields, asker, request_id=f"job:{bench.job_id}")
        found: dict[str, Value] = {"task_id": task.task_id}
        if not payload.get("assess") or self._planner is None:
            return found
        bench.progress(0.5, "asking how it can be done")
        plan = await self._planner.plan(task.description or task.title, asker)
        routing = "split" if plan.complexity >= SPLIT_FROM else "one_shot"
        changes = {"confidence": plan.confidence, "complexity": plan.complexity, "routing_decision": routing}
        await self._workspaces.update_task(task.task_id, changes, asker)
        return found | {**changes, "planner": plan.planner}
