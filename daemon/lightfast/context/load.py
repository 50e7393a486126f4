"""Reads the live tree back at the start."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from lightfast.context.codec import decode
from lightfast.context.entry import Declaration
from lightfast.context.tree import Tree

_CHUNK = 5000


class Loaded(NamedTuple):
    """What a store knows when it opens; *next_row* is the first free row of the history."""

    tree: Tree
    revision: int
    oldest: int
    next_row: int
    record_time: int
    declarations: list[Declaration]


def load(connection: Any) -> Loaded:
    """Return all of it; for `Database.read`."""
    with _without_collector():
        last = "SELECT revision, record_time, first + rows FROM transactions ORDER BY revision DESC LIMIT 1"
        revision, record_time, next_row = _first(connection, last) or (0, 0, 1)
        (oldest,) = _first(connection, "SELECT value FROM meta WHERE key = 'oldest_revision'") or (0,)
        declarations = [
            msgspec.json.decode(body, type=Declaration)
            for (body,) in connection.execute("SELECT body FROM declarations")
        ]
        return Loaded(_tree(connection), revision, oldest, next_row, record_time, declarations)


def _tree(connection: Any) -> Tree:
    """Read the entries in the order of their rows, which is that of the file, many in one text."""
    query = (
        "SELECT '[' || group_concat('[' || json_quote(path) || ',' || revision || ',' || entry || ']') || ']'"
        " FROM (SELECT path, revision, entry FROM history WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row)"
    )
    (text,) = _first(connection, "SELECT json_group_array(row) FROM (SELECT row FROM live ORDER BY row)")
    rows = msgspec.json.decode(text)
    tree = Tree()
    for start in range(0, len(rows), _CHUNK):
        listed = msgspec.json.encode(rows[start : start + _CHUNK]).decode()
        (text,) = _first(connection, query, (listed,))
        tree.load([decode(*fields) for fields in msgspec.json.decode(text)])
    return tree


def _first(connection: Any, query: str, params: tuple[Any, ...] = ()) -> Any:
    for row in connection.execute(query, params):
        return row
    return None


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the collector from walking a million new objects over and over."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
