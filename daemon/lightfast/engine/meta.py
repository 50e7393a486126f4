"""The meta-computer: the rooms that turn what somebody wants into what happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightfast.engine.desk.desk import Desk
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.jobs.jobs import Jobs
    from lightfast.engine.jobs.schedules import Schedules
    from lightfast.engine.mirror.mirror import Mirror
    from lightfast.engine.operations.book import Operations
    from lightfast.engine.planner.planner import Planner
    from lightfast.engine.restored import Restored
    from lightfast.engine.runs.runs import Runs
    from lightfast.engine.triggers.triggers import Triggers
    from lightfast.engine.workflows.workflows import Workflows
    from lightfast.engine.workspaces.workspaces import Workspaces


@dataclass(frozen=True, slots=True)
class MetaComputer:
    """Its rooms, joined by the composition; *settled* waits until the plugins are loaded."""

    events: EventLog
    operations: Operations
    planner: Planner
    runs: Runs
    jobs: Jobs
    schedules: Schedules
    workspaces: Workspaces
    workflows: Workflows
    triggers: Triggers
    desk: Desk
    settled: Callable[[], Awaitable[None]]
    restored: Restored
    mirror: Mirror | None = None
