"""Compaction over both tiers: drops what only revisions before a bound need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightfast.context.tiers.block import Block, Row
from lightfast.context.tiers.blocks import Blocks, Known, Part, parts_of
from lightfast.context.tiers.past import Past
from lightfast.context.tiers.shelf import Gone
from lightfast.context.tiers.view import listed

_BATCH = 8
"""How many blocks are looked at, and become one or two, at a time."""


async def drop(past: Past, blocks: Blocks, revision: int, limit: int) -> int:
    """Drop from the archive what comes before the row *limit* and is not the last at its path; return how many rows.

    *limit* is the first row after *revision*; transactions before that go. It goes from old to new, so that nothing
    that hides an older row goes before it. Call it under the lock, before anything is dropped from SQLite.
    """
    dropped = 0
    position = -1
    while True:
        known = await _next(past, position, limit)
        if not known:
            return dropped
        position = known[-1].first
        kept = await past.db.read(lambda connection: _kept(connection, known, limit))  # noqa: B023
        run: list[tuple[Known, list[Row]]] = []
        for each, rows in zip(known, kept, strict=True):
            block = _whole(each)
            heads = [head for head in block.heads() if head.revision >= revision]
            if len(rows) == len(block) and len(heads) == block.head_count:  # nothing of it goes
                await _merge(blocks, run)
                run = []
                continue
            dropped += len(block) - len(rows)
            if not heads:
                run.append((each, rows))
            else:
                await _merge(blocks, run)
                run = []
                await blocks.replace([each], [Part(each.first, each.last, heads, rows)])
        await _merge(blocks, run)


async def _merge(blocks: Blocks, run: Sequence[tuple[Known, list[Row]]]) -> None:
    """Put what is left of blocks that follow each other into as few as it takes."""
    if run:
        left = [row for _, rows in run for row in rows]
        await blocks.replace([known for known, _ in run], parts_of(run[0][0].first, run[-1][0].last, left, blocks.rows))


def _whole(known: Known) -> Block:
    if known.block is None:
        raise AssertionError("a block that could not be read was not refused")
    return known.block


async def _next(past: Past, position: int, limit: int) -> list[Known]:
    """Return the next blocks after *position* that begin before *limit*; raise for one that cannot be read."""
    found = await past.db.query(
        "SELECT first, last, frame FROM blocks WHERE first > ? AND first < ? ORDER BY first LIMIT ?",
        (position, limit, _BATCH),
    )
    known = []
    for first, last, frame in found:
        try:
            known.append(Known(first, last, frame, await past.shelf.get(frame)))
        except Gone as gone:
            await past.check(gone, last=True)
    return known


def _kept(connection: Any, known: Sequence[Known], limit: int) -> list[list[Row]]:
    """Return the rows of each block that stay: those from *limit* on, and the last before it at each path."""
    found = []
    for each in known:
        block = _whole(each)
        last: dict[str, int] = {}
        for path in block.paths:
            index = block.before(path, limit)
            if index is not None and not block.gone(index):
                last[path] = index
        hidden = _hidden(connection, {path: block.numbers[index] for path, index in last.items()}, limit)
        kept = {index for path, index in last.items() if path not in hidden}
        found.append(
            [block.row(index) for index in range(len(block)) if index in kept or block.numbers[index] >= limit]
        )
    return found


def _hidden(connection: Any, rows: dict[str, int], limit: int) -> set[str]:
    """Return the paths that have a later row than the given one, before *limit*, in either tier."""
    query = (
        "WITH w(path, row) AS MATERIALIZED (SELECT key, value FROM json_each(:rows))"
        " SELECT path FROM w WHERE EXISTS (SELECT 1 FROM history h WHERE h.path = w.path AND h.row > w.row"
        " AND h.row < :limit) OR EXISTS (SELECT 1 FROM block_paths p WHERE p.path = w.path AND p.block > w.row"
        " AND p.first < :limit)"
    )
    return {path for (path,) in connection.execute(query, {"rows": listed(rows), "limit": limit})}
