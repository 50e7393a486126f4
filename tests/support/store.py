"""A store on real files for tests, with its news recorded."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lightfast.context.entry import Event, Mutation, Set, Transaction
from lightfast.context.store import Store
from lightfast.core.clock import SYSTEM, Clock
from lightfast.storage.database import Database
from lightfast_link.value import Value


class News:
    """Records what a store publishes."""

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.updates: list[Event] = []
        self.store: Store | None = None

    def publish(self, transaction: Transaction) -> None:
        """Record it; what is published must be readable by then."""
        if self.store is not None:
            assert self.store.revision == transaction.revision
        self.transactions.append(transaction)

    def signals(self, events: Sequence[Event]) -> None:
        """Record them."""
        self.updates.extend(events)


class House:
    """A database, a store on it, and its news."""

    def __init__(self, db: Database, store: Store, news: News) -> None:
        self.db = db
        self.store = store
        self.news = news

    async def set(self, *pairs: tuple[str, Value], **how: Any) -> int:
        """Commit one transaction; return its revision."""
        return await self.apply(*[Set(path, value) for path, value in pairs], **how)

    async def apply(self, *mutations: Mutation, **how: Any) -> int:
        """Commit one transaction; return its revision."""
        return (await self.store.apply(mutations, **{"origin": "client:test", **how})).revision

    def values(self) -> dict[str, Value | None]:
        """Return the live tree."""
        return {entry.path: entry.value for entry in self.store.select("//")}

    async def values_at(self, revision: int) -> dict[str, Value | None]:
        """Return the tree as of *revision*."""
        page = await self.store.read(pattern="//", at_revision=revision, page_size=10_000)
        assert page.next_page_token == ""
        assert page.revision == revision
        return {entry.path: entry.value for entry in page.entries}


@asynccontextmanager
async def open_store(
    folder: Path, *, clock: Clock = SYSTEM, settle_after: float = 60.0, **how: Any
) -> AsyncIterator[House]:
    """Open the store in *folder*, and close it in order; *how* is passed on."""
    db = await Database.open(folder / "store.db", clock=clock)
    try:
        news = News()
        store = await Store.open(db, clock=clock, bus=news, settle_after=settle_after, **how)
        news.store = store
        try:
            yield House(db, store, news)
        finally:
            await store.close()
    finally:
        await db.close()


def crashed(folder: Path, target: Path) -> Path:
    """Copy the files as they are now, as a crash would leave them."""
    target.mkdir()
    for name in ("store.db", "store.db-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, target / name)
    return target
