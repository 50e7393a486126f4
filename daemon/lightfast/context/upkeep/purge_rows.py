"""Stored answers, operations and assets take part in a purge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from lightfast.context.upkeep.purge_history import STEP, condition
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.core.errors import NotFound
from lightfast.storage.assets import check_sha256
from lightfast.storage.blob_removal import holders, remove
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database

_IN = "IN (SELECT value FROM json_each(?))"


class AnswerRoom:
    """The table `requests`: an answer that names what is purged goes, and its request counts as never made."""

    name = "answers"

    def __init__(self, db: Database) -> None:
        self._db = db

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the ids of rows."""
        if target.needles is None and not target.patterns:
            return
        ((low, last),) = await self._db.query("SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM requests")
        for begin in range(low, last + 1, STEP):
            found = await self._db.read(partial(_answers, target=target, low=begin, high=begin + STEP))
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Delete the rows."""
        return await _change(self._db, f"DELETE FROM requests WHERE id {_IN}", items)  # noqa: S608  (constants)

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []


def _answers(connection: Any, target: Target, low: int, high: int) -> list[int]:
    clauses: list[str] = []
    params: dict[str, Any] = {"low": low, "high": high}
    needles = target.needles
    if needles is not None:
        where, named = condition(("response", "request_id", "client"), needles)
        clauses += [where, "instr(response, :hex)"]
        params |= {**named, "hex": needles.hexed}
    for index, pattern in enumerate(target.patterns):
        # An answer may name more paths than its own: what begins like the pattern is enough to let it go.
        prefix = pattern.prefix.rstrip("/") or "/"
        clauses += [f"instr(response, :p{index})", f"instr(response, :x{index})"]
        params |= {f"p{index}": f'"{prefix}', f"x{index}": prefix.encode().hex()}
    query = f"SELECT json_group_array(id) FROM requests WHERE id >= :low AND id < :high AND ({' OR '.join(clauses)})"  # noqa: S608
    for (listed,) in connection.execute(query, params):
        return list(msgspec.json.decode(listed))
    return []


class RowRoom:
    """A table whose rows go, or are changed, where one of *columns* holds the text; an item is the *key* of a row.

    *change* is SQL up to its WHERE, with *params*.
    """

    def __init__(
        self,
        db: Database,
        name: str,
        table: str,
        key: str,
        columns: Sequence[str],
        change: str,
        params: Sequence[Any] = (),
    ) -> None:
        self.name = name
        self._db = db
        self._table, self._key, self._columns = table, key, columns
        self._change = f"{change} WHERE {key} {_IN}"
        self._params = params

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the keys of rows."""
        if target.needles is None:
            return
        where, params = condition(self._columns, target.needles)
        query = f"SELECT {self._key} FROM {self._table} WHERE {where}"  # noqa: S608  (constants)
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        for start in range(0, len(rows), BATCH):
            yield [key for (key,) in rows[start : start + BATCH]]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Change the rows."""
        return await _change(self._db, self._change, items, self._params)

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it goes."""
        return []


