"""What an undo has to know, over both tiers: who caused what, and everything since at the paths it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightfast.context.codec import decode
from lightfast.context.tiers.view import Found, View, found_in, listed


def frames_named(view: View, names: Sequence[str]) -> list[str]:
    """Return the frames of the blocks with transactions of one of *names*; see `blocks.named`."""
    query = (
        "SELECT json_group_array(frame) FROM (SELECT DISTINCT b.frame FROM json_each(:names) w"
        " JOIN block_names n ON n.name = w.value JOIN blocks b ON b.first = n.block)"
    )
    return list(view.text(query, names=listed(names)))


def caused(view: View, revisions: Sequence[int]) -> list[str]:
    """Return the frames of the blocks that may hold what one of *revisions* has caused."""
    query = (
        "SELECT json_group_array(frame) FROM blocks b WHERE high_cause >= :low AND EXISTS"
        " (SELECT 1 FROM json_each(:revisions) WHERE value BETWEEN b.low_cause AND b.high_cause)"
    )
    return list(view.text(query, revisions=listed(revisions), low=min(revisions, default=0)))


def rows_of(view: View, revisions: Sequence[int]) -> list[tuple[int, str]]:
    """Return number and path of every row of *revisions*."""
    query = (
        "SELECT json_group_array(json_array(h.row, h.path)) FROM transactions t"
        " JOIN history h ON h.row >= t.first AND h.row < t.first + t.rows"
        " WHERE t.revision IN (SELECT value FROM json_each(:revisions))"
    )
    found = [(row, path) for row, path in view.text(query, revisions=listed(revisions))]
    old = [revision for revision in revisions if revision <= view.archived]
    query = (
        "SELECT json_group_array(frame) FROM blocks b WHERE EXISTS (SELECT 1 FROM json_each(:revisions)"
        " WHERE value BETWEEN b.first_revision AND b.last_revision)"
    )
    for block in view.blocks(view.text(query, revisions=listed(old))) if old else ():
        for revision in old:
            head = block.find(revision)
            rows = block.within(head.first, head.first + head.rows) if head is not None else ()
            found += [(block.numbers[index], block.path(index)) for index in rows]
    return found


def later(view: View, since: Mapping[str, int]) -> tuple[int, list[str]]:
    """Return how many rows the paths have from the given row on, and the blocks with those that are archived."""
    query = (
        "SELECT json_array(coalesce(sum(p.rows), 0), json_group_array(DISTINCT b.frame)) FROM json_each(:since) w"
        " JOIN block_paths p ON p.path = w.key AND p.last >= w.value JOIN blocks b ON b.first = p.block"
    )
    archived, frames = view.text(query, since=listed(since))
    query = (
        "SELECT count(*) FROM json_each(:since) w JOIN history h ON h.path = w.key AND h.row >= max(w.value, :border)"
    )
    bounds = {"since": listed(since), "border": view.border}
    ((kept,),) = view.connection.execute(query, bounds)
    return archived + kept, frames


def since(view: View, first_rows: Mapping[str, int], frames: Sequence[str]) -> list[Found]:
    """Return every row of the paths from the given one on, in order; *frames* as `later` returned them."""
    found = [
        found_in(block, index)
        for block in view.blocks(frames)
        for path, first in first_rows.items()
        for index in block.rows_of(path)
        if block.numbers[index] >= first
    ]
    query = (
        "SELECT '[' || group_concat('[' || json_quote(h.path) || ',' || h.row || ',' || h.revision || ',' ||"
        " h.kind || ',' || json_quote(h.source) || ',' || octet_length(h.entry) || ',' || h.entry || ']') || ']'"
        " FROM json_each(:since) w JOIN history h ON h.path = w.key AND h.row >= max(w.value, :border)"
    )
    for path, row, revision, kind, source, size, fields in (
        view.text(query, since=listed(first_rows), border=view.border) or ()
    ):
        found.append(Found(row, kind, source, decode(path, revision, fields), False, size))
    return sorted(found, key=_number)


def _number(found: Found) -> int:
    return found.row
