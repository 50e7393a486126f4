"""Whether a purge was interrupted: asked at each start, so that nothing else of it is loaded where none was."""

from __future__ import annotations

from lightfast.storage.database import Database


async def has_unfinished(db: Database) -> bool:
    """Say whether a crash left a purge behind that was not finished."""
    return bool(await db.query("SELECT 1 FROM purges WHERE state <> 'done' LIMIT 1"))
