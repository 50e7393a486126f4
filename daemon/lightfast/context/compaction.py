"""Drops old history, in steps that let other writes through."""

from __future__ import annotations

from lightfast.context.reader import Bounds
from lightfast.context.records import Compacted
from lightfast.context.tiers.tiers import Tiers
from lightfast.core.errors import InvalidArgument
from lightfast.storage.database import Database

_STEP = 5000


async def compact(db: Database, bounds: Bounds, tiers: Tiers, revision: int) -> Compacted:
    """Drop what only revisions before *revision* need, from every tier; the values at that revision stay.

    First the bound is made durable, so that nobody reads what is about to go; after a crash in
    between, the next call drops the rest.
    """
    if revision < 0:
        raise InvalidArgument(f"revision is {revision}: revisions begin at 0", field="revision")
    bounds.check(max(revision, bounds.oldest))
    async with tiers.blocks.lock:
        before, revision = bounds.oldest, max(revision, bounds.oldest)
        unit = db.unit()
        unit.execute("INSERT OR REPLACE INTO meta VALUES('oldest_revision', ?)", (revision,))
        await db.commit(unit)
        bounds.oldest = max(bounds.oldest, revision)
        # The archive first: what hides an archived row must not go before it.
        dropped = await tiers.drop(revision)
        dropped += await _from_database(db, tiers, revision)
        await _forget_moves(db, before)
        tiers.results.clear()
        return Compacted(bounds.oldest, dropped)


async def _forget_moves(db: Database, revision: int) -> None:
    """Drop the moves up to *revision* that no scene has to follow any more.

    A scene is saved as of a revision that can be read, and one that is being saved right now was begun under the bound
    before this one: that is what *revision* is.
    """
    unit = db.unit()
    unit.execute(
        "DELETE FROM scene_moves WHERE revision <= min(?1,"
        " coalesce((SELECT min(coalesce(body ->> '$.followed', 0)) FROM scenes), ?1))",
        (revision,),
    )
    await db.commit(unit)


async def _from_database(db: Database, tiers: Tiers, revision: int) -> int:
    limit = await tiers.limit_of(revision)
    found = await db.query(
        "SELECT min(row), (SELECT count(*) FROM history WHERE row < ?), (SELECT min(revision) FROM transactions)"
        " FROM history",
        (limit,),
    )
    first, count, oldest = found[0]
    if not limit or first is None:
        return 0
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
    return int(count - left[0][0])