class OperationRoom:
    """The table `operations`: what was asked, what came and why it failed go; that it was, when and for how much stays.

    *forget* lets go of what is kept in memory of the operations with these ids. An item is an id, with a `!` before it
    where a name that was given to it (its project, for instance) holds the text, too, and goes.
    """

    name = "operations"

    def __init__(self, db: Database, forget: Callable[[Sequence[str]], None]) -> None:
        self._db = db
        self._forget = forget
        self._blanked: set[str] = set()

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield items as above."""
        if target.needles is None:
            return
        where, params = condition(("body", "project"), target.needles)
        named, _ = condition([f"coalesce(body ->> '$.{name}', '')" for name in _NAMES], target.needles)
        query = f"SELECT operation_id, {named} FROM operations WHERE {where}"  # noqa: S608  (constants)
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        for start in range(0, len(rows), BATCH):
            yield [f"!{item}" if deep else item for item, deep in rows[start : start + BATCH]]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Blank the texts."""
        ids = [str(item).removeprefix("!") for item in items]
        await _change(self._db, _blank(("prompt", "error", "target_path", "text", "settings")), ids)
        await _change(
            self._db,
            _blank(_NAMES, ", project = ''"),
            [str(item)[1:] for item in items if str(item).startswith("!")],
        )
        self._blanked.update(ids)
        self._forget(ids)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Name what still runs: it writes its row anew when it ends."""
        if target.needles is None:
            return []
        where, params = condition(("body",), target.needles)
        query = f"SELECT operation_id, ({where}) FROM operations WHERE state = 'RUNNING'"  # noqa: S608  (constants)
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        blanked, self._blanked = self._blanked, set()
        return [
            f"operation {operation_id} is under way and writes down what it was asked when it ends: cancel it, or purge"
            " again when it is over"
            for operation_id, holds in rows
            if holds or operation_id in blanked
        ]


_NAMES = ("project", "run", "group", "note", "origin", "finish_reason", "account", "cache", "cost_basis")


def _blank(names: Sequence[str], more: str = "") -> str:
    pairs = ", ".join(f"'$.{name}', ''" for name in names)
    return (
        f"UPDATE operations SET body = json_remove(json_set(body, {pairs}), '$.fallbacks'){more}"  # noqa: S608
        f" WHERE operation_id {_IN}"
    )


class AssetRoom:
    """The assets: those that are named, and those whose bytes hold the text, go; a prompt that holds it is blanked.

    An item is a SHA-256, with a `~` before it where only the description goes.
    """

    name = "assets"

    def __init__(self, db: Database, blobs: BlobStore) -> None:
        self._db = db
        self._blobs = blobs

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield items as above."""
        named = {check_sha256(sha256, "assets") for sha256 in target.assets}
        known = [sha256 for (sha256,) in await self._db.query("SELECT sha256 FROM assets ORDER BY seq")]
        gone = [sha256 for sha256 in known if sha256 in named]
        if len(gone) != len(named):
            missing = min(named.difference(gone))
            raise NotFound(f"there is no asset {missing}", reason="ASSET_NOT_FOUND", field="assets")
        for start in range(0, len(gone), BATCH):
            yield gone[start : start + BATCH]
        needles = target.needles
        if needles is None:
            return
        for start in range(0, len(known), BATCH):
            some = [sha256 for sha256 in known[start : start + BATCH] if sha256 not in named]
            if found := await holders(self._blobs, some, needles.plain):
                yield found
        where, params = condition(("name", "provenance"), needles)
        query = f"SELECT sha256 FROM assets WHERE {where}"  # noqa: S608  (constants)
        rows = await self._db.read(lambda connection: list(connection.execute(query, params)))
        for start in range(0, len(rows), BATCH):
            yield [f"~{sha256}" for (sha256,) in rows[start : start + BATCH]]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Remove rows and files, or blank descriptions."""
        described = [str(item)[1:] for item in items if str(item).startswith("~")]
        sql = (
            "UPDATE assets SET name = '', provenance = json_set(provenance, '$.prompt', '', '$.settings', '',"  # noqa: S608
            f" '$.origin', '', '$.generator', '') WHERE sha256 {_IN}"
        )
        await _change(self._db, sql, described)
        done = len(described)
        for item in items:
            if not str(item).startswith("~"):
                done += await remove(self._blobs, str(item))
        return done

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing."""
        return []


async def _change(db: Database, sql: str, items: Sequence[Item], params: Sequence[Any] = ()) -> int:
    """Run *sql* over *items*, a step at a time; its last parameter are the items, those before are *params*."""
    for start in range(0, len(items), BATCH):
        unit = db.unit()
        unit.execute(sql, (*params, msgspec.json.encode(list(items[start : start + BATCH])).decode()))
        await db.commit(unit)
    return len(items)


def tables_holding(connection: Any, needles: Needles) -> list[str]:
    """Return the tables whose rows hold one of *needles*, of those that no room purges: what somebody set up."""
    found = []
    listed = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'"
    for (table,) in list(connection.execute(listed)):
        columns = [f"CAST({_quoted(name)} AS TEXT)" for (name,) in connection.execute(_COLUMNS, (table,))]
        where, params = condition(columns, needles)
        query = f"SELECT count(*) FROM {_quoted(table)} WHERE {where}"  # noqa: S608  (names of our own schema)
        found += [table for (count,) in connection.execute(query, params) if count]
    return found


_COLUMNS = "SELECT name FROM pragma_table_info(?)"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
