"""Prompt templates take part in a purge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence

from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.gateway.prompts.templates import MOST_TEMPLATES, purged_body
from lightfast.storage.database import Database


class TemplateRoom:
    """The table `prompts`: a version that holds the text is emptied, and keeps its number, for versions never change.

    A template whose name holds it goes with all its versions. An item is a version as `HASH@N`, or `HASH` for all of
    them, with the first half of the SHA-256 of the name.
    """

    name = "templates"

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield items as above."""
        needles = target.needles
        if needles is None:
            return
        rows = await self._db.query(
            "SELECT name, version, body FROM prompts ORDER BY name, version LIMIT ?", (MOST_TEMPLATES,)
        )
        found: dict[Item, None] = {}
        for name, version, body in rows:
            if needles.in_text(name):
                found[_hash(name)] = None
            elif needles.in_value(json.loads(body)):
                found[f"{_hash(name)}@{version}"] = None
        items = list(found)
        for start in range(0, len(items), BATCH):
            yield items[start : start + BATCH]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Empty the versions, and delete the templates."""
        names = {_hash(name): name for (name,) in await self._db.query("SELECT DISTINCT name FROM prompts")}
        body = purged_body(purge_id)
        unit = self._db.unit()
        for item in map(str, items):
            hashed, _, version = item.partition("@")
            if hashed not in names:
                continue
            if version:
                unit.execute(
                    "UPDATE prompts SET body = ? WHERE name = ? AND version = ?", (body, names[hashed], int(version))
                )
            else:
                unit.execute("DELETE FROM prompts WHERE name = ?", (names[hashed],))
        await self._db.commit(unit)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]
