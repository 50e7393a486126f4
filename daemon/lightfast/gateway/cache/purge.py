"""Kept answers take part in a purge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.gateway.batching.vectors import VectorCache
from lightfast.gateway.cache import rows
from lightfast.gateway.cache.answers import Database, KeptAnswers

_STEP = 200


class KeptRoom:
    """The table `kept_answers`: an answer goes when it, or what it was made from, names what is purged.

    What is purged by a path goes where a text names that path, or one that begins like the pattern: of a cache too
    much may go. The vectors that are kept in memory go with any purge.
    """

    name = "kept answers"

    def __init__(self, db: Database, answers: KeptAnswers, vectors: VectorCache | None = None) -> None:
        self._db = db
        self._answers = answers
        self._vectors = vectors

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the numbers of rows."""
        if target.needles is None and not target.patterns and not target.assets:
            return
        if self._vectors is not None:
            self._vectors.clear()  # nobody knows of which texts they are, and they are made again
        last = 0
        found: list[Item] = []
        while True:
            some, last_read = await self._db.read(partial(_look, target=target, after=last))
            found += some
            while len(found) >= BATCH:
                yield found[:BATCH]
                found = found[BATCH:]
            if last_read == last:
                break
            last = last_read
        if found:
            yield found

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Delete the rows, and let go of all that is in memory."""
        return await self._answers.clear([int(item) for item in items])

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []


def _look(connection: Any, target: Target, after: int) -> tuple[list[Item], int]:
    """Return which of the next rows go, and the last that was looked at."""
    found: list[Item] = []
    last = after
    query = "SELECT row, body FROM kept_answers WHERE row > ? ORDER BY row LIMIT ?"
    for row, body in connection.execute(query, (after, _STEP)):
        last = row
        if _holds(body, target):
            found.append(row)
    return found, last


def _holds(body: bytes, target: Target) -> bool:
    try:
        held = rows.unpack(body)
    except ValueError:
        return True  # nobody can say what it holds
    texts = [held.text, held.prompt, held.system, held.settings, *(text for _, text in held.messages)]
    if target.needles is not None and any(map(target.needles.in_value, texts)):
        return True
    named = {asset[2] for asset in held.assets}.union(held.sources)
    if named.intersection(target.assets):
        return True
    prefixes = [pattern.prefix.rstrip("/") or "/" for pattern in target.patterns]
    return any(prefix in text for prefix in prefixes for text in texts)
