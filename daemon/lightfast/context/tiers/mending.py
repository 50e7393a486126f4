"""Changes to what is archived already: a purge takes rows out, a rebuild makes the records anew from the frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from lightfast.context.kinds import Kind
from lightfast.context.tiers.block import KIND, Block, Head, Label, Row
from lightfast.context.tiers.blocks import Blocks, Known, Part, Written, record
from lightfast.context.tiers.past import Past
from lightfast.context.tiers.shelf import Gone
from lightfast.context.upkeep.purge_history import Edit, edits_of, reason_of
from lightfast.context.upkeep.purge_target import BATCH, Target
from lightfast.storage.database import Unit

log = structlog.get_logger("lightfast.tiers")

_STEP = 200
_parse = msgspec.json.Decoder().decode


class Rebuilt(NamedTuple):
    """What a rebuild found: blocks that count, their rows, frames that another block supersedes, and lost blocks.

    Of a lost block no frame can be read. What is known of it stays, so that a read of it is refused, and gives no
    older value instead.
    """

    blocks: int
    rows: int
    superseded: int
    lost: int


class Progress(Protocol):
    """Hears how many frames were read."""

    def __call__(self, done: int, /) -> None:
        """Take it."""


async def every(past: Past) -> AsyncIterator[Known]:
    """Yield all blocks, oldest first; one that cannot be read comes without its block."""
    position = -1
    while True:
        found = await past.db.query(
            "SELECT first, last, frame FROM blocks WHERE first > ? ORDER BY first LIMIT ?", (position, _STEP)
        )
        if not found:
            return
        for first, last, frame in found:
            position = first
            try:
                block = await past.shelf.get(frame)
            except Gone as gone:
                fresh = await past.db.query("SELECT frame FROM blocks WHERE first = ?", (first,))
                if fresh and fresh[0][0] != frame:
                    position = first - 1
                    break  # it was rewritten meanwhile: look again
                log.warning("a block of history cannot be read", frame=frame, why=gone.why)
                yield Known(first, last, frame, None)
                continue
            yield Known(first, last, frame, block)


async def find_edits(past: Past, target: Target) -> AsyncIterator[Sequence[Edit]]:
    """Yield what a purge of *target* does to archived rows, at most `BATCH` at once."""
    async for known in every(past):
        if known.block is not None:
            edits = await asyncio.to_thread(_look, known.block, target)
            for start in range(0, len(edits), BATCH):
                yield edits[start : start + BATCH]


async def edit(past: Past, blocks: Blocks, edits: Sequence[Edit], purge_id: str) -> int:
    """Do *edits* to those of the rows that are archived; return how many those were."""
    rows = {edit.row: edit.action for edit in edits if edit.action in "-~=<"}
    heads: dict[int, str] = {}
    for each in edits:
        if each.action in "lgo":
            heads[each.row] = heads.get(each.row, "") + each.action
    count = 0
    async with blocks.lock:
        for known in await _touched(past, rows, heads):
            block = known.block
            if block is None:
                continue
            new_rows = [changed for row in block.rows() for changed in _edited(row, rows.get(row.row, ""), purge_id)]
            new_heads = [_edited_head(head, heads.get(head.revision, ""), purge_id) for head in block.heads()]
            here = sum([number in rows for number in block.numbers])
            here += sum([len(heads.get(head.revision, "")) for head in block.heads()])
            if not here:
                continue
            count += here
            parts = [Part(known.first, known.last, new_heads, new_rows)] if new_heads or new_rows else []
            await blocks.replace([known], parts)
    return count


async def rewrite(past: Past, blocks: Blocks, unwanted: Callable[[Row], bool]) -> int:
    """Take the rows that are *unwanted* out of every block; return how many they were."""
    count = 0
    async with blocks.lock:
        async for known in every(past):
            if known.block is None:
                continue
            block = known.block
            rows = await asyncio.to_thread(_without, block, unwanted)
            if len(rows) < len(block):
                count += len(block) - len(rows)
                heads = list(block.heads())
                parts = [Part(known.first, known.last, heads, rows)] if heads or rows else []
                await blocks.replace([known], parts)
    return count


async def rebuild(past: Past, blocks: Blocks, progress: Progress | None = None) -> Rebuilt:
    """Make the records of the blocks anew from the frames of the archive alone."""
    async with blocks.lock:
        await blocks.recover()
        labels: list[tuple[Label, str]] = []
        sizes: dict[str, int] = {}
        store = past.db.store_id

        def look(reader: Any) -> None:
            for number, frame in enumerate(reader.scan(kinds=(KIND,)), 1):
                label = Label.of(frame.metadata)
                if label is not None and label.store == store:
                    labels.append((label, frame.frame_id))
                    sizes[frame.frame_id] = len(frame.content)
                if progress is not None and number % 100 == 0:
                    progress(number)

        await blocks.frames.run(look)
        ((first_here,),) = await past.db.query("SELECT min(first) FROM transactions")
        holding, waste = _holding(labels, first_here)
        unit = past.db.unit()
        lost = await _lost(past, holding)
        _forget_all(unit, lost)
        unit.insert("INSERT OR IGNORE INTO block_waste VALUES(?)", [(frame,) for frame in waste])
        rows = 0
        for label, frame in holding:
            try:
                block = await past.shelf.get(frame)
            except Gone as gone:
                log.warning("a block of history cannot be read", frame=frame, why=gone.why)
                continue
            part = Part(label.first, label.last, list(block.heads()), list(block.rows()))
            record(unit, Written(part, label, frame, sizes[frame]))
            rows += len(block)
        await past.db.commit(unit)
        past.shelf.forget()
        await blocks.clear()
        if lost:
            log.warning(
                "blocks of history are lost: what they held is refused by name", frames=[row[2] for row in lost]
            )
        return Rebuilt(len(holding), rows, len(waste), len(lost))


async def _lost(past: Past, holding: Sequence[tuple[Label, str]]) -> list[tuple[int, int, str]]:
    """Return first and last row and the frame of the known blocks that none of *holding* covers."""
    spans = [(label.first, label.last) for label, _ in holding]
    found = []
    for first, last, frame in await past.db.query("SELECT first, last, frame FROM blocks ORDER BY first"):
        if not any(low <= last and first <= high for low, high in spans):
            found.append((first, last, frame))
    return found


def _forget_all(unit: Unit, kept: Sequence[tuple[int, int, str]]) -> None:
    """Add to *unit* what takes all records away but those of the blocks *kept*."""
    firsts = msgspec.json.encode([first for first, _, _ in kept]).decode()
    listed = "(SELECT value FROM json_each(?))"
    unit.execute(f"DELETE FROM block_paths WHERE block NOT IN {listed}", (firsts,))  # noqa: S608  (constants)
    unit.execute(f"DELETE FROM block_names WHERE block NOT IN {listed}", (firsts,))  # noqa: S608
    unit.execute(f"DELETE FROM blocks WHERE first NOT IN {listed}", (firsts,))  # noqa: S608
    unit.execute(
        "DELETE FROM block_moves WHERE NOT EXISTS"
        " (SELECT 1 FROM blocks b WHERE block_moves.row BETWEEN b.first AND b.last)"
    )
    unit.execute(
        "DELETE FROM block_undos WHERE NOT EXISTS (SELECT 1 FROM blocks b"
        " WHERE block_undos.revision BETWEEN b.first_revision AND b.last_revision)"
    )


def _holding(labels: Sequence[tuple[Label, str]], first_here: int | None) -> tuple[list[tuple[Label, str]], list[str]]:
    """Return which frames count, and which others have taken the place of: the work of the higher serial holds."""
    spans: list[tuple[int, int]] = []
    holding: list[tuple[Label, str]] = []
    waste: list[str] = []
    by_work: dict[tuple[int, str], list[tuple[Label, str]]] = {}
    for label, frame in labels:
        by_work.setdefault((label.serial, label.token), []).append((label, frame))
    for _, work in sorted(by_work.items(), reverse=True):
        mine = []
        for label, frame in work:
            over = any(label.first <= last and first <= label.last for first, last in spans)
            if over or (first_here is not None and label.last >= first_here):
                waste.append(frame)
            else:
                holding.append((label, frame))
                mine.append((label.first, label.last))
        spans += mine
    return sorted(holding, key=lambda each: each[0].first), waste


async def _touched(past: Past, rows: dict[int, str], heads: dict[int, str]) -> list[Known]:
    """Return the blocks that hold any of *rows* and of the transactions *heads*."""
    query = (
        "SELECT first, last, frame FROM blocks b WHERE EXISTS (SELECT 1 FROM json_each(?) WHERE value BETWEEN b.first"
        " AND b.last) OR EXISTS (SELECT 1 FROM json_each(?) WHERE value BETWEEN b.first_revision AND b.last_revision)"
        " ORDER BY first"
    )
    listed = [msgspec.json.encode(sorted(numbers)).decode() for numbers in (rows, heads)]
    known = []
    for first, last, frame in await past.db.query(query, listed):
        try:
            known.append(Known(first, last, frame, await past.shelf.get(frame)))
        except Gone as gone:
            await past.check(gone, last=True)
    return known


def _look(block: Block, target: Target) -> list[Edit]:
    needles = target.needles
    edits: list[Edit] = []
    for row in block.rows():
        in_entry = needles is not None and needles.in_value(row.text)
        edits += edits_of(target, row.row, row.path, row.kind, row.source, in_entry=in_entry)
    if needles is not None:
        for head in block.heads():
            texts = (("l", head.label), ("g", head.group), ("o", head.origin))
            edits += [Edit(head.revision, action) for action, text in texts if needles.in_value(text)]
    return edits


def _without(block: Block, unwanted: Callable[[Row], bool]) -> list[Row]:
    return [row for row in block.rows() if not unwanted(row)]


def _edited(row: Row, action: str, purge_id: str) -> Iterator[Row]:
    """Yield what becomes of *row*; the same as in `lightfast.context.upkeep.purge_history`."""
    if action == "~":
        fields = [None, *_parse(row.text)[1:7], {"reason": reason_of(purge_id)}]
        yield row._replace(kind=Kind.DELETE, source=None, text=msgspec.json.encode(fields).decode())
    elif action == "=":
        yield row._replace(kind=Kind.SET, source=None)
    elif action == "<":
        yield row._replace(kind=Kind.DELETE) if row.kind == Kind.LEFT else row
    elif action != "-":
        yield row


def _edited_head(head: Head, actions: str, purge_id: str) -> Head:
    reason = reason_of(purge_id)
    return head._replace(
        label=reason if "l" in actions else head.label,
        group=reason if "g" in actions else head.group,
        origin=reason if "o" in actions else head.origin,
    )
