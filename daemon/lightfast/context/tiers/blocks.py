"""Writes blocks and their records: nothing is ever in neither place, and nothing twice.

A block counts once its row is in the table `blocks`, and that row comes in one SQLite transaction with what it
stands for: the rows that leave SQLite, the blocks it replaces. Before anything is appended to the archive a note of
the work is durable (`block_work`), with the number of the last frame by then; what a crash leaves behind is found by
it, and removed. Frames that were replaced are noted too (`block_waste`) until they are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from lightfast.context.kinds import Kind
from lightfast.context.tiers.shelf import Frames, Shelf
from lightfast.context.tiers.view import listed
from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition, Unavailable
from lightfast.core.ids import new_id
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.database import Database, Unit

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Block, Head, Label, Row

log = structlog.get_logger("lightfast.tiers")

MAX_ROWS = 1000
MAX_SIZE = 256 << 10
"""Bounds of a block: rows, and bytes of their texts; a transaction is never cut."""
RUN = "operation:"
"""How the origin of a run begins."""


class Part(NamedTuple):
    """What a block is to hold: the rows of the store from *first* to *last* that are still kept."""

    first: int
    last: int
    heads: Sequence[Head]
    rows: Sequence[Row]


class Written(NamedTuple):
    """A block in the archive that does not count yet."""

    part: Part
    label: Label
    frame: str
    bytes: int


class Known(NamedTuple):
    """A block that counts; *block* is missing where it cannot be read."""

    first: int
    last: int
    frame: str
    block: Block | None


class Blocks:
    """All changes to blocks: one at a time, under `lock`."""

    def __init__(self, db: Database, shelf: Shelf, clock: Clock, *, rows: int = MAX_ROWS) -> None:
        """*rows* is how many a block holds at most, unless one transaction has more."""
        self.rows = rows
        self.lock = asyncio.Lock()
        """Whoever reads what is to go into a block holds it from then on."""
        self._db = db
        self._shelf = shelf
        self._clock = clock
        self._recovered = False

    @property
    def frames(self) -> Frames:
        """Return the archive; raise `Unavailable` (ARCHIVE_MISSING) where there is none."""
        if self._shelf.frames is None:
            raise Unavailable("there is no archive open that history could move to", reason="ARCHIVE_MISSING")
        return self._shelf.frames

    async def write(self, parts: Sequence[Part]) -> tuple[str, list[Written]]:
        """Append *parts*, read them back and compare; return the token of the work and the blocks.

        Raises what the archive raises, and `FailedPrecondition` (BLOCK_DIFFERS). Then nothing counts.
        """
        from lightfast.context.tiers.block import KIND, Label  # only where something moves

        await self.recover()
        archive = self.frames
        token = new_id("work")
        ((highest,),) = await self._db.query("SELECT coalesce(max(serial), 0) FROM blocks")
        serial = max(highest + 1, self._clock.now_ns())
        labels = [Label(self._db.store_id, part.first, part.last, serial, token) for part in parts]
        datas = await asyncio.to_thread(lambda: [_packed(part) for part in parts])
        number = await archive.run(lambda reader: int(reader.next_number) - 1)
        unit = self._db.unit()
        unit.execute("INSERT INTO block_work VALUES(?, ?)", (token, number))
        await self._db.commit(unit)
        new = [
            NewFrame(data, KIND, metadata=label.metadata(), delta=False)
            for data, label in zip(datas, labels, strict=True)
        ]
        frames = await archive.append(new)

        def read_back(reader: Any) -> list[Any]:
            return [found.content if (found := reader.get(frame)) is not None else None for frame in frames]

        for frame, data, found in zip(frames, datas, await archive.run(read_back), strict=True):
            if found != data:
                raise FailedPrecondition(
                    f"the frame {frame} of the archive does not read back as it was written: "
                    "run `lightfast archive verify`; the history stays where it is",
                    reason="BLOCK_DIFFERS",
                    metadata={"frame": frame},
                )
        written = [
            Written(part, label, frame, len(data))
            for part, label, frame, data in zip(parts, labels, frames, datas, strict=True)
        ]
        return token, written

    async def replace(self, old: Sequence[Known], parts: Sequence[Part]) -> None:
        """Put *parts* in the place of the blocks *old*, in one transaction; the old frames are removed then."""
        token, written = await self.write(parts) if parts else ("", [])
        unit = self._db.unit()
        for known in old:
            forget(unit, known)
            unit.execute("INSERT OR IGNORE INTO block_waste VALUES(?)", (known.frame,))
        for block in written:
            record(unit, block)
        done(unit, token)
        await self._db.commit(unit)
        self._shelf.forget([known.frame for known in old])
        await self.clear()

    async def clear(self) -> None:
        """Remove the frames that were replaced; what cannot be removed now is tried again with the next work."""
        waste = [frame for (frame,) in await self._db.query("SELECT frame FROM block_waste LIMIT 1000")]
        if not waste:
            return
        await self.frames.remove(waste, reason="replaced by another block of history")
        unit = self._db.unit()
        unit.execute("DELETE FROM block_waste WHERE frame IN (SELECT value FROM json_each(?))", (listed(waste),))
        await self._db.commit(unit)

    async def recover(self) -> None:
        """Remove what works that were cut off have left in the archive; called before each work."""
        works = dict(await self._db.query("SELECT token, after_number FROM block_work"))
        if works:
            from lightfast.context.tiers.block import KIND, Label

            store = self._db.store_id

            def left(reader: Any) -> list[str]:
                found = []
                for frame in reader.scan(kinds=(KIND,), after_number=min(works.values())):
                    label = Label.of(frame.metadata)
                    if label is not None and label.store == store and label.token in works:
                        found.append(frame.frame_id)
                return found

            frames = await self.frames.run(left)
            count = {frame for (frame,) in await self._db.query("SELECT frame FROM blocks")} if frames else set()
            unit = self._db.unit()
            orphans = [frame for frame in frames if frame not in count]
            unit.insert("INSERT OR IGNORE INTO block_waste VALUES(?)", [(frame,) for frame in orphans])
            unit.insert("DELETE FROM block_work WHERE token = ?", [(token,) for token in works])
            await self._db.commit(unit)
            log.info("work on the archive was cut off: its frames are removed", frames=len(orphans))
        if works or not self._recovered:
            self._recovered = True
            await self.clear()


def done(unit: Unit, token: str) -> None:
    """Note in *unit* that a work is done."""
    unit.execute("DELETE FROM block_work WHERE token = ?", (token,))


def record(unit: Unit, written: Written) -> None:
    """Add to *unit* what makes a block count."""
    part = written.part
    heads, rows = part.heads, part.rows
    causes = [head.cause for head in heads if head.cause]
    events = [row.event_time for row in rows]
    unit.execute(
        "INSERT INTO blocks VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(part.first, part.last, written.frame, written.label.serial),
            *((heads[0].revision, heads[-1].revision) if heads else (0, 0)),
            *((heads[0].record_time, heads[-1].record_time) if heads else (0, 0)),
            *((min(events), max(events)) if events else (0, 0)),
            *((min(causes), max(causes)) if causes else (0, 0)),
            *(len(rows), written.bytes),
        ),
    )
    by_path: dict[str, list[Row]] = {}
    for row in rows:
        by_path.setdefault(row.path, []).append(row)
    unit.insert(
        "INSERT INTO block_paths VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(path, part.first, mine[0].row, mine[-1].row, len(mine), mine[-1].kind),
                *(min([row.event_time for row in mine]), max([row.event_time for row in mine])),
            )
            for path, mine in sorted(by_path.items())
        ],
    )
    moves = [(row.path, row.row, row.source) for row in rows if row.kind == Kind.MOVE and row.source is not None]
    unit.insert("INSERT OR REPLACE INTO block_moves VALUES(?, ?, ?)", moves)
    unit.insert("INSERT INTO block_names VALUES(?, ?)", [(name, part.first) for name in names_of(heads)])
    unit.insert(
        "INSERT OR REPLACE INTO block_undos VALUES(?, ?)",
        [(head.revision, head.undone) for head in heads if head.undone is not None],
    )


def forget(unit: Unit, known: Known) -> None:
    """Add to *unit* what takes the records of a block away."""
    first, last, block = known.first, known.last, known.block
    if block is None:  # whatever it holds: looked for in the whole tables
        unit.execute("DELETE FROM block_paths WHERE block = ?", (first,))
        unit.execute("DELETE FROM block_names WHERE block = ?", (first,))
    else:
        paths, names = listed(list(block.paths)), listed(names_of(list(block.heads())))
        chosen = "IN (SELECT value FROM json_each(?))"
        unit.execute(f"DELETE FROM block_paths WHERE path {chosen} AND block = ?", (paths, first))  # noqa: S608
        unit.execute(f"DELETE FROM block_names WHERE name {chosen} AND block = ?", (names, first))  # noqa: S608
    unit.execute("DELETE FROM block_moves WHERE row BETWEEN ? AND ?", (first, last))
    unit.execute(
        "DELETE FROM block_undos WHERE revision BETWEEN (SELECT first_revision FROM blocks WHERE first = ?1)"
        " AND (SELECT last_revision FROM blocks WHERE first = ?1)",
        (first,),
    )
    unit.execute("DELETE FROM blocks WHERE first = ?", (first,))


def names_of(heads: Sequence[Head]) -> list[str]:
    """Return what any of *heads* can be looked for by."""
    return sorted({name for head in heads for name in named(head)})


def named(head: Head) -> set[str]:
    """Return what a transaction is looked for by: its group (`g…`), and the origin of a run (`ooperation:…`)."""
    names = {"g" + head.group} if head.group else set()
    return names | {"o" + head.origin} if head.origin.startswith(RUN) else names


def parts_of(first: int, last: int, rows: Sequence[Row], most: int) -> list[Part]:
    """Return parts of at most *most* rows, without transactions, for all that is left from *first* to *last*."""
    parts: list[Part] = []
    taken: list[Row] = []
    size = 0
    for row in rows:
        if taken and (len(taken) == most or size > MAX_SIZE):
            parts.append(Part(first, row.row - 1, (), taken))
            first, taken, size = row.row, [], 0
        taken.append(row)
        size += len(row.text)
    if taken:
        parts.append(Part(first, last, (), taken))
    return parts


def _packed(part: Part) -> bytes:
    """Return the bytes of *part*, sure that they give it back to the letter."""
    from lightfast.context.tiers.block import Block, pack

    data = pack(part.heads, part.rows)
    block = Block(data)
    if list(block.rows()) != list(part.rows) or list(block.heads()) != list(part.heads):
        raise FailedPrecondition(
            f"the rows {part.first} to {part.last} of the history cannot be packed exactly, so they stay in SQLite: "
            "please report this",
            reason="BLOCK_DIFFERS",
        )
    return data
