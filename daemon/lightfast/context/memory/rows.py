"""The rows of the memory in the database: read many at a time, written with the unit of work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from lightfast.context.memory.checks import key_form
from lightfast.context.memory.records import FOREVER, Kind, Memory, Relation
from lightfast.context.memory.validity import Row
from lightfast.context.memory.words import count, indexed
from lightfast.storage.database import Unit
from lightfast_link.value import Value, from_json

MEMORY, RELATION = 0, 1
"""What an item is."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Item(NamedTuple):
    """What statements are about: a memory, or a relation. *frame*: where it was archived."""

    item: int
    item_id: str
    form: int
    key: str
    subject: str
    predicate: str
    object: str
    frame: str
    identity: str

    @property
    def lock(self) -> str:
        """The name of the lock under which it is written: that of its identity, for relations of what competes."""
        return lock_of(self.subject, self.predicate) if self.form else self.identity


def lock_of(subject: str, predicate: str) -> str:
    """Return the name of the lock of all relations that may contradict each other."""
    return f"{subject}\0{predicate}"


ITEM = "i.item, i.item_id, i.form, i.key, i.subject, i.predicate, i.object, i.frame, lower(hex(i.identity))"
ROW = (
    "v.row, v.item, v.version, v.wording, v.kind, w.text, w.tags, v.metadata, v.strength, v.confidence, v.source,"
    " v.origin, v.valid_from, v.valid_to, v.record_time, v.superseded_time, v.revision, v.closed_by, v.reason"
)
HOLDS = "v.valid_from <= :valid AND :valid < v.valid_to AND v.record_time <= :known AND :known < v.superseded_time"
"""The row *v* was true and known at the times asked for."""


def page(connection: Any, query: str, bindings: Any) -> list[Any]:
    """Return the rows of *query* whose one column is JSON: as one text, for each row fetched may wait for the loop."""
    for (text,) in connection.execute(f"SELECT json_group_array(json(line)) FROM ({query})", bindings):  # noqa: S608
        return _decode(text)  # type: ignore[no-any-return]
    return []


def items(connection: Any, where: str, bindings: Any) -> list[Item]:
    """Return the items *i* for which the condition *where* holds."""
    query = f"SELECT json_array({ITEM}) AS line FROM memory_items i WHERE {where}"  # noqa: S608  (our own conditions)
    return [Item(*found) for found in page(connection, query, bindings)]


def rows(connection: Any, where: str, bindings: Any) -> list[Row]:
    """Return the rows *v*, with their wordings *w*, for which *where* holds."""
    query = (
        f"SELECT json_array({ROW}) AS line FROM memory_versions v JOIN memory_wordings w ON w.wording = v.wording"  # noqa: S608
        f" WHERE {where}"
    )
    return [row(found) for found in page(connection, query, bindings)]


def listed(values: Iterable[Any]) -> str:
    """Return the text by which a query takes a list: `… IN (SELECT value FROM json_each(?))`."""
    return _encode(list(values)).decode()


def row(found: Sequence[Any]) -> Row:
    """Return the row of the columns `ROW`."""
    number, item, version, wording, kind, text, tags, *rest = found
    return Row(number, item, version, wording, kind, text, listed_tags(tags), *rest)


def listed_tags(text: str) -> tuple[str, ...]:
    """Return the tags of a wording."""
    return tuple(_decode(text)) if text else ()


def memory(item: Item, row: Row, tier: str = "history") -> Memory:
    """Return a row as others see it."""
    return Memory(
        memory_id=item.item_id,
        key=item.key,
        kind=Kind(row.kind),
        text=row.text,
        tags=row.tags,
        metadata=metadata(row.metadata),
        strength=row.strength,
        confidence=row.confidence,
        source=row.source,
        origin=row.origin,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        record_time=row.record_time,
        superseded_time=row.superseded_time,
        version=row.version,
        revision=row.revision,
        reason=row.reason,
        tier=tier,
    )


def relation(item: Item, row: Row, tier: str = "history") -> Relation:
    """Return a row as others see it."""
    return Relation(
        relation_id=item.item_id,
        subject=item.subject,
        predicate=item.predicate,
        object=item.object,
        metadata=metadata(row.metadata),
        strength=row.strength,
        confidence=row.confidence,
        source=row.source,
        origin=row.origin,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        record_time=row.record_time,
        superseded_time=row.superseded_time,
        version=row.version,
        revision=row.revision,
        closed_by=row.closed_by,
        reason=row.reason,
        tier=tier,
    )


