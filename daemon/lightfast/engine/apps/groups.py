"""Which group a revision belongs to, so that what answers to it joins the same undo."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from lightfast.context.entry import Transaction
from lightfast.core.errors import OutOfRange

MAX_REMEMBERED = 4096
"""The most revisions remembered."""


class Replayable(Protocol):
    """What is needed of a store."""

    @property
    def bus(self) -> Any:
        """Return the bus; a `Bus` knows the groups of the latest revisions, another feed need not."""

    async def replay(self, after_revision: int, until_revision: int, limit: int) -> list[Transaction]:
        """Return at most *limit* whole transactions, oldest first."""


class Groups:
    """Looks groups up: those of the latest revisions are at hand, others are read from the history."""

    def __init__(self, store: Replayable) -> None:
        self._store = store
        self._recent: Callable[[int], str | None] = getattr(store.bus, "group_of", _unknown)
        self._known: OrderedDict[int, str] = OrderedDict()

    async def of(self, revision: int) -> str:
        """Return the group of *revision*; empty where it has none or is no longer kept."""
        if revision <= 0:
            return ""
        known = self._recent(revision)
        if known is None:
            known = self._known.get(revision)
        if known is not None:
            return known
        try:
            found = await self._store.replay(revision - 1, revision, 1)
        except OutOfRange:
            found = []
        group = found[0].group if found and found[0].revision == revision else ""
        self._known[revision] = group
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return group


def _unknown(_revision: int) -> None:
    return None
