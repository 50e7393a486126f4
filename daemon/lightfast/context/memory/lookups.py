"""What a write has to know first, read in one look at the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lightfast.context.memory import rows
from lightfast.context.memory.checks import key_form
from lightfast.context.memory.records import FOREVER
from lightfast.context.memory.rows import Item
from lightfast.context.memory.validity import Row
from lightfast.context.memory.words import twins
from lightfast.core import trigrams

ALIKE = 0.9
"""Two texts whose trigrams are closer than this are near-duplicates."""
MOST_CONTRADICTED = 10_000
"""So many relations one relation contradicts at once."""
_COMPARED = 20
_WORDINGS = 8
"""So many of the last wordings of an item are used again, when they come again."""
_SEEN = 4000


class Seen(NamedTuple):
    """An item that was there already, or for a new one what is *similar*.

    *live* are its rows that touch the time of what is new, *version* is its last one; *wordings* are those it had last,
    by text and tags.
    """

    item: Item | None = None
    live: Sequence[Row] = ()
    version: int = 0
    wordings: Mapping[tuple[str, tuple[str, ...]], int] = {}
    similar: tuple[Item, Row] | None = None


def memory(connection: Any, identity: bytes, key: str, text: str, now: int, begin: int, end: int) -> Seen:
    """Look for a memory by its identity, and where it is new for one that says nearly the same."""
    for item in rows.items(connection, "i.identity = ?", (identity,)):
        return _seen(connection, item, begin, end)
    return Seen(similar=_similar_key(connection, key, now) or _similar_text(connection, text, now))


def relation(
    connection: Any, identity: bytes, subject: str, predicate: str, exclusive: bool, begin: int, end: int
) -> tuple[Seen, list[tuple[Item, list[Row]]], list[Item]]:
    """Look for a relation, and for those that it contradicts: the ones here with live rows, and the archived ones."""
    seen = Seen()
    for item in rows.items(connection, "i.identity = ?", (identity,)):
        seen = _seen(connection, item, begin, end)
    if not exclusive:
        return seen, [], []
    where = (
        "i.form = 1 AND i.subject = ? AND i.predicate = ? AND i.until > ? AND i.identity <> ? ORDER BY i.item LIMIT ?"
    )
    others = rows.items(connection, where, (subject, predicate, begin, identity, MOST_CONTRADICTED))
    here = {item.item: item for item in others if not item.frame}
    live: dict[int, list[Row]] = {}
    for row in rows.live(connection, here, begin, end):
        if row.valid_from < end and begin < row.valid_to:
            live.setdefault(row.item, []).append(row)
    found = [(here[number], of_item) for number, of_item in sorted(live.items())]
    return seen, found, [item for item in others if item.frame]


def _seen(connection: Any, item: Item, begin: int, end: int) -> Seen:
    live = rows.live(connection, [item.item], begin, end)
    version = 0
    for (last,) in connection.execute("SELECT max(version) FROM memory_versions WHERE item = ?", (item.item,)):
        version = last or 0
    query = (
        "SELECT json_array(wording, text, tags) AS line FROM memory_wordings WHERE item = ?"
        " ORDER BY wording DESC LIMIT ?"
    )
    wordings = {
        (text, rows.listed_tags(tags)): wording
        for wording, text, tags in reversed(rows.page(connection, query, (item.item, _WORDINGS)))
    }
    return Seen(item, live, version, wordings)


def named(connection: Any, names: list[str]) -> dict[str, Item]:
    """Return the items of these ids or keys."""
    where = (
        "i.item_id IN (SELECT value FROM json_each(:names))"
        " OR (i.key <> '' AND i.key IN (SELECT value FROM json_each(:names)))"
    )
    found: dict[str, Item] = {}
    for item in rows.items(connection, where, {"names": rows.listed(names)}):
        found[item.item_id] = item
        if item.key:
            found.setdefault(item.key, item)
    return found


def states(connection: Any, names: list[str], begin: int) -> tuple[dict[str, Item], dict[int, list[Row]]]:
    """Return the items of these ids or keys, and what is known of them of the time from *begin* on."""
    found = named(connection, names)
    live: dict[int, list[Row]] = {item.item: [] for item in found.values()}
    for row in rows.live(connection, live, begin):
        live[row.item].append(row)
    return found, live


def _similar_key(connection: Any, key: str, now: int) -> tuple[Item, Row] | None:
    if not key:
        return None
    for item in rows.items(connection, "i.key_form = ? AND i.key_form <> '' LIMIT 1", (key_form(key),)):
        for row in _present(connection, [item.item], now):
            return item, row
    return None


def _similar_text(connection: Any, text: str, now: int) -> tuple[Item, Row] | None:
    query = twins(text)
    if not query:
        return None
    match = "SELECT json_array(rowid) AS line FROM memory_words WHERE memory_words MATCH ? ORDER BY rowid DESC LIMIT ?"
    wordings = [wording for (wording,) in rows.page(connection, match, (query, _COMPARED))]
    where = (
        "w.wording IN (SELECT value FROM json_each(:wordings)) AND v.superseded_time = :forever"
        " AND v.valid_from <= :now AND :now < v.valid_to AND v.kind > 0"
    )
    found = rows.rows(connection, where, {"wordings": rows.listed(wordings), "forever": FOREVER, "now": now})
    best, closest = None, ALIKE
    for row in found:
        alike = trigrams.similarity(text[:_SEEN], row.text[:_SEEN])
        if alike >= closest:
            best, closest = row, alike
    if best is None:
        return None
    (item,) = rows.items(connection, "i.item = ?", (best.item,))
    return item, best


def _present(connection: Any, items: list[int], now: int) -> list[Row]:
    return [row for row in rows.live(connection, items, now, now) if row.valid_from <= now < row.valid_to]