def thing(item: Item, row: Row, tier: str = "history") -> Memory | Relation:
    """Return a row as others see it."""
    return relation(item, row, tier) if item.form == RELATION else memory(item, row, tier)


def metadata(text: str) -> dict[str, Value]:
    """Return the metadata of a row."""
    return {name: from_json(value) for name, value in _decode(text).items()} if text else {}


def add_item(unit: Unit, item: Item) -> None:
    """Write a new item."""
    form = key_form(item.key) if item.key else ""
    values = (item.item, item.item_id, item.form, bytes.fromhex(item.identity), item.key, form)
    names = (item.subject, item.predicate, item.object)
    unit.execute("INSERT INTO memory_items VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0)", (*values, *names))


def add_wording(unit: Unit, wording: int, row: Row) -> None:
    """Write a text and its tags, and their words into the index."""
    tags = listed(row.tags) if row.tags else ""
    unit.execute(
        "INSERT INTO memory_wordings VALUES(?, ?, ?, ?, ?)", (wording, row.item, row.text, tags, count(row.text))
    )
    unit.insert("INSERT INTO memory_tags VALUES(?, ?)", ((tag, wording) for tag in row.tags))
    unit.execute(
        "INSERT INTO memory_words(rowid, text, tags) VALUES(?, ?, ?)",
        (wording, indexed(row.text), indexed(" ".join(row.tags))),
    )


def add_rows(unit: Unit, rows: Iterable[Row]) -> None:
    """Write rows that are known from now on."""
    unit.insert(
        f"INSERT INTO memory_versions VALUES({', '.join('?' * 17)})",
        (
            (
                *(row.row, row.item, row.version, row.wording, row.kind, row.strength, row.confidence, row.source),
                *(row.origin, row.metadata, row.valid_from, row.valid_to, row.record_time, row.superseded_time),
                *(row.revision, row.closed_by, row.reason),
            )
            for row in rows
        ),
    )


def supersede(unit: Unit, rows: Iterable[Row]) -> None:
    """Write until when rows were what was known."""
    unit.insert(
        "UPDATE memory_versions SET superseded_time = ? WHERE row = ?", ((row.superseded_time, row.row) for row in rows)
    )


def touch(unit: Unit, rows: Iterable[Row]) -> None:
    """Note the newest row of each item, and until when it is known to hold; after all rows were written."""
    unit.insert(
        "UPDATE memory_items SET changed = max(changed, ?1), until = (SELECT coalesce(max(valid_to), 0) FROM"
        " memory_versions WHERE item = ?2 AND superseded_time = ?3) WHERE item = ?2",
        ((row.row, row.item, FOREVER) for row in rows),
    )


def drop(unit: Unit, item: int) -> None:
    """Delete all rows of an item, its words and its vectors; the item itself stays."""
    of_item = "(SELECT wording FROM memory_wordings WHERE item = ?)"
    unit.execute(f"DELETE FROM memory_words WHERE rowid IN {of_item}", (item,))  # noqa: S608
    unit.execute(f"DELETE FROM memory_vectors WHERE wording IN {of_item}", (item,))  # noqa: S608
    unit.execute(
        "DELETE FROM memory_tags WHERE (tag, wording) IN (SELECT t.value, w.wording FROM memory_wordings w,"
        " json_each(CASE w.tags WHEN '' THEN '[]' ELSE w.tags END) t WHERE w.item = ?)",
        (item,),
    )
    unit.execute("DELETE FROM memory_versions WHERE item = ?", (item,))
    unit.execute("DELETE FROM memory_wordings WHERE item = ?", (item,))


def live(connection: Any, numbers: Iterable[int], begin: int, end: int = FOREVER) -> list[Row]:
    """Return what is known now of the items of these *numbers*, of the time from *begin* to *end* and next to it."""
    where = (
        "v.item IN (SELECT value FROM json_each(:items)) AND v.superseded_time = :forever"
        " AND v.valid_to >= :begin AND v.valid_from <= :end"
    )
    return rows(connection, where, {"items": listed(numbers), "forever": FOREVER, "begin": begin, "end": end})
