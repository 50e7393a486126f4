"""Undo: what a group, a run or a revision did, and how to take it back.

A transaction goes with those it caused, however far. It can be taken back unless someone else has
written the same paths since; an application that only carried a value out is no one else. What was
undone already, and the undo of it, cancel each other out and are looked through.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import msgspec

from lightfast.context.codec import decode
from lightfast.context.draft import Draft
from lightfast.context.drafting import SLICE
from lightfast.context.entry import Entry
from lightfast.context.kinds import GONE, Kind
from lightfast.context.preconditions import same
from lightfast.context.tiers import takes
from lightfast.context.tiers.blocks import MAX_SIZE as MAX_BLOCK
from lightfast.context.tiers.blocks import named
from lightfast.context.tiers.view import Found, View
from lightfast.core.errors import InvalidArgument

MAX_ROWS = 100_000
MAX_SIZE = 64 << 20
"""Bounds of what one undo looks at: changes, and characters of their entries."""

_parse = msgspec.json.Decoder().decode


class Row(NamedTuple):
    """One row of the history; *entry* is what it left at the path, gone or not."""

    row: int
    revision: int
    kind: int
    source: str
    entry: Entry

    @property
    def gone(self) -> bool:
        """Say whether there is no entry after it."""
        return self.kind in GONE


class Plan(NamedTuple):
    """How to take *revisions* back: the *rows* they wrote, oldest first, and by path what was there *before*.

    *latest* has the last row of each path there is to touch; *conflicts* what others left there.
    *known* says that the target exists at all; *too_old* that its past is gone; *undone_by* is the undo
    that has taken it back already.
    """

    known: bool
    revisions: tuple[int, ...] = ()
    rows: tuple[Row, ...] = ()
    before: dict[int, Entry | None] = {}  # noqa: RUF012  (never changed)
    latest: dict[str, Row] = {}  # noqa: RUF012
    conflicts: tuple[Entry, ...] = ()
    too_old: int = 0
    undone_by: int = 0


def plan(view: View, *, group: str, run: str, revision: int, redo: bool, oldest: int) -> Plan:
    """Return the plan for the given target; for `Tiers.run`."""
    targets = _targets(view, group, run, revision)
    undone, active = _undos(view.connection)
    if redo:
        wanted = set(targets)
        chosen = [by for by, took in active.items() if by in wanted or wanted & set(took)]
    else:
        chosen = [target for target in targets if target not in undone]
    if not chosen:
        by = max((by for by, took in active.items() if not redo and not set(took).isdisjoint(targets)), default=0)
        return Plan(bool(targets), undone_by=by)
    taken = [each for each in _with_effects(view, chosen) if each not in undone]
    if min(taken) <= oldest:
        return Plan(True, too_old=min(taken))
    return _plan(view, taken, undone, active)


def _targets(view: View, group: str, run: str, revision: int) -> list[int]:
    if revision:
        return [] if view.head(revision) is None else [revision]
    query = "SELECT json_group_array(revision) FROM transactions WHERE grp = :name"
    names = ["g" + group]
    if run:
        query = (
            "SELECT json_group_array(revision) FROM transactions WHERE (grp = :name AND grp <> '')"
            " OR origin = 'operation:' || :name"
        )
        names = ["g" + run, "ooperation:" + run]
    found = list(view.text(query, name=run or group) or ())
    if view.border:
        for block in view.blocks(takes.frames_named(view, names)):
            found += [head.revision for head in block.heads() if not named(head).isdisjoint(names)]
    return found


def _undos(connection: Any) -> tuple[set[int], dict[int, tuple[int, ...]]]:
    """Return the revisions that are undone now, and the undos in force with what each took back."""
    undone: set[int] = set()
    active: dict[int, tuple[int, ...]] = {}
    query = (
        "SELECT json_group_array(json_array(revision, json(undone))) FROM"
        " (SELECT revision, undone FROM transactions WHERE undone IS NOT NULL"
        " UNION ALL SELECT revision, undone FROM block_undos ORDER BY revision DESC)"
    )
    for (text,) in connection.execute(query):
        for by, took in _parse(text):
            if by not in undone:  # else a later undo has taken this one back
                active[by] = tuple(took)
                undone.update(took)
    return undone, active


def _with_effects(view: View, revisions: list[int]) -> list[int]:
    """Return *revisions* and all that they caused, newest first."""
    query = (
        "WITH RECURSIVE taken(revision) AS (SELECT value FROM json_each(:revisions) UNION"
        " SELECT t.revision FROM taken JOIN transactions t ON t.cause = taken.revision AND t.cause <> 0)"
        " SELECT json_group_array(revision) FROM taken"
    )
    taken = set(revisions)
    fresh = taken
    while fresh and view.border:
        blocks = view.blocks(takes.caused(view, sorted(fresh)))
        found = {head.revision for block in blocks for head in block.heads() if head.cause in fresh}
        fresh = found - taken
        taken |= fresh
    found = view.text(query, revisions=_listed(sorted(taken)))
    return sorted(found or (), reverse=True)


def _plan(view: View, taken: list[int], undone: set[int], active: dict[int, tuple[int, ...]]) -> Plan:
    mine = set(taken)
    rows: list[Row] = []
    before: dict[int, Entry | None] = {}
    latest: dict[str, Row] = {}
    conflicts: dict[str, Entry] = {}
    since: dict[str, int] = {}
    for row, previous in _rows(view, taken):
        path = row.entry.path
        if row.revision in mine:
            rows.append(row)
            before[row.row] = previous.entry if previous is not None and not previous.gone else None
            since.setdefault(path, row.revision)
        elif (
            path in since and not _looked_through(row.revision, since[path], undone, active) and _changed(row, previous)
        ):
            conflicts[path] = row.entry
        latest[path] = row
    return Plan(True, tuple(taken), tuple(rows), before, latest, tuple(conflicts.values()))


def _looked_through(revision: int, since: int, undone: set[int], active: dict[int, tuple[int, ...]]) -> bool:
    """Say whether *revision* was undone, or is itself an undo of something after *since*: together they are nothing."""
    return revision in undone or min(active.get(revision, (0,))) > since


def _changed(row: Row, previous: Row | None) -> bool:
    """Say whether someone else's *row* is a change of its own: a report that only confirms is none."""
    if row.kind != Kind.REPORT or previous is None or previous.gone:
        return True
    return not same(row.entry.value, previous.entry.value)


