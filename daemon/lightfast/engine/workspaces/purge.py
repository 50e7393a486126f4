"""Workspaces, projects and tasks take part in a purge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.context.upkeep.purge_target import Target

if TYPE_CHECKING:
    from lightfast.storage.database import Database

PURGED = "(purged)"
_EMPTY_MAP = '{"$m":{}}'
_EMPTY_BODY = (
    '{"intent_source": "", "context_adaptations": "", "parent_context": "", "confidence": 0.0, "complexity": 0.0,'
    ' "routing_decision": "", "result": "", "run_id": "", "metadata": "{\\"$m\\":{}}", "after": []}'
)


class TaskPurge(RowRoom):
    """The versions of tasks that hold the text lose all their texts, in the index of words, too; how they stood stays.

    What a version waited for is kept for the present ones by the table `task_after`.
    """

    def __init__(self, db: Database) -> None:
        columns = ("title", "description", "intent_type", "business_goal", "body")
        change = "UPDATE task_versions SET title = ?, description = '', intent_type = '', business_goal = '', body = ?"
        super().__init__(db, "tasks", "task_versions", "row", columns, change, (PURGED, _EMPTY_BODY))

    async def remaining(self, target: Target) -> list[str]:
        """Tell of identities that hold the text: they are chosen by users, and what hangs on them must find them."""
        return await _named(self._db, target, "task_versions", "task_id")


class PlacePurge(RowRoom):
    """Workspaces or projects that hold the text lose their name and what was said of them."""

    def __init__(self, db: Database, table: str) -> None:
        self._identity = "workspace_id" if table == "workspaces" else "project_id"
        columns = ("name", "description", "metadata")
        change = f"UPDATE {table} SET name = ?, description = '', metadata = ?"  # noqa: S608
        super().__init__(db, table, table, self._identity, columns, change, (PURGED, _EMPTY_MAP))

    async def remaining(self, target: Target) -> list[str]:
        """Tell of identities that hold the text."""
        return await _named(self._db, target, self._table, self._identity)


async def _named(db: Database, target: Target, table: str, column: str) -> list[str]:
    if target.needles is None:
        return []
    names = await db.query(f"SELECT DISTINCT {column} FROM {table}")  # noqa: S608
    found = [name for (name,) in names if target.needles.in_text(name)]
    return [f"{len(found)} {column} in {table} hold the text, and stay: they cannot be renamed"] if found else []
