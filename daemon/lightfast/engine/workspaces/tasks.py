"""Reading tasks: one, its versions, lists, searches, and what hangs on what."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.core.kept import Kept
from lightfast.engine.workspaces import rows
from lightfast.engine.workspaces.records import TASK_ENDED, Task, TaskState

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.storage.database import Database

T = TypeVar("T")

RELATIONS = 1_000
QUERIES = 100
QUERY_S = 10.0
"""What is kept: tasks with their parts until one is changed, pages for so many seconds at most, and until then, too."""
_NOW = f"SELECT {rows.COLUMNS} FROM task_versions WHERE superseded_time = 0"  # noqa: S608
_QUALIFIED = ", ".join(f"v.{name.strip()}" for name in rows.COLUMNS.split(","))
_WEIGHTS = "4.0, 1.0, 2.0, 2.0"
"""Of title, description, intent type and business goal, for bm25."""


class TaskReader:
    """The tables `task_versions`, `task_after` and `task_words`, with what was read of them lately."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.relations: Kept[Any] = Kept("task_relations", RELATIONS, clock)
        self.queries: Kept[tuple[list[Task], str]] = Kept("task_queries", QUERIES, clock, QUERY_S)
        self.aggregates: Kept[dict[str, int]] = Kept("task_counts", 1, clock)
        self.changes = 0
        """Counts the changes of tasks; whoever writes them adds 1 before, and again when they are on the disk."""
        self._db = db

    def forget(self) -> None:
        """Let go of all that is kept."""
        self.changes += 1
        for each in self.caches:
            each.clear()

    @property
    def caches(self) -> tuple[Kept[Any], ...]:
        """Return what keeps something."""
        return (self.relations, self.queries, self.aggregates)

    async def _kept(self, cache: Kept[T], key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what is kept, or read it; what was changed meanwhile is not kept."""
        stamp = self.changes
        if (found := cache.get(key, stamp)) is None:
            found = await read()
            if found is not None and self.changes == stamp:
                cache.put(key, found, stamp)
        return found

    def counts(self) -> dict[str, int]:
        """Return how many tasks there are by state; counted anew only after a change."""
        found = self.aggregates.get("", self.changes)
        if found is None:
            sql = "SELECT state, count(*) FROM task_versions WHERE superseded_time = 0 GROUP BY state"
            found = self._db.read_now(lambda connection: dict(connection.execute(sql)))
            self.aggregates.put("", found, self.changes)
        return found

    async def find(self, task_id: str) -> Task | None:
        """Return the present version."""
        return await self._kept(self.relations, ("task", task_id), lambda: self._find(task_id))

    async def _find(self, task_id: str) -> Task | None:
        for row in self._db.query_now(f"{_NOW} AND task_id = ?", (task_id,)):
            return rows.read(row)
        return None

    async def get(self, task_id: str, *, at_time: int = 0) -> Task:
        """Return a task as it is, or as it was at *at_time* by what is known today; raises `NotFound`: TASK_UNKNOWN.

        Of the versions that are true since then or earlier, the one that was recorded last holds.
        """
        if not at_time:
            found = await self.find(task_id)
        else:
            sql = (
                f"SELECT {rows.COLUMNS} FROM task_versions WHERE task_id = ? AND valid_from <= ?"  # noqa: S608
                " ORDER BY version DESC LIMIT 1"
            )
            found = next((rows.read(row) for row in await self._db.query(sql, (task_id, at_time))), None)
        if found is None:
            when = " at that time" if at_time else ""
            raise NotFound(
                f"there is no task {task_id!r:.80}{when}: see 'lightfast tasks list'",
                reason="TASK_UNKNOWN",
                field="task_id",
            )
        return found

    async def versions(self, task_id: str) -> list[Task]:
        """Return all versions, the newest first."""
        sql = f"SELECT {rows.COLUMNS} FROM task_versions WHERE task_id = ? ORDER BY version DESC LIMIT 1000"  # noqa: S608
        return [rows.read(row) for row in await self._db.query(sql, (task_id,))]

    async def page(
        self,
        *,
        workspace_id: str = "",
        project_id: str = "",
        states: Sequence[TaskState] = (),
        query: str = "",
        parent_task_id: str = "",
        size: int = 0,
        token: str = "",
    ) -> tuple[list[Task], str]:
        """Return a page of present versions, the newest task first, or for a *query* the best match first."""
        key = (workspace_id, project_id, tuple(states), query, parent_task_id, size, token)
        tasks, more = await self._kept(self.queries, key, lambda: self._page(*key))
        return list(tasks), more

    async def _page(
        self,
        workspace_id: str,
        project_id: str,
        states: Sequence[TaskState],
        query: str,
        parent_task_id: str,
        size: int,
        token: str,
    ) -> tuple[list[Task], str]:
        mark = fingerprint("tasks", workspace_id, project_id, sorted(states), query, parent_task_id)
        count = page_size(size, 100, 1_000)
        place = (read_token(token, mark).number or 0) if token else 0
        clauses, params = ["v.superseded_time = 0"], list[Any]()
        for name, value in (
            ("workspace_id", workspace_id),
            ("project_id", project_id),
            ("parent_task_id", parent_task_id),
        ):
            if value:
                clauses.append(f"v.{name} = ?")
                params.append(value)
        if states:
            clauses.append("v.state IN (SELECT value FROM json_each(?))")
            params.append(json.dumps([state.value for state in states]))
        if query.strip():
            wanted = rows.words(query)
            if not wanted:
                raise InvalidArgument(f"{query!r:.80} holds no word to look for", field="query")
            sql = (
                f"SELECT {_QUALIFIED} FROM task_words JOIN task_versions AS v ON v.row = task_words.rowid"  # noqa: S608
                f" WHERE task_words MATCH ? AND {' AND '.join(clauses)}"
                f" ORDER BY bm25(task_words, {_WEIGHTS}), v.number DESC LIMIT ? OFFSET ?"
            )
            found = await self._db.query(sql, (wanted, *params, count + 1, place))
            following = place + count
        else:
            if place:
                clauses.append("v.number < ?")
                params.append(place)
            sql = (
                f"SELECT {_QUALIFIED} FROM task_versions AS v WHERE {' AND '.join(clauses)}"  # noqa: S608
                " ORDER BY v.number DESC LIMIT ?"
            )
            found = await self._db.query(sql, (*params, count + 1))
            following = found[count - 1][3] if len(found) > count else 0
        more = write_token(Token(mark, 0, "", following)) if len(found) > count else ""
        return [rows.read(row) for row in found[:count]], more

    async def parts(self, task_id: str) -> list[Task]:
        """Return the parts of a task, in order."""

        async def read() -> list[Task]:
            found = await self._db.query(
                f"{_NOW} AND parent_task_id = ? AND parent_task_id <> '' ORDER BY number", (task_id,)
            )
            return [rows.read(row) for row in found]

        return list(await self._kept(self.relations, ("parts", task_id), read))

    async def many(self, task_ids: Sequence[str]) -> dict[str, Task]:
        """Return the present versions of those that are there."""
        if not task_ids:
            return {}
        sql = f"{_NOW} AND task_id IN (SELECT value FROM json_each(?))"  # noqa: S608
        found = [rows.read(row) for row in await self._db.query(sql, (json.dumps(list(task_ids)),))]
        return {task.task_id: task for task in found}

    async def unmet(self, after: Sequence[str]) -> list[str]:
        """Return those of *after* that are not done; raises `NotFound` for one that is not there."""
        there = await self.many(after)
        gone = [other for other in after if other not in there]
        if gone:
            raise NotFound(f"there is no task {gone[0]!r:.80} to wait for", reason="TASK_UNKNOWN", field="after")
        return [other for other in after if there[other].state is not TaskState.DONE]

    async def waiting_for(self, task_id: str) -> list[Task]:
        """Return the tasks that are blocked and wait for one, among others perhaps."""
        sql = (
            f"{_NOW} AND state = 'BLOCKED' AND task_id IN (SELECT task_id FROM task_after WHERE after_id = ?)"  # noqa: S608
            " ORDER BY number"
        )
        return [rows.read(row) for row in await self._db.query(sql, (task_id,))]

    async def check_cycle(self, task_id: str, after: Sequence[str]) -> None:
        """Raise `InvalidArgument` (TASK_CYCLE) where one of *after* waits for the task, perhaps through others.

        A task that is split waits for its parts, too: it ends with them.
        """
        sql = (
            "WITH RECURSIVE before(id) AS (SELECT value FROM json_each(?) UNION"
            " SELECT after_id FROM before JOIN task_after ON task_after.task_id = before.id UNION"
            " SELECT part.task_id FROM before JOIN task_versions AS whole ON whole.task_id = before.id"
            " AND whole.superseded_time = 0 AND whole.state = 'SPLIT' JOIN task_versions AS part"
            " ON part.parent_task_id = before.id AND part.parent_task_id <> '' AND part.superseded_time = 0)"
            " SELECT 1 FROM before WHERE id = ? LIMIT 1"
        )
        if await self._db.query(sql, (json.dumps(list(after)), task_id)):
            raise InvalidArgument(
                f"{task_id} would wait for itself: one of {', '.join(after)} waits for it",
                field="after",
                reason="TASK_CYCLE",
            )

    async def last_number(self) -> int:
        """Return the number of the task that was created last."""
        ((last,),) = await self._db.query("SELECT coalesce(max(number), 0) FROM task_versions")
        return int(last)


def outcome(parts: Sequence[Task]) -> TaskState | None:
    """Return how a task ends whose *parts* stand so; `None`: it does not yet.

    Done when all are done that were not cancelled, failed when one failed and nothing is left to do, and cancelled
    when all are.
    """
    states = {part.state for part in parts}
    if not states <= TASK_ENDED:
        return None
    if TaskState.FAILED in states:
        return TaskState.FAILED
    return TaskState.DONE if TaskState.DONE in states else TaskState.CANCELLED