def _rows(view: View, taken: list[int]) -> list[tuple[Row, Row | None]]:
    """Return every row since the first of *taken* at the paths they touched, each with the one before it."""
    if view.border:
        return _rows_of_both(view, taken)
    connection = view.connection
    touched = (
        "WITH touched AS (SELECT path, min(row) AS since FROM history WHERE row IN ("
        " SELECT h.row FROM transactions t JOIN history h ON h.row >= t.first AND h.row < t.first + t.rows"
        " WHERE t.revision IN (SELECT value FROM json_each(?))) GROUP BY path)"
    )
    since = (
        " FROM (SELECT h.* FROM touched JOIN history h ON h.path = touched.path AND h.row >= coalesce("
        "(SELECT max(row) FROM history b WHERE b.path = touched.path AND b.row < touched.since), 0)"
        " ORDER BY h.row LIMIT ?)"
    )
    bounds = (_listed(taken), MAX_ROWS)
    for count, size in connection.execute(touched + " SELECT count(*), sum(octet_length(entry))" + since, bounds):
        if count == MAX_ROWS or (size or 0) > MAX_SIZE:
            raise _too_large()
    query = (
        " SELECT '[' || group_concat('[' || row || ',' || revision || ',' || kind || ',' || json_quote(source) ||"
        " ',' || json_quote(path) || ',' || entry || ']') || ']'"
    )
    previous: dict[str, Row] = {}
    found: list[tuple[Row, Row | None]] = []
    for (text,) in connection.execute(touched + query + since, bounds):
        for row, revision, kind, source, path, fields in _parse(text) if text else ():
            this = Row(row, revision, kind, source or "", decode(path, revision, fields))
            found.append((this, previous.get(path)))
            previous[path] = this
    return found


def _rows_of_both(view: View, taken: list[int]) -> list[tuple[Row, Row | None]]:
    """Do what `_rows` does where part of it may lie in the archive."""
    since: dict[str, int] = {}
    for row, path in takes.rows_of(view, taken):
        since[path] = min(row, since.get(path, row))
    count, blocks = takes.later(view, since)
    if count >= MAX_ROWS or len(blocks) * MAX_BLOCK > MAX_SIZE:
        raise _too_large()
    wanted = list(since.items())
    previous = {
        path: None if before is None else _row(before)
        for (path, _), before in zip(wanted, view.latest(wanted), strict=True)
    }
    found: list[tuple[Row, Row | None]] = []
    for each in takes.since(view, since, blocks):
        this = _row(each)
        found.append((this, previous[this.entry.path]))
        previous[this.entry.path] = this
    return found


def _row(found: Found) -> Row:
    return Row(found.row, found.entry.revision, found.kind, found.source or "", found.entry)


def _too_large() -> InvalidArgument:
    return InvalidArgument(
        f"taking this back looks at more than {MAX_ROWS} changes, or {MAX_SIZE} bytes of them: undo less at "
        "once, or set the values you want as the history shows them",
        reason="UNDO_TOO_LARGE",
    )


def take_back(draft: Draft, plan: Plan, leases: Container[str]) -> Iterator[None]:
    """Add to *draft* what takes the plan's rows back: moves first, then the values there were before.

    Yields after slices of them, where the loop may have its turn.

    What went with a lease goes with it again only if that is one of *leases*, the living ones. Raises `Conflict`
    (PATH_OWNED) where somebody else has their hand on one of the paths.
    """
    wanted: dict[str, Entry | None] = {}
    for row in reversed(plan.rows):
        path = row.entry.path
        if row.kind == Kind.LEFT:
            continue
        if row.kind != Kind.MOVE:
            wanted[path] = plan.before[row.row]
            continue
        source = row.source
        if source in wanted and wanted[source] is None:  # what was made at the old path afterwards gives way
            _erase(draft, source)
            del wanted[source]
        if draft.get(path) is not None:
            draft.relocate(path, source)
        if path in wanted:
            wanted[source] = wanted.pop(path)
    for number, (path, entry) in enumerate(sorted(wanted.items())):
        if number and not number % SLICE:
            yield
        if draft.declarations.rule(path).readonly:
            continue  # what only the application can change is not ours to take back
        old = draft.get(path)
        if entry is None:
            _erase(draft, path)
        elif old is None or not same(old.value, entry.value):
            draft.restore(path, entry if entry.lease in leases else msgspec.structs.replace(entry, lease=""))
    for path in draft.changes:
        policy = draft.declarations.rule(path).policy
        if policy is not None:
            draft.guard(path, policy, draft.changes)  # the plan knows what each of them held


def _erase(draft: Draft, path: str) -> None:
    old = draft.get(path)
    if old is not None:
        draft.erase(old)


def _listed(revisions: list[int]) -> str:
    return msgspec.json.encode(revisions).decode()
