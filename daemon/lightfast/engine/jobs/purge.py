"""Jobs and schedules take part in a purge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from lightfast.context.upkeep.purge_history import condition
from lightfast.context.upkeep.purge_target import BATCH, Item, Target

if TYPE_CHECKING:
    from lightfast.engine.jobs.jobs import Jobs
    from lightfast.engine.jobs.schedules import Schedules
    from lightfast.storage.database import Database

_COLUMNS = ("payload", "requester", "asker", "message", "result", "error", "note", "request_id", "schedule")


class JobPurge:
    """The tables `jobs` and `job_logs`: a job that holds the text goes with its log; one that is live is cancelled.

    *jobs* returns `None` where the queue is not open: then nothing is live. An item is the identity of a job.
    """

    name = "jobs"

    def __init__(self, db: Database, jobs: Callable[[], Jobs | None]) -> None:
        self._db = db
        self._jobs = jobs

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the identities."""
        if target.needles is None:
            return
        where, params = condition(_COLUMNS, target.needles)
        line, _ = condition(("text",), target.needles)
        query = f"SELECT job_id FROM jobs WHERE {where} UNION SELECT job_id FROM job_logs WHERE {line}"  # noqa: S608
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        for start in range(0, len(rows), BATCH):
            yield [job_id for (job_id,) in rows[start : start + BATCH]]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Cancel what is live, and remove the rows."""
        jobs = self._jobs()
        if jobs is not None:
            for item in items:
                await jobs.queue.cancel(str(item))
        keys = [(str(item),) for item in items]
        unit = self._db.unit()
        unit.insert("DELETE FROM job_logs WHERE job_id = ?", keys)
        unit.insert("DELETE FROM jobs WHERE job_id = ?", keys)
        await self._db.commit(unit)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []


class SchedulePurge:
    """The table `job_schedules`: a schedule that holds the text goes.

    An item is the first half of the SHA-256 of its name.
    """

    name = "schedules"

    def __init__(self, db: Database, schedules: Callable[[], Schedules | None]) -> None:
        self._db = db
        self._schedules = schedules

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the hashes of the names."""
        if target.needles is None:
            return
        where, params = condition(("name", "body"), target.needles)
        query = f"SELECT name FROM job_schedules WHERE {where}"  # noqa: S608
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        if rows:
            yield [_hash(name) for (name,) in rows]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Remove the rows."""
        names = [name for (name,) in await self._db.query("SELECT name FROM job_schedules") if _hash(name) in items]
        unit = self._db.unit()
        unit.insert("DELETE FROM job_schedules WHERE name = ?", [(name,) for name in names])
        await self._db.commit(unit)
        schedules = self._schedules()
        if schedules is not None:
            schedules.forget(names)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []


def _hash(name: str) -> str:
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()[:32]
