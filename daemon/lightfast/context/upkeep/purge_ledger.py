"""What is written down of purges: the intent, by items alone, and the tombstone."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from lightfast.context.upkeep.purge_target import Item
from lightfast.storage.database import Database, Unit


class State(StrEnum):
    """How a purge stands. One that only searched has changed nothing, and is dropped at the next start."""

    SEARCHING = "searching"
    RUNNING = "running"
    DONE = "done"


class Tombstone(msgspec.Struct, frozen=True):
    """What a purge leaves behind; times in ns since 1970. *removed* says how much went, by room."""

    purge_id: str
    time: int
    origin: str
    reason: str
    removed: dict[str, int]


class Ledger:
    """The tables `purges` and `purge_work`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def begin(self, tombstone: Tombstone) -> None:
        """Write down that a purge searches."""
        await self._do(
            "INSERT INTO purges VALUES(?, ?, ?, 0, ?, ?, '{}')",
            (tombstone.purge_id, State.SEARCHING, tombstone.time, tombstone.origin, tombstone.reason),
        )

    async def add(self, purge_id: str, room: str, items: Sequence[Item]) -> None:
        """Write down what it found."""
        await self._do(
            "INSERT INTO purge_work(purge_id, room, items) VALUES(?, ?, ?)",
            (purge_id, room, msgspec.json.encode(list(items)).decode()),
        )

    async def decide(self, purge_id: str) -> None:
        """Write down that all it found is to go: from now on it is finished, whatever happens."""
        await self._do("UPDATE purges SET state = ? WHERE purge_id = ?", (State.RUNNING, purge_id))

    async def work(self, purge_id: str) -> list[tuple[int, str]]:
        """Return what is still to go: numbers of work and their rooms, in order."""
        rows = await self._db.query("SELECT id, room FROM purge_work WHERE purge_id = ? ORDER BY id", (purge_id,))
        return [(number, room) for number, room in rows]

    async def items(self, number: int) -> list[Item]:
        """Return the items of one piece of work."""
        ((text,),) = await self._db.query("SELECT items FROM purge_work WHERE id = ?", (number,))
        return msgspec.json.decode(text, type=list[Item])

    async def did(self, purge_id: str, number: int, removed: dict[str, int]) -> None:
        """Write down that a piece of work is done, and how much went by now."""
        unit = self._db.unit()
        unit.execute("DELETE FROM purge_work WHERE id = ?", (number,))
        unit.execute(
            "UPDATE purges SET removed = ? WHERE purge_id = ?", (msgspec.json.encode(removed).decode(), purge_id)
        )
        await self._db.commit(unit)

    def end(self, unit: Unit, tombstone: Tombstone) -> None:
        """Add to *unit* that the purge is done."""
        unit.execute(
            "UPDATE purges SET state = ?, end_time = ?, removed = ? WHERE purge_id = ?",
            (State.DONE, tombstone.time, msgspec.json.encode(tombstone.removed).decode(), tombstone.purge_id),
        )

    async def drop(self, purge_id: str) -> None:
        """Forget a purge that only searched."""
        unit = self._db.unit()
        unit.execute("DELETE FROM purge_work WHERE purge_id = ?", (purge_id,))
        unit.execute("DELETE FROM purges WHERE purge_id = ? AND state = ?", (purge_id, State.SEARCHING))
        await self._db.commit(unit)

    async def listed(self, state: State) -> list[Tombstone]:
        """Return the purges in one state, oldest first; the time is that of the end, or else of the beginning."""
        rows = await self._db.query(
            "SELECT purge_id, max(create_time, end_time), origin, reason, removed FROM purges WHERE state = ?"
            " ORDER BY create_time",
            (state,),
        )
        return [
            Tombstone(purge_id, time, origin, reason, msgspec.json.decode(removed, type=dict[str, int]))
            for purge_id, time, origin, reason, removed in rows
        ]

    async def _do(self, sql: str, params: tuple[Any, ...]) -> None:
        unit = self._db.unit()
        unit.execute(sql, params)
        await self._db.commit(unit)
