"""Scenes take part in a purge: entries of every version, what was said of a scene, and the moves they follow.

An item is one of these, in this order:

    "e7:12"  the entry at place 12 of the block 7 goes: its path (of then or of now) or its value is purged
    "f7"     the version with the row 7 is written anew by the names of now, as moves are about to be forgotten
    "d7"     the description and the patterns of that version go
    "n7"     the version goes altogether: its name holds what is purged
    "m7"     the move recorded in the history row 7 is forgotten
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import msgspec

from lightfast.context.scenes import rows
from lightfast.context.scenes.follow import Moved, follow
from lightfast.context.scenes.pack import assets_of, entry_of, pack, rows_of, unpack, without
from lightfast.context.scenes.records import Scene, SceneEntry
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.storage.database import Database, Unit


class SceneRoom:
    """The tables of scenes."""

    name = "scenes"

    def __init__(self, db: Database, scenes: Scenes) -> None:
        self._db = db
        self._scenes = scenes

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield items as above."""
        if not target.patterns and target.needles is None:
            return
        moves = await self._db.read(_moves)
        gone = [row for row, move in moves if _named(target, move.source) or _named(target, move.target)]
        versions = await self._db.read(_versions)
        later: list[Item] = []
        for number, scene in versions:
            followed = [move for _, move in moves if move.revision > scene.followed]
            blocks = await self._db.read(partial(_blocks, scene=scene))
            found, renamed = await _off_loop(_look, target, blocks, followed)
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]
            if gone and renamed:
                later.append(f"f{number}")
            if target.needles is not None:
                if target.needles.in_text(scene.name):
                    later.append(f"n{number}")
                elif target.needles.in_value([scene.description, list(scene.patterns), list(scene.exclude)]):
                    later.append(f"d{number}")
        later += [f"m{row}" for row in gone]
        for start in range(0, len(later), BATCH):
            yield later[start : start + BATCH]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Do what *items* say; those that are done already are left alone."""
        done = 0
        async with self._scenes.edited():
            unit = self._db.unit()
            places: dict[int, set[int]] = {}
            for item in map(str, items):
                if item[0] == "e":
                    block, _, place = item[1:].partition(":")
                    places.setdefault(int(block), set()).add(int(place))
            for number, which in places.items():
                done += await self._empty(unit, number, which)
            versions = dict(await self._db.read(_versions))
            for item in map(str, items):
                scene = versions.get(int(item[1:])) if item[0] in "fdn" else None
                if item[0] == "m":
                    unit.execute("DELETE FROM scene_moves WHERE row = ?", (int(item[1:]),))
                elif scene is not None:
                    await self._change(unit, item[0], scene)
                    done += item[0] != "f"
            await self._db.commit(unit)
        return done

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []

    async def _empty(self, unit: Unit, block: int, places: set[int]) -> int:
        query = "SELECT name, version, body FROM scene_blocks WHERE id = ?"
        for name, version, body in await self._db.query(query, (block,)):
            fresh, gone = await _off_loop(without, bytes(body), places)
            unit.execute("UPDATE scene_blocks SET body = ? WHERE id = ?", (fresh, block))
            unit.execute(
                "UPDATE scenes SET body = json_set(body, '$.entries', json_extract(body, '$.entries') - ?)"
                " WHERE name = ? AND version = ?",
                (gone, name, version),
            )
            return int(gone)
        return 0

    async def _change(self, unit: Unit, action: str, scene: Scene) -> None:
        if action == "n":
            rows.drop(unit, scene.name, scene.version)
        elif action == "d":
            body = msgspec.json.encode(msgspec.structs.replace(scene, description="", patterns=(), exclude=()))
            unit.execute(
                "UPDATE scenes SET body = ? WHERE name = ? AND version = ?", (body.decode(), scene.name, scene.version)
            )
        else:
            revision = max((move.revision for _, move in await self._db.read(_moves)), default=0)
            _, held = await self._scenes.read(scene)
            packed = await _off_loop(pack, held)
            fresh = msgspec.structs.replace(scene, followed=max(revision, scene.followed), size=sum(map(len, packed)))
            rows.save(unit, fresh, packed, {sha256 for entry in held for sha256 in assets_of(entry.value)})


def _look(target: Target, blocks: list[tuple[int, bytes]], moves: Sequence[Moved]) -> tuple[list[str], bool]:
    """Return the items of entries, and whether moves have renamed any."""
    saved = list(unpack([body for _, body in blocks]))
    now: dict[int, str] = {}
    if moves:
        # The value tells which entry is which after the moves: it is the number of the entry here.
        numbered = [SceneEntry(entry.path, number, 0, entry.object_id) for number, entry in enumerate(saved)]
        now = {int(entry.value): entry.path for entry in follow(numbered, moves)}  # type: ignore[arg-type]
    found = []
    number = 0
    for block, body in blocks:
        for place, row in enumerate(rows_of(body)):
            if row is None:
                continue
            entry, called = entry_of(row), now.get(number, "")
            number += 1
            held = target.needles is not None and target.needles.in_value([entry.value, entry.object_id])
            if held or _named(target, entry.path) or (called and _named(target, called)):
                found.append(f"e{block}:{place}")
    return found, any(saved[number].path != path for number, path in now.items())


def _named(target: Target, path: str) -> bool:
    return target.path_matches(path) or (target.needles is not None and target.needles.in_text(path))


def _moves(connection: Any) -> list[tuple[int, Moved]]:
    query = "SELECT row, revision, source, target, object FROM scene_moves ORDER BY row"
    return [(row, Moved(*rest)) for row, *rest in connection.execute(query)]


def _versions(connection: Any) -> list[tuple[int, Scene]]:
    query = "SELECT id, body FROM scenes ORDER BY id"
    return [(number, msgspec.json.decode(body, type=Scene)) for number, body in connection.execute(query)]


def _blocks(connection: Any, scene: Scene) -> list[tuple[int, bytes]]:
    query = "SELECT id, body FROM scene_blocks WHERE name = ? AND version = ? ORDER BY block"
    return [(number, bytes(body)) for number, body in connection.execute(query, (scene.name, scene.version))]


async def _off_loop(function: Any, *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
