"""A small store in memory with the part of the interface that Watch needs, and a log to judge it by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from lightfast.context.entry import Entry, Event, EventType, Transaction
from lightfast.context.watch import Bus
from lightfast_link.path import Pattern, is_under
from lightfast_link.value import Value


class MemoryStore:
    """Keeps entries and every transaction; publishes to its bus at once, as after a commit."""

    def __init__(self, *, revision: int = 0, bookmark_interval: float = 5.0) -> None:
        self.store_id = "store-1"
        self.revision = revision
        self.oldest_revision = revision
        self.bus = Bus(self.store_id, bookmark_interval=bookmark_interval)
        self.entries: dict[str, Entry] = {}
        self.log: list[Transaction] = []
        self.replays = 0

    def set(self, *pairs: tuple[str, Value], origin: str = "local") -> int:
        """Commit one transaction that sets each path."""
        revision = self.revision + 1
        return self._commit(
            [
                Event(EventType.SET, self._entry(path, value, revision, origin), self.entries.get(path))
                for path, value in pairs
            ],
            origin,
        )

    def delete(self, path: str, origin: str = "local") -> int:
        """Commit the deletion of *path* and all below it."""
        revision = self.revision + 1
        events = [
            Event(EventType.DELETE, self._entry(old.path, old.value, revision, origin), old)
            for old in self.entries.values()
            if is_under(old.path, path)
        ]
        return self._commit(events, origin)

    def move(self, source: str, target: str, origin: str = "local") -> int:
        """Commit the move of *source* and all below it."""
        revision = self.revision + 1
        events = [
            Event(
                EventType.MOVE,
                self._entry(target + old.path[len(source) :], old.value, revision, origin),
                old,
                old.path,
            )
            for old in self.entries.values()
            if is_under(old.path, source)
        ]
        return self._commit(events, origin)

    def signal(self, path: str, value: Value, origin: str = "local") -> Entry:
        """Publish a volatile value."""
        entry, old = self._entry(path, value, 0, origin, signal=True), self.entries.get(path)
        self.entries[path] = entry
        self.bus.signals([Event(EventType.SET, entry, old)])
        return entry

    def compact(self, revision: int) -> None:
        """Drop the events up to *revision*."""
        self.oldest_revision = max(self.oldest_revision, revision)

    def get(self, path: str) -> Entry | None:
        return self.entries.get(path)

    peek = get

    @property
    def cache(self) -> MemoryStore:
        return self

    async def load(self, held: list[Entry], *, keep: bool = True) -> list[Entry]:
        return held

    def visit(self, pattern: Pattern) -> Iterator[list[str]]:
        for path in list(self.entries):
            yield [path] if path in self.entries and pattern.matches(path) else []

    async def replay(self, after_revision: int, until_revision: int, limit: int) -> list[Transaction]:
        self.replays += 1
        await asyncio.sleep(0)
        first = max(after_revision, self.oldest_revision)
        wanted = [item for item in self.log if first < item.revision <= until_revision]
        return wanted[:limit]

    def _entry(self, path: str, value: Value | None, revision: int, origin: str, signal: bool = False) -> Entry:
        old = self.entries.get(path)
        version = old.version + 1 if old else 1
        return Entry(path, value, revision, revision, version, origin, 0, 0, 0, signal=signal)

    def _commit(self, events: list[Event], origin: str) -> int:
        self.revision += 1
        transaction = Transaction(self.revision, 0, origin, events=tuple(events))
        for event in events:
            if event.type is EventType.DELETE:
                self.entries.pop(event.entry.path, None)
            else:
                if event.source:
                    self.entries.pop(event.source, None)
                self.entries[event.entry.path] = event.entry
        self.log.append(transaction)
        self.bus.publish(transaction)
        return self.revision
