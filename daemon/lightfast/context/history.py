"""Reads the past from the database. Every function here takes a connection; they run in a reader thread.

SQLite aggregates what is found into one text, since each row that Python fetches gives the
interpreter lock away. A revision is bounded by *limit*: the first row that does not belong to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from lightfast.context.codec import decode
from lightfast.context.entry import Entry, Event, EventType, Transaction
from lightfast.context.kinds import Kind
from lightfast_link.path import Pattern

MAX_PAGE_SIZE = 2 << 20
"""About the most characters of entries in one page; the first entry always fits."""
_MANY_PATHS = 5000

_parse = msgspec.json.Decoder().decode
TYPES = {
    Kind.SET: EventType.SET,
    Kind.REPORT: EventType.SET,
    Kind.DELETE: EventType.DELETE,
    Kind.MOVE: EventType.MOVE,
}

_LATEST_BY_RECORD = "SELECT max(row) FROM history WHERE path = p.path AND row < :limit"
_LATEST_BY_EVENT = (
    "SELECT row FROM history WHERE path = p.path AND row < :limit AND event_time <= :time"
    " ORDER BY event_time DESC, row DESC LIMIT 1"
)


_EXACT = (
    "SELECT json_group_array(h.row) FROM (SELECT value AS path FROM json_each(:paths)) p"
    " JOIN history h ON h.row = (LATEST) WHERE h.kind IN (0, 2, 4)"
)
_PAGE = (
    "WITH RECURSIVE p(path) AS (SELECT min(path) FROM history WHERE path >= :low AND path < :high AND path > :after"
    " UNION ALL SELECT (SELECT min(path) FROM history WHERE path > p.path AND path < :high) FROM p"
    " WHERE p.path IS NOT NULL)"
    " SELECT json_group_array(json_array(path, row, size)) FROM ("
    "SELECT p.path AS path, h.row AS row, octet_length(h.entry) AS size FROM p JOIN history h ON h.row = (LATEST)"
    " WHERE p.path IS NOT NULL AND h.kind IN (0, 2, 4) AND p.path GLOB :glob LIMIT :count)"
)
"""Both walk over paths and look up the last row of each."""


EVERY_PATH = (
    "WITH RECURSIVE p(path) AS (SELECT min(path) FROM (SELECT min(path) AS path FROM history"
    " WHERE path >= :low AND path < :high AND path > :after UNION ALL SELECT min(path) FROM block_paths"
    " WHERE path >= :low AND path < :high AND path > :after)"
    " UNION ALL SELECT (SELECT min(path) FROM (SELECT min(path) AS path FROM history"
    " WHERE path > p.path AND path < :high UNION ALL SELECT min(path) FROM block_paths"
    " WHERE path > p.path AND path < :high)) FROM p WHERE p.path IS NOT NULL)"
    " SELECT json_group_array(path) FROM (SELECT path FROM p WHERE path IS NOT NULL AND path GLOB :glob LIMIT :count)"
)
"""Walks over the paths there ever were, in SQLite and in the archive."""


def _on_axis(query: str, time: int | None) -> str:
    return query.replace("LATEST", _LATEST_BY_RECORD if time is None else _LATEST_BY_EVENT)


class Span(NamedTuple):
    """The part of the order of paths that a pattern can match: from *low* up to before *high*."""

    low: str
    high: str
    glob: str


def span(pattern: Pattern) -> Span:
    """Return where to look for *pattern*; *glob* lets everything through that matches, and some more."""
    prefix = "" if pattern.prefix == "/" else pattern.prefix
    return Span(prefix or "/", prefix + "0", _glob(pattern.text))  # "0" comes right after "/"


def _glob(text: str) -> str:
    out = []
    position = 0
    while position < len(text):
        char = text[position]
        if text.startswith("//", position):
            out.append("*" if position + 2 == len(text) else "/*")
            position += 2
            continue
        if char == "[":
            out.append("?")
            position = text.find("]", position + 2)
        elif char == "{":
            out.append("*")
            position = text.find("}", position)
        else:
            out.append(char)
        position += 1
    return "".join(out)


def limit_of(connection: Any, revision: int) -> int:
    """Return the first row after *revision*."""
    for (limit,) in connection.execute("SELECT first + rows FROM transactions WHERE revision = ?", (revision,)):
        return int(limit)
    return 0


_HALVING = (
    "WITH RECURSIVE b(low, high) AS (SELECT :low, :high UNION ALL SELECT"
    " iif(LATE, b.low, (b.low + b.high + 1) / 2), iif(LATE, (b.low + b.high + 1) / 2 - 1, b.high)"
    " FROM b WHERE b.low < b.high) SELECT low FROM b WHERE low = high"
).replace(
    "LATE",
    "NOT EXISTS (SELECT 1 FROM transactions WHERE revision = (b.low + b.high + 1) / 2 AND record_time <= :time)",
)


def revision_at(connection: Any, time: int, last: int) -> int:
    """Return the last revision recorded at or before *time*; 0 where there is none. By halving: times only grow."""
    low = 0
    for (oldest,) in connection.execute("SELECT min(revision) FROM transactions"):
        low = int(oldest or 0)
    if low and not _recorded_by(connection, low, time):
        return 0
    for (found,) in connection.execute(_HALVING, {"low": low, "high": last, "time": time}):
        return int(found)
    return low


def _recorded_by(connection: Any, revision: int, time: int) -> bool:
    query = "SELECT 1 FROM transactions WHERE revision = ? AND record_time <= ?"
    return any(True for _ in connection.execute(query, (revision, time)))


def exact(connection: Any, paths: list[str], limit: int, time: int | None) -> list[Entry]:
    """Return the entries at *paths* as of *limit*, ordered by path."""
    listed = msgspec.json.encode(paths).decode()
    for (rows,) in connection.execute(_on_axis(_EXACT, time), {"paths": listed, "limit": limit, "time": time}):
        return _entries(connection, _parse(rows))
    return []


def page(
    connection: Any, pattern: Pattern, after: str, count: int, limit: int, time: int | None
) -> tuple[list[Entry], bool]:
    """Return at most *count* entries that match, after the path *after*, as of *limit*; and whether more may follow."""
    low, high, glob = span(pattern)
    query = _on_axis(_PAGE, time)
    rows: list[int] = []
    taken = 0
    while True:
        found: list[tuple[str, int, int]] = []
        bounds = {"low": low, "high": high, "after": after, "glob": glob, "count": count + 1}
        for (text,) in connection.execute(query, {**bounds, "limit": limit, "time": time}):
            found = _parse(text)
        for path, row, size in found:
            if not pattern.matches(path):
                continue
            taken += size
            if rows and (taken > MAX_PAGE_SIZE or len(rows) == count):
                return _entries(connection, rows), True
            rows.append(row)
        if len(found) <= count:
            return _entries(connection, rows), False
        after = found[-1][0]


def _entries(connection: Any, rows: list[int]) -> list[Entry]:
    query = (
        "SELECT '[' || group_concat('[' || json_quote(path) || ',' || revision || ',' || entry || ']') || ']' FROM"
        " (SELECT path, revision, entry FROM history WHERE row IN (SELECT value FROM json_each(?)) ORDER BY path)"
    )
    for (text,) in connection.execute(query, (msgspec.json.encode(rows).decode(),)):
        return [decode(*fields) for fields in _parse(text)] if text else []
    return []


def next_rows(connection: Any, after: int, until: int, count: int) -> tuple[list[int], list[int]]:
    """Return at most *count* revisions after *after* up to *until*, oldest first, about a page, and their rows."""
    query = (
        "SELECT json_group_array(json_array(revision, first, rows)) FROM"
        " (SELECT revision, first, rows FROM transactions WHERE revision > ? AND revision <= ?"
        " ORDER BY revision LIMIT ?)"
    )
    found: list[tuple[int, int, int]] = []
    for (text,) in connection.execute(query, (after, until, count)):
        found = _parse(text)
    if not found:
        return [], []
    total = 0
    for index, (_, first, rows) in enumerate(found):
        total += sum(_sizes(connection, list(range(first, first + rows))).values())
        if index and total > MAX_PAGE_SIZE:
            found = found[:index]
            break
    listed = list(range(found[0][1], found[-1][1] + found[-1][2]))
    return [revision for revision, _, _ in found], listed


def _sizes(connection: Any, rows: list[int]) -> dict[int, int]:
    """Return about how many bytes each of *rows* takes in a message, with what was there before it."""
    query = (
        "SELECT json_group_array(json_array(row, size)) FROM (SELECT h.row, 100 + 2 * octet_length(h.path)"
        " + octet_length(h.entry) + coalesce((SELECT octet_length(b.entry) FROM history b WHERE b.row = (BEFORE)), 0)"
        " AS size FROM history h WHERE h.row IN (SELECT value FROM json_each(?)))"
    ).replace("BEFORE", _BEFORE)
    for (text,) in connection.execute(query, (msgspec.json.encode(rows).decode(),)):
        return dict(_parse(text))
    return {}


_BEFORE = (
    "SELECT max(row) FROM history"
    # The old path of a move has its LEFT row directly before; what was there before that is meant.
    " WHERE path = coalesce(h.source, h.path) AND row < h.row - (h.source IS NOT NULL)"
)
"""Which row was the last at the path of the row `h`."""


def build(connection: Any, revisions: Sequence[int], rows: Sequence[int]) -> list[Transaction]:
    """Return the transactions *revisions*, in that order, with those of their events that are in *rows*."""
    events: dict[int, list[Event]] = {}
    query = (
        "SELECT '[' || group_concat('[' || revision || ',' || json_quote(path) || ',' || kind || ',' ||"
        " json_quote(source) || ',' || entry || ',' || coalesce(before, 'null') || ']') || ']' FROM ("
        "SELECT h.revision, h.path, h.kind, h.source, h.entry, ("
        "SELECT CASE WHEN b.kind IN (0, 2, 4) THEN '[' || json_quote(b.path) || ',' || b.revision || ',' || b.entry"
        " || ']' END FROM history b WHERE b.row = (BEFORE)) AS before"
        " FROM history h WHERE h.row IN (SELECT value FROM json_each(?)) AND h.kind <> 3 ORDER BY h.row)"
    ).replace("BEFORE", _BEFORE)
    for (text,) in connection.execute(query, (msgspec.json.encode(rows).decode(),)):
        for revision, path, kind, source, fields, before in _parse(text) if text else ():
            previous = decode(*before) if before else None
            event = Event(TYPES[kind], decode(path, revision, fields), previous, source or "")
            events.setdefault(revision, []).append(event)
    return with_heads(connection, revisions, events)


def with_heads(connection: Any, revisions: Sequence[int], events: Mapping[int, Sequence[Event]]) -> list[Transaction]:
    """Return the transactions *revisions*, in that order, with *events*."""
    heads = {}
    query = (
        "SELECT json_group_array(json_array(revision, record_time, origin, cause, grp, label, undone))"
        " FROM transactions WHERE revision IN (SELECT value FROM json_each(?))"
    )
    for (text,) in connection.execute(query, (msgspec.json.encode(revisions).decode(),)):
        heads = {head[0]: head for head in _parse(text)}
    built = []
    for revision in revisions:
        _, record_time, origin, cause, group, label, undone = heads[revision]
        built.append(
            Transaction(
                revision,
                record_time,
                origin,
                cause,
                group,
                label,
                tuple(events.get(revision, ())),
                tuple(_parse(undone)) if undone else (),
            )
        )
    return built


def newest(
    connection: Any, pattern: Pattern, ways: Ways | None, floor: int, limit: int, count: int
) -> tuple[list[tuple[int, list[int]]], bool]:
    """Return the last *count* revisions before the row *limit* that touched *pattern*, each with its rows.

    Newest first, about a page of them, at least one; also says whether there are more. *ways* is what the function
    of that name returns.
    """
    found: dict[int, list[int]] = {}
    taken = 0
    most = min(count + 1, _BATCH)  # mostly all it takes: each row is looked up, parsed and matched
    while True:
        batch = _rows(connection, pattern, ways, floor, limit, most)
        sizes = _sizes(connection, [row for row, revision in batch if revision])
        for row, revision in batch:
            if not revision:
                continue
            if revision not in found and len(found) == count:
                return list(found.items()), True
            taken += sizes.get(row, 0)
            if taken > MAX_PAGE_SIZE and len(found) > (revision in found):
                found.pop(revision, None)
                return list(found.items()), True
            found.setdefault(revision, []).append(row)
        if len(batch) < most:
            return list(found.items()), False
        limit = batch[-1][0]
        most = _BATCH


_BATCH = 2000
Ways = list[tuple[str, int]]
"""Paths, and for each the row up to which (exclusive) its history counts."""


def ways(connection: Any, pattern: Pattern, roof: int) -> Ways | None:
    """Return the paths that match, and those their entries came from by moves before the row *roof*.

    `None` where they are so many that all rows are looked at instead; then moves are not followed.
    """
    paths = [pattern.text] if pattern.exact else _paths(connection, pattern)
    if paths is None:
        return None
    query = (
        "WITH RECURSIVE way(path, upto) AS (SELECT value, :roof FROM json_each(:paths)"
        " UNION SELECT h.source, h.row FROM way JOIN history h ON h.path = way.path"
        " WHERE h.kind = 2 AND h.row < way.upto"
        " UNION SELECT m.source, m.row FROM way JOIN block_moves m ON m.path = way.path AND m.row < way.upto)"
        " SELECT json_group_array(json_array(path, upto)) FROM (SELECT path, max(upto) AS upto FROM way GROUP BY path)"
    )
    for (text,) in connection.execute(query, {"roof": roof, "paths": msgspec.json.encode(paths).decode()}):
        return [(path, upto) for path, upto in _parse(text)]
    return []


def _rows(
    connection: Any, pattern: Pattern, ways: Ways | None, floor: int, limit: int, most: int
) -> list[tuple[int, int]]:
    """Return the next rows and their revisions, newest first.

    A LEFT row stands for the MOVE behind it; revision 0 says that the row only seemed to match.
    """
    if ways is None:
        low, high, glob = span(pattern)
        query = (
            "SELECT json_group_array(json_array(row, revision, path, source)) FROM (SELECT row, revision, path, source"
            " FROM history WHERE row >= ? AND row < ? AND kind <> 3 AND ((path >= ? AND path < ? AND path GLOB ?)"
            " OR (source >= ? AND source < ? AND source GLOB ?)) ORDER BY row DESC LIMIT ?)"
        )
        for (text,) in connection.execute(query, (floor, limit, low, high, glob, low, high, glob, most)):
            return [
                (row, revision if pattern.matches(path) or (source and pattern.matches(source)) else 0)
                for row, revision, path, source in _parse(text)
            ]
    bounds: dict[str, Any] = {"floor": floor, "limit": limit, "count": most}
    query = (
        "SELECT json_group_array(json_array(row, revision)) FROM ("
        "SELECT DISTINCT h.row + (h.kind = 3) AS row, h.revision AS revision FROM json_each(:ways) w"
        " JOIN history h ON h.path = (w.value ->> 0) AND h.row < (w.value ->> 1)"
        " WHERE h.row >= :floor - 1 AND h.row < :limit AND h.row + (h.kind = 3) >= :floor"
        " AND h.row + (h.kind = 3) < :limit ORDER BY 1 DESC LIMIT :count)"
    )
    if ways is not None and len(ways) == 1:  # then the index has them in this order
        bounds["path"], bounds["upto"] = ways[0]
        query = (
            "SELECT json_group_array(json_array(row + (kind = 3), revision)) FROM (SELECT row, kind, revision FROM"
            " history WHERE path = :path AND row < min(:upto, :limit) AND row >= :floor - 1"
            " AND row + (kind = 3) >= :floor AND row + (kind = 3) < :limit ORDER BY row DESC LIMIT :count)"
        )
    else:
        bounds["ways"] = msgspec.json.encode(ways).decode()
    for (text,) in connection.execute(query, bounds):
        return _parse(text)  # type: ignore[no-any-return]
    return []


def _paths(connection: Any, pattern: Pattern) -> list[str] | None:
    """Return every path that ever matched, or `None` where they are so many that all rows are looked at instead."""
    if pattern.text == "//":
        return None
    low, high, glob = span(pattern)
    bounds = {"low": low, "high": high, "after": "", "glob": glob, "count": _MANY_PATHS + 1}
    for (text,) in connection.execute(EVERY_PATH, bounds):
        found = _parse(text)
        return None if len(found) > _MANY_PATHS else [path for path in found if pattern.matches(path)]
    return []
