"""Conflict records: a wish that was overwritten leaves a trace at `/lightfast/conflicts/<id>`."""

from __future__ import annotations

from lightfast.context.entry import Delete, Entry, Set
from lightfast.core.clock import Clock
from lightfast.core.ids import new_id
from lightfast_link.path import join
from lightfast_link.value import Value

ROOT = "/lightfast/conflicts"
"""Below it lies one map per conflict."""
MAX_CONFLICTS = 1000
"""The most that are kept in the tree; the oldest goes first, and stays in the history."""


class Conflicts:
    """Makes the records, and keeps their number within bounds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: list[str] = []

    def load(self, entries: list[Entry]) -> None:
        """Count what is there already."""
        self._kept = [entry.path for entry in sorted(entries, key=lambda entry: entry.create_revision)]

    def record(
        self,
        path: str,
        *,
        wished: Value | None,
        reported: Value | None,
        origin: str,
        revision: int,
        reason: str,
    ) -> list[Set | Delete]:
        """Return the writes that record one overwritten wish, for the transaction that overwrites it.

        *origin* and *revision* are the wish's; a value of `None` is an absence and is left out.
        """
        body: dict[str, Value] = {
            "path": path,
            "origin": origin,
            "revision": revision,
            "reason": reason,
            "time": self._clock.now_ns(),
        }
        if wished is not None:
            body["wished"] = wished
        if reported is not None:
            body["reported"] = reported
        target = join(ROOT, new_id("conflict"))
        writes: list[Set | Delete] = [Set(target, body)]
        self._kept.append(target)
        while len(self._kept) > MAX_CONFLICTS:
            writes.append(Delete(self._kept.pop(0)))
        return writes
