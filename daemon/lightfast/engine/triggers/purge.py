"""What triggers and workflows keep takes part in a purge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.context.upkeep.purge_target import Item, Target
from lightfast.storage.database import Database

if TYPE_CHECKING:
    from lightfast.engine.triggers.triggers import Triggers
    from lightfast.engine.workflows.workflows import Workflows


class FiringRoom(RowRoom):
    """Traces that hold the text go: they tell the values that decided. What waits to be written is written first."""

    def __init__(self, db: Database, triggers: Callable[[], Triggers | None]) -> None:
        columns = ("reason", "name", "workflow", "run_id")
        super().__init__(db, "firings", "trigger_firings", "id", columns, "DELETE FROM trigger_firings")
        self._triggers = triggers

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the numbers of traces."""
        triggers = self._triggers()
        if triggers is not None and target.needles is not None:
            await triggers.forget()
        async for found in super().find(target):
            yield found


class WorkflowFileRoom(RowRoom):
    """The last good text of a workflow file goes where it holds the text; the file itself is the user's own."""

    def __init__(self, db: Database, workflows: Callable[[], Workflows | None]) -> None:
        columns = ("text", "name", "file")
        super().__init__(db, "workflow_files", "workflow_files", "rowid", columns, "DELETE FROM workflow_files")
        self._workflows = workflows

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Remove the rows; what is in use only because its file is wrong now is used no more."""
        count = await super().erase(items, purge_id)
        workflows = self._workflows()
        if workflows is not None:
            await workflows.forget()
        return count

    async def remaining(self, target: Target) -> list[str]:
        """Name the files in the folder that hold the text."""
        workflows, needles = self._workflows(), target.needles
        if workflows is None or needles is None:
            return []
        held = await asyncio.to_thread(workflows.holding, needles.in_bytes)
        return [f"the file {path}" for path in held]
