"""The lines on the disk: one is acknowledged when its row is, with the event that tells of it, in one unit of work."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.core.clock import Clock
from lightfast.core.errors import AlreadyExists, Conflict
from lightfast.engine.desk.judge import Past, words_of
from lightfast.engine.desk.records import OVER, Ack, Line, LineState, Told, ack
from lightfast.engine.ports import Asker

if TYPE_CHECKING:
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Database, Unit

KEPT_NS = 30 * 24 * 3600 * 1_000_000_000
"""How long lines that are over are kept."""
_COLUMNS = (
    "line_id, client, said, command, letters, asker, create_time, number, request_id, signature, project, conversation,"
    " state, task_id, job_id, run_id, parent, place, confidence, complexity, routing, outcome, ack"
)
_CHANGEABLE = frozenset({"state", "job_id", "run_id", "task_id", "outcome", "place", "parent"})
_INSERT = (
    "INSERT INTO desk_lines(line_id, client, said, command, letters, asker, create_time, update_time, request_id,"
    " signature, project, conversation, state, task_id, job_id, run_id, parent, place, confidence, complexity, routing,"
    " outcome, ack) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Lines:
    """Writes and reads the rows."""

    def __init__(self, db: Database, events: EventLog, clock: Clock) -> None:
        self._db, self._events, self._clock = db, events, clock

    async def add(self, line: Line, told: Told) -> Ack:
        """Write *line* with its event and return its acknowledgement; that of the first, where it was said before.

        Raises `AlreadyExists` (REQUEST_ID_REUSED) where its request id came with other words.
        """
        assert line.ack is not None  # noqa: S101 — the desk makes none without
        unit = self._db.unit()
        self.put(unit, line)
        self._events.add(unit, told.kind, "desk", line.line_id, told.payload(line.line_id))
        try:
            await self._db.commit(unit)
        except Conflict:
            there = await self.said_before(line.client, line.request_id) if line.request_id else None
            if there is None or there.ack is None:
                raise
            return self.same(there, line.said)
        self._events.poke()
        return line.ack

    @staticmethod
    def same(there: Line, said: str) -> Ack:
        """Return the acknowledgement of *there* for the same words; raise `AlreadyExists` for others."""
        if there.said != said or there.ack is None:
            raise AlreadyExists(
                f"request_id {there.request_id!r} was used by {there.client} for another line: use a new one",
                reason="REQUEST_ID_REUSED",
                field="request_id",
                metadata={"request_id": there.request_id},
            )
        return there.ack

    def put(self, unit: Unit, line: Line) -> None:
        """Add the row of a new line to *unit*."""
        asker = line.asker
        unit.execute(
            _INSERT,
            (
                line.line_id,
                line.client,
                line.said,
                line.command,
                line.letters,
                _json([asker.identity, asker.origin, sorted(asker.scopes), asker.via, asker.untrusted]),
                line.create_time,
                line.create_time,
                line.request_id or None,
                line.signature,
                line.project,
                line.conversation,
                line.state.value,
                line.task_id,
                line.job_id,
                line.run_id,
                line.parent,
                line.place,
                line.confidence,
                line.complexity,
                line.routing,
                line.outcome,
                _json(line.ack.plain()) if line.ack else "",
            ),
        )

    async def change(self, line: Line, told: Sequence[Told] = (), parts: Iterable[Line] = (), **columns: Any) -> None:
        """Change columns of a line, tell of it, and add *parts*, all in one unit of work."""
        unit = self._db.unit()
        names = list(columns)
        if unknown := set(names) - _CHANGEABLE:
            raise ValueError(f"{unknown} cannot be changed")
        sets = "".join(f", {name} = ?" for name in names)
        unit.execute(
            f"UPDATE desk_lines SET update_time = ?{sets} WHERE line_id = ?",  # noqa: S608 — names of `_CHANGEABLE`
            (self._clock.now_ns(), *(str(columns[n]) if n == "state" else columns[n] for n in names), line.line_id),
        )
        for part in parts:
            self.put(unit, part)
        for each in told:
            self._events.add(unit, each.kind, "desk", line.line_id, each.payload(line.line_id))
        await self._db.commit(unit)
        self._events.poke()

    async def take(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Write which jobs have which lines, as (line, job); only where they are still open."""
        unit = self._db.unit()
        now = self._clock.now_ns()
        unit.insert(
            "UPDATE desk_lines SET update_time = ?, job_id = ?,"
            " state = CASE state WHEN 'OPEN' THEN 'TAKEN' ELSE state END WHERE line_id = ?",
            [(now, job_id, line_id) for line_id, job_id in pairs],
        )
        await self._db.commit(unit)

    async def get(self, line_id: str) -> Line | None:
        """Return a line."""
        return await self._one("line_id = ?", line_id)

    async def said_before(self, client: str, request_id: str) -> Line | None:
        """Return the line of a request id."""
        return await self._one("client = ? AND request_id = ?", client, request_id)

    async def of_run(self, run_id: str) -> Line | None:
        """Return the line that started a run."""
        return await self._one("run_id = ? AND run_id <> ''", run_id)

    async def parts(self, line_id: str) -> list[Line]:
        """Return the parts of a line, in order."""
        return await self._many("parent = ? AND parent <> '' ORDER BY place", line_id)

    async def children(self, task_id: str) -> list[tuple[str, str]]:
        """Return the parts that a task was split into already, as identity and title, in order."""
        rows = await self._db.query(
            "SELECT task_id, title FROM task_versions WHERE superseded_time = 0 AND parent_task_id = ?"
            " AND parent_task_id <> '' ORDER BY number",
            (task_id,),
        )
        return [(row[0], row[1]) for row in rows]

    async def run_of(self, line: Line) -> str:
        """Return the run that was started for a line, under its identity, by an attempt that did not get to say so."""
        rows = self._db.query_now(
            "SELECT response FROM requests WHERE client = ? AND method = 'Run' AND request_id = ?",
            (line.asker.identity, line.line_id),
        )
        return str(rows[0][0]) if rows else ""

    async def open(self, limit: int) -> list[Line]:
        """Return lines the back does not have yet, oldest first."""
        return await self._many("state = 'OPEN' ORDER BY number LIMIT ?", limit)

    async def under_way(self, limit: int) -> list[Line]:
        """Return lines that are not over and that the back has, oldest first."""
        return await self._many("state IN ('TAKEN', 'RUNNING', 'WAITING') ORDER BY number LIMIT ?", limit)

    async def newest(self, client: str, limit: int, since: int = 0, until: int = 1 << 62) -> list[Line]:
        """Return what a client has said from *since* to *until*, newest first; an empty client: everybody."""
        return await self._many(
            "(client = ?1 OR ?1 = '') AND parent = '' AND create_time >= ?2 AND create_time < ?3"
            " ORDER BY number DESC LIMIT ?4",
            client,
            since,
            until,
            limit,
        )

    def opened(self) -> int:
        """Return how many lines are open."""
        return int(self._db.query_now("SELECT count(*) FROM desk_lines WHERE state = 'OPEN'")[0][0])

    async def past(self, limit: int) -> list[Past]:
        """Return the tasks that are over, the oldest first: what the desk's confidence learns from."""
        rows = await self._db.query(
            "SELECT title, state FROM task_versions WHERE superseded_time = 0 AND state IN ('DONE', 'FAILED')"
            " ORDER BY number DESC LIMIT ?",
            (limit,),
        )
        return [Past(words_of(title), state == "DONE") for title, state in reversed(rows)]

    async def sweep(self) -> None:
        """Drop lines that have been over for long."""
        unit = self._db.unit()
        over = ", ".join(f"'{state}'" for state in sorted(OVER))
        unit.execute(
            f"DELETE FROM desk_lines WHERE state IN ({over}) AND update_time < ?",  # noqa: S608
            (self._clock.now_ns() - KEPT_NS,),
        )
        await self._db.commit(unit)

    async def _one(self, where: str, *values: Any) -> Line | None:
        """Return the line that a key finds."""
        rows = self._db.query_now(f"SELECT {_COLUMNS} FROM desk_lines WHERE {where} LIMIT 1", values)  # noqa: S608
        return _line(rows[0]) if rows else None

    async def _many(self, where: str, *values: Any) -> list[Line]:
        rows = await self._db.query(f"SELECT {_COLUMNS} FROM desk_lines WHERE {where}", values)  # noqa: S608
        return [_line(row) for row in rows]


def _line(row: Sequence[Any]) -> Line:
    identity, origin, scopes, via, untrusted = json.loads(row[5])
    return Line(
        line_id=row[0],
        client=row[1],
        said=row[2],
        command=row[3],
        letters=row[4],
        asker=Asker(identity, origin, frozenset(scopes), via, untrusted),
        create_time=row[6],
        number=row[7],
        request_id=row[8] or "",
        signature=row[9],
        project=row[10],
        conversation=row[11],
        state=LineState(row[12]),
        task_id=row[13],
        job_id=row[14],
        run_id=row[15],
        parent=row[16],
        place=row[17],
        confidence=row[18],
        complexity=row[19],
        routing=row[20],
        outcome=row[21],
        ack=ack(json.loads(row[22])) if row[22] else None,
    )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
