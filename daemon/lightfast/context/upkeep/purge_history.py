"""The history takes part in a purge: rows of changes, the texts of transactions, and the stored answers.

An item of `history` is a row number with what becomes of the row:

    "-7"  the row goes: its path is purged, or names what is purged
    "~7"  the row stays and says that something was there: it becomes a deletion without a value
    "=7"  the row of a move keeps its value, and forgets where it came from
    "<7"  the row that marks where a move began becomes a deletion: its move goes

and a revision with which text of its transaction goes: "l7" the label, "g7" the group, "o7" the origin. They are made
so that at no revision an older value shows through, and the history still tells when something happened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec

from lightfast.context import history
from lightfast.context.kinds import Kind
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.storage.database import Database

STEP = 5000
"""Rows looked at in one read: a long one would keep the log from being cut."""


class Edit(NamedTuple):
    """What becomes of one row of the history, or (`lgo`) of the transaction with that revision; see above."""

    row: int
    action: str

    def __str__(self) -> str:
        return f"{self.action}{self.row}"


class Past(Protocol):
    """The history that left the database; implemented by the tiers."""

    def find_edits(self, target: Target) -> AsyncIterator[Sequence[Edit]]:
        """Yield what a purge does to archived rows."""
        ...

    async def edit(self, edits: Sequence[Edit], purge_id: str) -> int:
        """Do it to those of the rows that are archived, and return how many those were; again is harmless."""
        ...


def edits_of(target: Target, row: int, path: str, kind: int, source: str | None, *, in_entry: bool) -> list[Edit]:
    """Return what becomes of one row; *in_entry* says that the text of its entry names what is purged."""
    needles, old = target.needles, row < target.before_row
    if (old and target.path_matches(path)) or (needles is not None and needles.in_text(path)):
        return [Edit(row, "-"), *([Edit(row - 1, "<")] if kind == Kind.MOVE else [])]
    if in_entry:
        return [Edit(row, "~")]
    if source and ((old and target.path_matches(source)) or (needles is not None and needles.in_text(source))):
        return [Edit(row, "=")]
    return []


class HistoryRoom:
    """The table `history`, and with *past* what was moved to the archive."""

    name = "history"

    def __init__(self, db: Database, past: Past | None = None) -> None:
        self._db = db
        self._past = past

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield items as above."""
        if not target.patterns and target.needles is None:
            return
        needles = target.needles
        ((low, last),) = await self._db.query("SELECT coalesce(min(row), 0), coalesce(max(row), -1) FROM history")
        for begin in range(max(low, target.after_row), last + 1, STEP):
            found = await self._db.read(partial(_look, target=target, low=begin, high=begin + STEP))
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]
        if needles is not None:
            query = "SELECT coalesce(min(revision), 0), coalesce(max(revision), -1) FROM transactions"
            ((low, last),) = await self._db.query(query)
            for begin in range(low, last + 1, STEP):
                found = await self._db.read(partial(_look_heads, needles=needles, low=begin, high=begin + STEP))
                for start in range(0, len(found), BATCH):
                    yield found[start : start + BATCH]
        if self._past is not None:
            async for edits in self._past.find_edits(target):
                yield list(map(str, edits))

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Change the rows; one that is live again by now is left to the next round."""
        edits = [Edit(int(str(item)[1:]), str(item)[0]) for item in items]
        for start in range(0, len(edits), BATCH):
            some = edits[start : start + BATCH]
            unit = self._db.unit()
            for action, sql in _SQL.items():
                if rows := [edit.row for edit in some if edit.action == action]:
                    unit.execute(sql, (reason_of(purge_id), _listed(rows)))
            await self._db.commit(unit)
        if self._past is not None:
            await self._past.edit(edits, purge_id)
        return len(edits)

    async def remaining(self, target: Target) -> list[str]:
        """Return nothing: all of it can be changed."""
        return []


_HEADS = {"l": "label", "g": "grp", "o": "origin"}
_NOT_LIVE = "NOT EXISTS (SELECT 1 FROM live WHERE live.path = history.path AND live.row = history.row)"
_IN = "IN (SELECT value FROM json_each(?2))"
_KEPT = ", ".join(f"entry ->> '$[{index}]'" for index in range(1, 7))
_SQL = {
    "-": f"DELETE FROM history WHERE row {_IN} AND {_NOT_LIVE}",  # noqa: S608  (constants)
    "~": f"UPDATE history SET kind = {int(Kind.DELETE)}, source = NULL,"  # noqa: S608
    f" entry = json_array(NULL, {_KEPT}, json_object('reason', ?1)) WHERE row {_IN} AND {_NOT_LIVE}",
    "=": f"UPDATE history SET kind = {int(Kind.SET)}, source = NULL WHERE row {_IN}",  # noqa: S608
    "<": f"UPDATE history SET kind = {int(Kind.DELETE)} WHERE row {_IN} AND kind = {int(Kind.LEFT)}",  # noqa: S608
} | {
    action: f"UPDATE transactions SET {column} = ?1 WHERE revision {_IN}"  # noqa: S608
    for action, column in _HEADS.items()
}


def reason_of(purge_id: str) -> str:
    """Return what a purged entry says as the reason of its status."""
    return f"purged by {purge_id}"


def _listed(rows: list[int]) -> str:
    return msgspec.json.encode(rows).decode()


def condition(columns: Sequence[str], needles: Needles) -> tuple[str, dict[str, str]]:
    """Return SQL that says whether one of *columns* holds one of *needles*, and its parameters."""
    params = {f"n{index}": text for index, text in enumerate(needles.texts)}
    return " OR ".join(f"instr({column}, :{name})" for column in columns for name in params) or "0", params


def may_hold(connection: Any, needles: Needles, low: int, high: int) -> bool:
    """Say whether the rows from *low* up to before *high* may hold one of *needles*.

    Python looks through one long text several times as fast as SQLite through many.
    """
    query = (
        "SELECT group_concat(entry, char(31)), group_concat(path || char(31) || coalesce(source, ''), char(31))"
        " FROM history WHERE row >= ? AND row < ?"
    )
    for entries, paths in connection.execute(query, (low, high)):
        if entries is not None and any(form in entries or form in paths for form in needles.texts):
            return True
    return False


def _look(connection: Any, target: Target, low: int, high: int) -> list[str]:
    """Return the items of the rows from *low* up to before *high*."""
    needles = target.needles
    if needles is not None and not target.patterns and not may_hold(connection, needles, low, high):
        return []
    in_entry, params = ("0", {}) if needles is None else condition(("entry",), needles)
    clauses = [] if needles is None else ["hit", condition(("path", "source"), needles)[0]]
    for index, pattern in enumerate(target.patterns):
        within = history.span(pattern)
        params |= {f"l{index}": within.low, f"h{index}": within.high, f"g{index}": within.glob}
        clauses += [
            f"({column} >= :l{index} AND {column} < :h{index} AND {column} GLOB :g{index})"
            for column in ("path", "source")
        ]
    query = (
        "SELECT json_group_array(json_array(row, path, kind, source, hit)) FROM"  # noqa: S608  (constants)
        f" (SELECT row, path, kind, source, ({in_entry}) AS hit FROM history WHERE row >= :low AND row < :high)"
        f" WHERE {' OR '.join(clauses)}"
    )
    found: list[str] = []
    for (listed,) in connection.execute(query, {**params, "low": low, "high": high}):
        for row, path, kind, source, hit in msgspec.json.decode(listed):
            found += map(str, edits_of(target, row, path, kind, source, in_entry=bool(hit)))
    return found


def _look_heads(connection: Any, needles: Needles, low: int, high: int) -> list[str]:
    """Return the items of the transactions from *low* up to before *high*."""
    found: list[str] = []
    for action, column in _HEADS.items():
        where, params = condition((column,), needles)
        query = (
            "SELECT json_group_array(revision) FROM transactions"  # noqa: S608  (constants)
            f" WHERE revision >= :low AND revision < :high AND ({where})"
        )
        for (listed,) in connection.execute(query, {**params, "low": low, "high": high}):
            found += [f"{action}{revision}" for revision in msgspec.json.decode(listed)]
    return found
