"""Drops old history, in steps that let other writes through."""

from __future__ import annotations

from lightfast.context.reader import Bounds
from lightfast.context.records import Compacted
from lightfast.core.errors import InvalidArgument
from lightfast.storage.database import Database

_STEP = 5000


async def compact(db: Database, bounds: Bounds, revision: int) -> Compacted:
    """Drop what only revisions before *revision* need; the values at that revision stay.

    First the bound is made durable, so that nobody reads what is about to go; after a crash in
    between, the next call drops the rest.
    """
    if revision < 0:
        raise InvalidArgument(f"revision is {revision}: revisions begin at 0", field="revision")
    bounds.check(max(revision, bounds.oldest))
    revision = max(revision, bounds.oldest)
    unit = db.unit()
    unit.execute("INSERT OR REPLACE INTO meta VALUES('oldest_revision', ?)", (revision,))
    await db.commit(unit)
    bounds.oldest = max(bounds.oldest, revision)
    found = await db.query(
        "SELECT (SELECT min(row) FROM history), first + rows,"
        " (SELECT count(*) FROM history WHERE row < first + rows),"
        " (SELECT min(revision) FROM transactions) FROM transactions WHERE revision = ?",
        (revision,),
    )
    if not found or found[0][0] is None:
        return Compacted(bounds.oldest, 0)
    first, limit, count, oldest = found[0]
    for low in range(first, limit, _STEP):
        unit = db.unit()
        # A deletion goes too: the older rows of its path went before it.
        unit.execute(
            "DELETE FROM history WHERE row >= ? AND row < ? AND (kind IN (1, 3) OR EXISTS"
            " (SELECT 1 FROM history AS later WHERE later.path = history.path"
            " AND later.row > history.row AND later.row < ?))",
            (low, min(low + _STEP, limit), limit),
        )
        await db.commit(unit)
    for low in range(oldest, revision, _STEP):
        unit = db.unit()
        unit.execute("DELETE FROM transactions WHERE revision >= ? AND revision < ?", (low, min(low + _STEP, revision)))
        await db.commit(unit)
    left = await db.query("SELECT count(*) FROM history WHERE row < ?", (limit,))
    return Compacted(bounds.oldest, count - left[0][0])
