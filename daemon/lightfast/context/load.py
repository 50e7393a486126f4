"""Reads the live tree back at the start: of values that need not be in memory, only where they are."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from lightfast.context.cache import MIN_SIZE
from lightfast.context.codec import decode
from lightfast.context.entry import Declaration
from lightfast.context.stub import Stub
from lightfast.context.tree import Tree

_CHUNK = 5000
_CHUNK_SIZE = 16 << 20
"""About how many entries, and at most how many bytes of their texts, are read at a time."""
_COOL = f"(cool = 2 OR (cool = 1 AND size >= {MIN_SIZE})) AND NOT (path >= '/lightfast/' AND path < '/lightfast0')"
"""What stays on the disk; all that is the daemon's own is in memory."""


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
    text, largest = _first(
        connection,
        f"SELECT json_group_array(row), max(size) FROM (SELECT row, size FROM live WHERE NOT ({_COOL}) ORDER BY row)",  # noqa: S608  (constants)
    )
    rows = msgspec.json.decode(text)
    step = max(1, min(_CHUNK, _CHUNK_SIZE // max(1, largest or 0)))
    tree = Tree()
    for start in range(0, len(rows), step):
        listed = msgspec.json.encode(rows[start : start + step]).decode()
        (text,) = _first(connection, query, (listed,))
        tree.load([decode(*fields) for fields in msgspec.json.decode(text)])
    _stubs(connection, tree)
    return tree


def _stubs(connection: Any, tree: Tree) -> None:
    """Put into *tree* where the other values are."""
    query = (
        "SELECT json_group_array(json_array(path, revision, row, size)) FROM (SELECT path, revision, row, size FROM"  # noqa: S608
        f" live WHERE path > ? AND {_COOL} ORDER BY path LIMIT {_CHUNK})"
    )
    after = ""
    while True:
        (text,) = _first(connection, query, (after,))
        found = msgspec.json.decode(text)
        if not found:
            return
        tree.load([Stub(*fields) for fields in found])
        after = found[-1][0]


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
