"""The lines of the desk take part in a purge."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from lightfast.context.upkeep.purge_history import condition
from lightfast.context.upkeep.purge_rows import RowRoom
from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.engine.desk.records import OVER
from lightfast.storage.database import Database

_ACK = "(CASE ack WHEN '' THEN '' ELSE json_remove(ack, '$.next_steps') END)"
_COLUMNS = (
    *("said", "command", "signature", _ACK, "asker", "client", "request_id", "project", "conversation", "outcome"),
    *("task_id", "job_id", "run_id"),
)
_OVER = ", ".join(f"'{state}'" for state in sorted(OVER))


class LinePurge:
    """The table `desk_lines`: a line that is over goes; one that is not is left, since it is being done, and named.

    Where only what was suggested after a line holds the text, the suggestions go. An item is the number of a row.
    """

    name = "lines"

    def __init__(self, db: Database) -> None:
        self._db = db
        steps = "UPDATE desk_lines SET ack = json_set(ack, '$.next_steps', json('[]'))"
        self._lines = RowRoom(db, "lines", "desk_lines", "number", _COLUMNS, "DELETE FROM desk_lines")
        self._steps = RowRoom(db, "lines", "desk_lines", "number", ("ack",), steps)

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the numbers of lines that are over, and with a `~` before them those whose suggestions go."""
        lines: set[Item] = set()
        async for found in self._lines.find(target):
            lines.update(found)
        over = await self._db.query(
            f"SELECT number FROM desk_lines WHERE state IN ({_OVER}) AND number IN"  # noqa: S608  (constants)
            " (SELECT value FROM json_each(?))",
            (json.dumps(sorted(lines, key=int)),),
        )
        items: list[Item] = [number for (number,) in over]
        async for found in self._steps.find(target):
            items += [f"~{number}" for number in found if number not in lines]
        for start in range(0, len(items), BATCH):
            yield items[start : start + BATCH]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Delete the rows, and empty the suggestions."""
        numbers = [str(item) for item in items]
        await self._lines.erase([int(item) for item in numbers if not item.startswith("~")], purge_id)
        await self._steps.erase([int(item[1:]) for item in numbers if item.startswith("~")], purge_id)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Name the lines that are not over."""
        if target.needles is None:
            return []
        where, params = condition(_COLUMNS, target.needles)
        query = f"SELECT line_id, job_id, run_id FROM desk_lines WHERE state NOT IN ({_OVER}) AND ({where})"  # noqa: S608
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        return [
            f"the line {line_id} is being done ({run_id or job_id or 'it waits'}): let it end, or cancel that,"
            " then purge again"
            for line_id, job_id, run_id in rows
        ]
