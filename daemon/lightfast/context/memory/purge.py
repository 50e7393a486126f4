"""The memory takes part in a purge: items that are named, or hold the text, go with all that was derived of them.

What goes: every version, its words in the index (which is written anew, since an index only marks what is deleted),
its vectors in the database and in memory, its news, the kept answers that name it, and its frames in the archive.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from lightfast.context.memory import lookups, rows
from lightfast.context.memory.archived import KIND
from lightfast.context.memory.store import MemoryStore
from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.core.errors import NotFound
from lightfast.storage.database import Database

_STEP = 2000
"""Items looked at in one reading."""


class MemoryRoom:
    """Implements `lightfast.context.upkeep.purge_target.Purgeable`; an item is the id of a memory or a relation.

    Relations that name a purged path, or a purged memory by its id or key, go with it.
    """

    name = "memories"

    def __init__(self, memory: MemoryStore, db: Database) -> None:
        self._memory = memory
        self._db = db

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the ids of memories and relations."""
        named = await self._named(target)
        if named:
            yield list(named)
        names = {name for item in named.values() for name in (item.item_id, item.key) if name}
        if not (names or target.patterns or target.needles):
            return
        in_archive = await self._in_archive(target)
        after = -1
        while True:
            found, after, more = await self._db.read(
                partial(_look, target=target, names=names, in_archive=in_archive, after=after)
            )
            found = [item_id for item_id in found if item_id not in named]
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]
            if not more:
                return

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Delete them, and all that was derived of them."""
        done = 0
        for start in range(0, len(items), BATCH):
            done += await self._erase([str(item) for item in items[start : start + BATCH]])
        archive = self._memory.archived.archive
        if archive is not None and items:
            frame_ids = await self._memory.archived.frames_of([str(item) for item in items])
            if frame_ids:
                await archive.remove(frame_ids, reason=f"purged by {purge_id}")
        if items:
            unit = self._db.unit()
            unit.execute("INSERT INTO memory_words(memory_words) VALUES('optimize')")
            await self._db.commit(unit)
        return done

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []

    async def _named(self, target: Target) -> dict[str, rows.Item]:
        if not target.memories:
            return {}
        found = await self._db.read(partial(lookups.named, names=list(target.memories)))
        for name in target.memories:
            if name not in found:
                raise NotFound(f"there is no memory {name!r:.100}", reason="MEMORY_NOT_FOUND", field="memories")
        return {found[name].item_id: found[name] for name in target.memories}

    async def _in_archive(self, target: Target) -> set[str]:
        """Return the ids of items whose frames hold the text."""
        archive, needles = self._memory.archived.archive, target.needles
        if archive is None or needles is None:
            return set()

        def scan(reader: Any) -> set[str]:
            return {
                str(frame.metadata.get("memory_id"))
                for frame in reader.scan(kinds=(KIND,))
                if needles.in_value(frame.content) or needles.in_value(frame.metadata)
            }

        return await archive.run(scan)

    async def _erase(self, ids: list[str]) -> int:
        found = await self._db.read(
            partial(rows.items, where="i.item_id IN (SELECT value FROM json_each(?))", bindings=(rows.listed(ids),))
        )
        async with self._memory.locks.hold(*(item.lock for item in found)):
            numbers = rows.listed(item.item for item in found)
            texts = await self._db.query(
                "SELECT wording, text FROM memory_wordings WHERE item IN (SELECT value FROM json_each(?))", (numbers,)
            )
            unit = self._db.unit()
            for item in found:
                rows.drop(unit, item.item)
            unit.execute("DELETE FROM memory_items WHERE item IN (SELECT value FROM json_each(?))", (numbers,))
            listed = rows.listed(ids)
            unit.execute(
                "DELETE FROM events WHERE entity_type IN ('memory', 'relation')"
                " AND entity_id IN (SELECT value FROM json_each(?))",
                (listed,),
            )
            unit.execute(
                "DELETE FROM requests WHERE method IN ('Remember', 'Relate', 'Forget')"
                " AND EXISTS (SELECT 1 FROM json_each(?) j WHERE instr(response, j.value))",
                (listed,),
            )
            await self._db.commit(unit)
            await self._memory.spaces.removed([number for number, _ in texts], [text for _, text in texts])
        return len(found)


_TEXTS = (
    "SELECT json_array(i.item, i.item_id, i.key, i.subject, i.predicate, i.object, (SELECT json_group_array(json_array("
    "w.text, w.tags)) FROM memory_wordings w WHERE w.item = i.item), (SELECT json_group_array(json_array(v.metadata,"
    " v.source, v.origin, v.reason)) FROM memory_versions v WHERE v.item = i.item)) AS line FROM memory_items i"
    " WHERE i.item > ? ORDER BY i.item LIMIT ?"
)


def _look(
    connection: Any, target: Target, names: set[str], in_archive: set[str], after: int
) -> tuple[list[str], int, bool]:
    """Return the ids that are to go of the next items, the last item looked at, and whether there are more."""
    found = []
    listed = rows.page(connection, _TEXTS, (after, _STEP))
    for number, item_id, key, subject, predicate, thing, wordings, versions in listed:
        after = number
        ends = {subject, thing}
        if (
            ends & names
            or any(end.startswith("/") and target.path_matches(end) for end in ends)
            or item_id in in_archive
            or (
                target.needles is not None
                and target.needles.in_value([key, subject, predicate, thing, wordings, versions])
            )
        ):
            found.append(item_id)
    return found, after, len(listed) == _STEP
