"""What is live and is to go."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from lightfast.context.declarations import RESERVED
from lightfast.context.store import Store
from lightfast.context.upkeep.purge_history import STEP, condition, may_hold
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.context.upkeep.purge_target import Target
from lightfast.storage.database import Database
from lightfast_link.path import is_under


async def live_paths(db: Database, store: Store, target: Target) -> list[str]:
    """Return the paths of the live entries that *target* means, ordered.

    What the daemon itself tells, below `/lightfast`, is not meant by a pattern.
    """
    found = {
        path
        for pattern in target.patterns
        for paths in store.visit(pattern)
        for path in paths
        if not is_under(path, RESERVED)
    }
    needles = target.needles
    if needles is not None:
        await store.drain()
        query = "SELECT coalesce(min(row), 0), coalesce(max(row), -1) FROM live"
        ((low, last),) = await db.query(query)
        for begin in range(max(low, target.after_row), last + 1, STEP):
            found.update(await db.read(partial(_holding, needles=needles, low=begin, high=begin + STEP)))
        # A signal that moves is on no disk yet.
        moving = [entry for entry in store.select("//") if entry.signal and not entry.revision]
        found.update(
            entry.path
            for entry in moving
            if needles.in_text(entry.path) or needles.in_value(entry.value) or needles.in_value(entry.reported)
        )
    return sorted(path for path in found if store.get(path) is not None)


def _holding(connection: Any, needles: Needles, low: int, high: int) -> list[str]:
    """Return the paths whose live values lie in the rows from *low* up to before *high*, and hold one of *needles*."""
    if not may_hold(connection, needles, low, high):
        return []
    where, params = condition(("history.entry", "history.path"), needles)
    query = (
        "SELECT json_group_array(live.path) FROM history JOIN live ON live.path = history.path"  # noqa: S608  (constants)
        f" AND live.row = history.row WHERE history.row >= :low AND history.row < :high AND ({where})"
    )
    for (listed,) in connection.execute(query, {**params, "low": low, "high": high}):
        return list(msgspec.json.decode(listed))
    return []
