"""Memories in the archive: where old and insignificant ones go, and how they come back.

A demoted memory is one frame of kind `memory` with all its states: the content is its texts, the metadata the rest.
Its item stays in the database, so that its id and its key are found; writing to it brings it back first. A frame
counts only as long as its item points to it, so a crash between the two costs nothing but its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from lightfast.context.memory import rows
from lightfast.context.memory.asked import Asked
from lightfast.context.memory.ledger import Ledger
from lightfast.context.memory.locks import NamedLocks
from lightfast.context.memory.rows import RELATION, Item
from lightfast.context.memory.spaces import Spaces
from lightfast.context.memory.validity import Row
from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.storage.archive.records import Frame, Hit, Match, NewFrame, Order, Query
from lightfast.storage.database import Database

T = TypeVar("T")

KIND = "memory"
AT_ONCE = 100
SEARCHED = 200
"""So many of the most relevant frames of the archive are looked at."""


class LongTerm(Protocol):
    """What the memory asks of the archive; `lightfast.storage.archive.archive.Archive` is one."""

    async def append(self, frames: Sequence[NewFrame]) -> list[str]:
        """Append frames; durable on return."""

    async def get(self, frame_ids: Sequence[str]) -> dict[str, Frame]:
        """Return the frames that can be read."""

    async def why(self, frame_ids: Sequence[str]) -> dict[str, str]:
        """Return the reasons for those that cannot."""

    async def run(self, function: Callable[[Any], T]) -> T:
        """Run *function* with a reader, in a thread of the archive."""

    async def search(self, query: Query) -> list[Hit]:
        """Search the archive."""

    async def remove(self, frame_ids: Sequence[str], *, reason: str) -> int:
        """Remove frames from the disk."""


class Archived:
    """Moves items between the database and the *archive*, and looks into it."""

    def __init__(
        self, db: Database, ledger: Ledger, spaces: Spaces, locks: NamedLocks, archive: LongTerm | None
    ) -> None:
        self._db = db
        self._ledger = ledger
        self._spaces = spaces
        self._locks = locks
        self.archive = archive

    async def demote(self, ids: Sequence[str]) -> list[str]:
        """Move memories and relations (by id) into the archive; return the ids of those that went.

        Unknown ones, those that are there already, and relations that hold now or later are left out. Every frame is
        read back and compared before the rows go.
        """
        gone: list[str] = []
        for at in range(0, len(ids), AT_ONCE):
            gone += await self._demote(list(ids[at : at + AT_ONCE]))
        return gone

    async def restore(self, ids: Sequence[str]) -> list[str]:
        """Bring memories and relations (by id) back from the archive; return the ids of those that came."""
        found = await self._db.read(partial(_items, ids=list(ids)))
        back: list[str] = []
        async with self._locks.hold(*(item.lock for item in found)):
            for item in await self._db.read(partial(_items, ids=[item.item_id for item in found])):
                if item.frame:
                    await self.restore_held(item)
                    back.append(item.item_id)
        return back

    async def restore_held(self, item: Item) -> None:
        """Bring *item* back, whose lock is held; raise `Unavailable` or `FailedPrecondition` where that fails."""
        states = await self.states(item)
        vectors = {text: await self._spaces.trigrams(text) for text in {row.text for row in states}}
        batch = self._ledger.batch()
        wordings: dict[tuple[str, tuple[str, ...]], int] = {}
        for row in sorted(states, key=lambda row: row.record_time):
            # The same words get the same place again.
            wording = wordings.get((row.text, row.tags), 0)
            (added,) = batch.add([msgspec.structs.replace(row, wording=wording)], vectors[row.text])
            wordings[row.text, row.tags] = added.wording
        batch.unit.execute("UPDATE memory_items SET frame = '' WHERE item = ?", (item.item,))
        batch.event("restored", item)
        await batch.commit()

    async def states(self, item: Item) -> list[Row]:
        """Return all rows of an archived item."""
        if self.archive is None:
            raise FailedPrecondition(
                f"{item.item_id} is in the archive, which is switched off", reason="ARCHIVE_MISSING"
            )
        found = (await self.archive.get([item.frame])).get(item.frame)
        if found is None:
            why = (await self.archive.why([item.frame])).get(item.frame, "unknown")
            raise Unavailable(
                f"{item.item_id} is in the archive, and its frame {item.frame} cannot be read ({why}): "
                "'lightfast archive verify' says more",
                reason="FRAME_UNREADABLE",
                metadata={"frame_id": item.frame, "why": why},
            )
        return unpack(found, item.item)

    async def search(self, query: str, asked: Asked) -> list[tuple[Item, Row]]:
        """Return archived items that match and held at the times asked for, most relevant first."""
        if self.archive is None or not query.strip():
            return []
        wanted = Query(text=query, match=Match.ANY, order=Order.RELEVANCE, kinds=(KIND,), limit=SEARCHED)
        frames = [hit.frame for hit in await self.archive.search(wanted)]
        items = await self._db.read(partial(_by_frame, frames=[frame.frame_id for frame in frames]))
        found = []
        for frame in frames:
            item = items.get(frame.frame_id)
            if item is None or (item.form == RELATION and not asked.relations):
                continue
            for row in unpack(frame, item.item):
                if (
                    row.holds(asked.valid, asked.known)
                    and (not asked.kind or row.kind == asked.kind)
                    and set(asked.tags) <= set(row.tags)
                ):
                    found.append((item, row))
                    break
        return found

    async def frames_of(self, item_ids: Sequence[str]) -> list[str]:
        """Return all frames that ever held these items, those that no item points to any more included."""
        if self.archive is None:
            return []
        wanted = set(item_ids)

        def scan(reader: Any) -> list[str]:
            return [frame.frame_id for frame in reader.scan(kinds=(KIND,)) if frame.metadata.get("memory_id") in wanted]

        return await self.archive.run(scan)

    async def _demote(self, ids: list[str]) -> list[str]:
        if self.archive is None:
            raise FailedPrecondition("the archive is switched off: nothing can be demoted", reason="ARCHIVE_MISSING")
        listed = await self._db.read(partial(_items, ids=ids))
        async with self._locks.hold(*(item.lock for item in listed)):
            now = self._ledger.known
            found = await self._db.read(partial(_with_rows, ids=ids))
            going = [(item, states) for item, states in found if states and not _needed(item, states, now)]
            if not going:
                return []
            packed = [pack(item, states) for item, states in going]
            frame_ids = await self.archive.append(packed)
            _verify(frame_ids, packed, await self.archive.get(frame_ids))
            batch = self._ledger.batch()
            for (item, states), frame_id in zip(going, frame_ids, strict=True):
                until = max((row.valid_to for row in states if row.live), default=0)
                rows.drop(batch.unit, item.item)
                batch.unit.execute(
                    "UPDATE memory_items SET frame = ?, until = ? WHERE item = ?", (frame_id, until, item.item)
                )
                batch.event("demoted", item, frame_id=frame_id)
            await batch.commit()
            dropped = [row for _, states in going for row in states]
            await self._spaces.removed(list({row.wording for row in dropped}), list({row.text for row in dropped}))
            return [item.item_id for item, _ in going]


def _verify(frame_ids: Sequence[str], packed: Sequence[NewFrame], read: Mapping[str, Frame]) -> None:
    """Raise `Unavailable` unless the archive gives back what it was given."""
    for frame_id, wanted in zip(frame_ids, packed, strict=True):
        frame = read.get(frame_id)
        if frame is None or frame.content != wanted.content or _plain(frame.metadata) != dict(wanted.metadata):
            raise Unavailable(
                f"the frame {frame_id} does not read back as it was written, so nothing was moved: "
                "'lightfast archive verify' says more",
                reason="FRAME_UNREADABLE",
            )


def pack(item: Item, states: Sequence[Row]) -> NewFrame:
    """Return the frame of an item with all its rows."""
    texts = list(dict.fromkeys(row.text for row in sorted(states, key=lambda row: -row.record_time)))
    plain = [
        msgspec.to_builtins(msgspec.structs.replace(row, row=0, item=0, wording=texts.index(row.text), text=""))
        for row in states
    ]
    metadata = {"memory_id": item.item_id, "key": item.key, "lengths": [len(text) for text in texts], "rows": plain}
    metadata = msgspec.json.decode(msgspec.json.encode(metadata))
    time = max(row.record_time for row in states) // 1_000_000
    return NewFrame(content="\n".join(texts), kind=KIND, time_ms=time, metadata=metadata, delta=False)


def unpack(frame: Frame, item: int) -> list[Row]:
    """Return the rows of a frame, for the item of this number."""
    content = str(frame.content)
    texts, at = [], 0
    for length in frame.metadata["lengths"]:
        texts.append(content[at : at + length])
        at += length + 1
    found = msgspec.convert(frame.metadata["rows"], list[Row])
    return [msgspec.structs.replace(row, item=item, text=texts[row.wording], wording=0) for row in found]


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that is not the archive's own."""
    return {name: value for name, value in metadata.items() if not name.startswith("_")}


def _needed(item: Item, states: Sequence[Row], now: int) -> bool:
    """Say whether a relation must stay: one that holds decides what contradicts it."""
    return item.form == RELATION and any(row.live and not row.empty and row.valid_to > now for row in states)


def _items(connection: Any, ids: list[str]) -> list[Item]:
    return rows.items(connection, "i.item_id IN (SELECT value FROM json_each(?))", (rows.listed(ids),))


def _with_rows(connection: Any, ids: list[str]) -> list[tuple[Item, list[Row]]]:
    found = _items(connection, ids)
    of_items: dict[int, list[Row]] = {item.item: [] for item in found}
    for row in rows.rows(connection, "v.item IN (SELECT value FROM json_each(?))", (rows.listed(of_items),)):
        of_items[row.item].append(row)
    return [(item, of_items[item.item]) for item in found]


def _by_frame(connection: Any, frames: list[str]) -> dict[str, Item]:
    where = "i.frame <> '' AND i.frame IN (SELECT value FROM json_each(?))"
    return {item.frame: item for item in rows.items(connection, where, (rows.listed(frames),))}
