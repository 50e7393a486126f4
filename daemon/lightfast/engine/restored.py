"""A store that was restored from a backup: what waited in it waits on, until somebody says that it may go on.

The daemon it was taken from may have done all of that since, and may still run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

WHY = (
    "this store was restored from a backup, and the daemon it was taken from may have done since what waits here: look"
    " (lightfast jobs list, lightfast jobs schedules, lightfast triggers list), cancel what is not to be done again,"
    " then lightfast jobs resume"
)
_KEY = "work_resumed"
"""The setting that holds which restoring it was that somebody let go on."""
_LOOK = (
    "SELECT coalesce((SELECT value FROM meta WHERE key = 'restored'), 0),"
    " coalesce((SELECT value FROM settings WHERE key = ?), 0),"
    " (EXISTS(SELECT 1 FROM jobs WHERE state IN ('PENDING', 'RUNNING', 'RETRYING'))"
    " OR EXISTS(SELECT 1 FROM job_schedules)"
    " OR EXISTS(SELECT 1 FROM desk_lines WHERE state IN ('OPEN', 'TAKEN'))"
    " OR EXISTS(SELECT 1 FROM workflow_files WHERE instr(text, 'triggers')))"
)


class Restored:
    """Open one with `await Restored.open(db)`, before the rooms that wait for it."""

    def __init__(self, db: Database, since: int) -> None:
        """Use `open`."""
        self._db = db
        self._since = since
        self._followers: list[Callable[[], None]] = []
        self.held = WHY if since else ""
        """Why nothing goes on by itself; empty while it does."""

    @classmethod
    async def open(cls, db: Database) -> Restored:
        """Look whether the store was restored since somebody last let it go on, and whether anything waits in it."""
        ((restored, resumed, waits),) = await db.query(_LOOK, (_KEY,))
        self = cls(db, int(restored) if int(restored) != int(resumed) else 0)
        if self._since and not waits:
            await self.resume()
        elif self._since:
            log.warning("what waits in a restored store waits on", reason=WHY)
        return self

    def follow(self, resumed: Callable[[], None]) -> None:
        """Call *resumed* when it goes on; it must not wait."""
        self._followers.append(resumed)

    async def resume(self) -> bool:
        """Let everything go on, for good; say whether it had waited. Durable when this returns."""
        if not self._since:
            return False
        unit = self._db.unit()
        unit.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (_KEY, self._since))
        await self._db.commit(unit)
        self._since, self.held = 0, ""
        for follower in self._followers:
            follower()
        return True
