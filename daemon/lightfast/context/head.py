"""The tree as the next transaction will find it: what is committed, and over it what is being written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightfast.context.cache import Cache
from lightfast.context.entry import Entry
from lightfast.context.stub import Held, Stub
from lightfast.context.tree import Tree
from lightfast_link.path import is_under

Changes = dict[str, Entry | None]
"""Entries by path as a transaction leaves them; `None` where it deleted one."""


class Head:
    """The live tree under the changes of the transactions that wait for the disk.

    Readers see `tree` alone. `push` puts the changes of a transaction on top, `settle` moves them
    into the tree when it is durable, `drop` forgets them all when one could not be written. The *cache*
    bounds what the tree keeps in memory.
    """

    __slots__ = ("_pending", "cache", "tree")

    def __init__(self, tree: Tree, cache: Cache | None = None) -> None:
        self.tree = tree
        self.cache = cache
        self._pending: dict[str, tuple[Entry | None, int]] = {}

    def get(self, path: str) -> Entry | None:
        """Return the entry at *path*; of a signal that went on while it was committed, the newer value."""
        if self._pending:
            pending = self._pending.get(path)
            if pending is not None:
                entry = pending[0]
                if entry is not None and entry.signal:
                    live = self.tree.entries.get(path)
                    if type(live) is Entry and not live.revision and live.version > entry.version:
                        return live
                return entry
        held = self.tree.entries.get(path)
        return self.tree.get(path) if type(held) is Stub else held  # type: ignore[return-value]  # no stub

    def revision(self, path: str) -> int | None:
        """Return the revision of the entry at *path*, 0 for a signal on its way; `None` where there is no entry."""
        held: Held | None = self.get(path) if path in self._pending else self.tree.entries.get(path)
        return None if held is None else held.revision

    async def warm(self, paths: Iterable[str]) -> None:
        """Bring what lies at *paths* into memory, so that `get` need not wait for the disk."""
        if self.tree.cold and self.cache is not None:
            await self.cache.warm(paths)

    def below(self, path: str) -> list[str]:
        """Return the paths of all entries strictly below *path*, ordered."""
        found = self.tree.below(path)
        if self._pending:
            found = [child for child in found if self._pending.get(child, (True,))[0] is not None]
            known = set(found)
            found += [
                child
                for child, (entry, _) in self._pending.items()
                if entry is not None and child != path and is_under(child, path) and child not in known
            ]
        found.sort()
        return found

    def push(self, changes: Changes, revision: int) -> None:
        """Put *changes* of the transaction *revision* on top."""
        for path, entry in changes.items():
            self._pending[path] = (entry, revision)

    def settle(self, changes: Changes, revision: int, rows: Iterable[tuple[Any, ...]] = ()) -> None:
        """Move *changes* into the tree; a signal that went on since keeps its newer value there.

        *rows* are those that were written for them; see `Unit.log`.
        """
        tree = self.tree
        for path, entry in changes.items():
            pending = self._pending.get(path)
            if pending is not None and pending[1] == revision:
                del self._pending[path]
            if entry is None:
                tree.remove(path)
                continue
            live = tree.entries.get(path)
            if type(live) is not Entry or live.revision or live.version <= entry.version or not entry.signal:
                tree.put(path, entry)
        if rows and self.cache is not None:
            self.cache.settled(rows)

    def drop(self) -> None:
        """Forget what could not be written."""
        self._pending.clear()
