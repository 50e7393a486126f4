"""Numbers and times of what is written next, and the writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lightfast.context.memory import rows
from lightfast.context.memory.rows import Item
from lightfast.context.memory.spaces import Spaces
from lightfast.context.memory.validity import Row
from lightfast.core.clock import Clock
from lightfast.storage.database import Database, Unit

EVENTS_KEPT = 1_000_000
"""So many events are kept for whoever consumes them; of more the oldest go, processed or not."""
_SWEEP_EVERY = 10_000
_LAST_EVENT = "SELECT create_time FROM events WHERE entity_type IN ('memory', 'relation') ORDER BY event DESC LIMIT 1"


class Ledger:
    """Gives out numbers in the order in which things are written; *known* is the record time of the last commit."""

    def __init__(self, db: Database, clock: Clock, spaces: Spaces) -> None:
        self._db = db
        self._clock = clock
        self._spaces = spaces
        self._item = self._wording = self._row = 0
        self._events = 0
        self._time = 0
        self.known = 0

    async def open(self) -> None:
        """Read where the last run ended."""

        def last(connection: Any) -> list[int]:
            numbers = (
                "SELECT max(item) FROM memory_items",
                "SELECT max(wording) FROM memory_wordings",
                "SELECT max(row) FROM memory_versions",
                "SELECT max(record_time) FROM memory_versions",
                # What was archived has left its last time here alone.
                f"SELECT max(create_time) FROM ({_LAST_EVENT})",  # noqa: S608
            )
            return [value or 0 for query in numbers for (value,) in connection.execute(query)]

        self._item, self._wording, self._row, recorded, written = await self._db.read(last)
        self._time = self.known = max(recorded, written)

    def batch(self) -> Batch:
        """Begin what is committed together. Nothing may be awaited from here to `Batch.commit`."""
        self._time = max(self._clock.now_ns(), self._time + 1)
        return Batch(self, self._db.unit(), self._time)

    def next_item(self) -> int:
        """Return the number of a new item."""
        self._item += 1
        return self._item

    def next_wording(self) -> int:
        """Return the number of a new wording."""
        self._wording += 1
        return self._wording

    def next_row(self) -> int:
        """Return the number of a new row."""
        self._row += 1
        return self._row

    def sweeps(self) -> bool:
        """Count one event, and say whether old ones are to go with it."""
        self._events += 1
        return self._events % _SWEEP_EVERY == 1

    async def write(self, batch: Batch) -> None:
        """Commit *batch*; when this returns, it survives a power cut."""
        full = False

        def written(error: BaseException | None) -> None:
            nonlocal full
            if error is None:  # also where nobody waits any more: what is on disk is found
                self.known = max(self.known, batch.time)
                for wording, vector in batch.vectors:
                    full = self._spaces.added(wording, vector) or full

        await self._db.commit(batch.unit, written)
        if full:
            await self._spaces.take_in()

    def write_vector(self, unit: Unit, wording: int, vector: bytes) -> None:
        """Write the vector of a wording."""
        self._spaces.write(unit, wording, vector)


class Batch:
    """What is committed together, at the record time *time*."""

    def __init__(self, ledger: Ledger, unit: Unit, time: int) -> None:
        self.unit = unit
        self.time = time
        self.vectors: list[tuple[int, bytes]] = []
        self._ledger = ledger

    def new_item(self, item: Item) -> Item:
        """Write a new item and return it with its number."""
        item = item._replace(item=self._ledger.next_item())
        rows.add_item(self.unit, item)
        return item

    def add(self, added: Sequence[Row], vector: bytes | None = None) -> list[Row]:
        """Write rows and return them with their numbers; one without a wording gets one, with this *vector*."""
        found = []
        for row in added:
            wording = row.wording
            if not wording:
                wording = self._ledger.next_wording()
                rows.add_wording(self.unit, wording, row)
                if vector is not None:
                    self._ledger.write_vector(self.unit, wording, vector)
                    self.vectors.append((wording, vector))
            found.append(msgspec.structs.replace(row, row=self._ledger.next_row(), wording=wording))
        rows.add_rows(self.unit, found)
        rows.touch(self.unit, found)
        return found

    def event(self, event_type: str, item: Item, **payload: Any) -> None:
        """Write news for whoever consumes the table `events`; never a content, which could not be purged from there."""
        body = msgspec.json.encode(payload).decode()
        kind = "relation" if item.form else "memory"
        self.unit.execute(
            "INSERT INTO events VALUES(NULL, ?, ?, ?, ?, ?, NULL)",
            (event_type, kind, item.item_id, body, self.time),
        )
        if self._ledger.sweeps():
            self.unit.execute("DELETE FROM events WHERE event <= (SELECT max(event) FROM events) - ?", (EVENTS_KEPT,))

    async def commit(self) -> None:
        """Write it."""
        await self._ledger.write(self)
