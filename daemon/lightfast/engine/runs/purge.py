"""Runs take part in a purge: what was asked, what came of it and why go; that it was, and when, stays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from lightfast.context.upkeep.purge_history import condition
from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.context.upkeep.purge_target import Item, Target
from lightfast.storage.database import Database

_OPEN = "state IN ('RUNNING', 'PAUSED', 'AWAITING_APPROVAL', 'NEEDS_YOU')"
_COLUMNS = ("intent", "project", "reason", "program", "result", "body")


class RunPurge:
    """The tables of runs. A run that has not ended is not touched: it stands on what it holds, and is named."""

    name = "runs"

    def __init__(self, db: Database) -> None:
        self._db = db
        none = '{"instructions":[]}'
        self._runs = RowRoom(
            db,
            "runs",
            "runs",
            "run_id",
            _COLUMNS,
            "UPDATE runs SET intent = '', project = '', reason = 'it was purged', program = ?, result = '', body ="
            " json_object('requester', body ->> '$.requester', 'origin', body ->> '$.origin', 'via', body ->> '$.via')",
            (none,),
        )
        self._parts = {
            table: RowRoom(db, "runs", table, "row", ("body",), f"UPDATE {table} SET body = '{{}}'")  # noqa: S608
            for table in ("run_steps", "run_events")
        }

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield items: `runs:ID`, `run_steps:ROW` or `run_events:ROW`."""
        for table, room in (("runs", self._runs), *self._parts.items()):
            async for found in room.find(target):
                over = await self._ended(table, found)
                if over:
                    yield [f"{table}:{item}" for item in over]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Blank the rows."""
        for table, room in (("runs", self._runs), *self._parts.items()):
            mine = [str(item).partition(":")[2] for item in items if str(item).startswith(f"{table}:")]
            if mine:
                await room.erase(mine if table == "runs" else [int(row) for row in mine], purge_id)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Name the runs that have not ended and hold it."""
        if target.needles is None:
            return []
        where, params = condition(_COLUMNS, target.needles)
        inner, _ = condition(("run_steps.body",), target.needles)
        query = (
            f"SELECT run_id FROM runs WHERE {_OPEN} AND (({where}) OR EXISTS"  # noqa: S608  (constants)
            f" (SELECT 1 FROM run_steps WHERE run_steps.run_id = runs.run_id AND ({inner})))"
        )
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        return [f"the run {run_id} has not ended and holds it: cancel it, then purge again" for (run_id,) in rows]

    async def _ended(self, table: str, items: Sequence[Item]) -> Sequence[Item]:
        """Return those of *items* that belong to runs that are over."""
        key = "run_id" if table == "runs" else "row"
        rows = await self._db.query(
            f"SELECT {key} FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))"  # noqa: S608  (constants)
            f" AND run_id NOT IN (SELECT run_id FROM runs WHERE {_OPEN})",
            (json.dumps(list(items)),),
        )
        return [item for (item,) in rows]
