"""One memory with all it ever was, and lists of memories."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightfast.context.memory import lookups, rows
from lightfast.context.memory.archived import Archived
from lightfast.context.memory.checks import check_tags
from lightfast.context.memory.ledger import Ledger
from lightfast.context.memory.records import Found, Kind, Listing, Relation
from lightfast.context.memory.rows import HOLDS, MEMORY, ROW, Item
from lightfast.context.memory.validity import Row
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.clock import Clock
from lightfast.core.errors import NotFound
from lightfast.storage.database import Database

DEFAULT_PAGE, MOST_PAGE = 100, 1000
RELATIONS = 200
"""So many relations are shown with a memory, those that changed last."""


class Lister:
    """Reads memories; every list shows what was known when its first page was read."""

    def __init__(self, db: Database, ledger: Ledger, archived: Archived, clock: Clock) -> None:
        self._db = db
        self._ledger = ledger
        self._archived = archived
        self._clock = clock

    async def get(self, name: str) -> Found:
        """See `TemporalMemory.get`."""
        now = self._clock.now_ns()
        item, states, relations = await self._db.read(partial(_one, name=name, now=now))
        if item is None:
            raise NotFound(
                f"there is no memory {name!r:.100}: 'lightfast memory list' shows what is there",
                reason="MEMORY_NOT_FOUND",
                metadata={"memory": name[:200]},
            )
        tier = "archive" if item.frame else "history"
        if item.frame:
            states = await self._archived.states(item)
        states.sort(key=lambda row: (row.record_time, row.version, row.valid_from), reverse=True)
        return Found(tuple(rows.memory(item, row, tier) for row in states), tuple(relations))

    async def memories(self, tags: tuple[str, ...], kind: Kind, include_closed: bool, size: int, token: str) -> Listing:
        """See `TemporalMemory.memories`; archived ones are left out."""
        check_tags(tags)
        count = page_size(size, DEFAULT_PAGE, MOST_PAGE)
        mark = fingerprint("memories", sorted(tags), kind, include_closed)
        if token:
            read = read_token(token, mark)
            known, valid, after = read.revision, read.number or 0, int(read.after)
        else:
            known, valid, after = self._ledger.known, self._clock.now_ns(), 1 << 62
        listed = partial(
            _page, tags=tags, kind=kind, closed=include_closed, known=known, valid=valid, after=after, count=count + 1
        )
        found = await self._db.read(listed)
        more = write_token(Token(mark, known, str(found[count - 1][0].item), valid)) if len(found) > count else ""
        return Listing(tuple(rows.memory(item, row) for item, row in found[:count]), more)


def _one(connection: Any, name: str, now: int) -> tuple[Item | None, list[Row], list[Relation]]:
    item = lookups.named(connection, [name]).get(name)
    if item is None or item.form != MEMORY:
        return None, [], []
    states = rows.rows(connection, "v.item = ?", (item.item,))
    query = (
        "SELECT json_array(json(item), json(row)) AS line FROM ("  # noqa: S608
        f"SELECT json_array({rows.ITEM}) AS item, json_array({ROW}) AS row FROM memory_items i"
        " JOIN memory_versions v ON v.item = i.item JOIN memory_wordings w ON w.wording = v.wording"
        " WHERE i.item IN (SELECT item FROM memory_items WHERE form = 1 AND subject IN (:item_id, :key)"
        " UNION SELECT item FROM memory_items WHERE form = 1 AND object IN (:item_id, :key))"
        " AND v.superseded_time = 9223372036854775807 AND v.valid_from <= :now AND :now < v.valid_to"
        " ORDER BY i.changed DESC LIMIT :most)"
    )
    bindings = {"item_id": item.item_id, "key": item.key or item.item_id, "now": now, "most": RELATIONS}
    relations = [rows.relation(Item(*of), rows.row(state)) for of, state in rows.page(connection, query, bindings)]
    return item, states, relations


def _page(
    connection: Any,
    tags: tuple[str, ...],
    kind: Kind,
    closed: bool,
    known: int,
    valid: int,
    after: int,
    count: int,
) -> list[tuple[Item, Row]]:
    bindings: dict[str, Any] = {"known": known, "valid": valid, "after": after, "kind": int(kind), "count": count}
    conditions = ["v.kind = :kind"] if kind is not Kind.NONE else ["v.kind > 0"]
    for number, tag in enumerate(tags):
        bindings[f"tag{number}"] = tag
        conditions.append(
            f"EXISTS (SELECT 1 FROM memory_tags t WHERE t.tag = :tag{number} AND t.wording = v.wording)"  # noqa: S608
        )
    if closed:
        # Of what was known, the state that holds, else the one that was stated last.
        holds = (
            "v.row = (SELECT o.row FROM memory_versions o WHERE o.item = v.item AND o.record_time <= :known"
            " AND :known < o.superseded_time ORDER BY (o.valid_from <= :valid AND :valid < o.valid_to) DESC,"
            " o.version DESC, o.valid_from DESC LIMIT 1)"
        )
    else:
        holds = HOLDS
    query = (
        f"SELECT json_array(json_array({rows.ITEM}), json_array({ROW})) AS line FROM memory_items i"  # noqa: S608
        " CROSS JOIN memory_versions v ON v.item = i.item CROSS JOIN memory_wordings w ON w.wording = v.wording"
        f" WHERE i.item < :after AND i.form = 0 AND {holds} AND {' AND '.join(conditions)}"
        " ORDER BY i.item DESC LIMIT :count"
    )
    return [(Item(*of), rows.row(state)) for of, state in rows.page(connection, query, bindings)]
