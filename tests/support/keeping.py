"""All rooms that may hold something, on real files, with what purges and what makes backups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
from tests.support.files import content, files

from lightfast.app.keeping import join_vault
from lightfast.context.entry import Mutation, Set
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.purge import MemoryRoom
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.purge import SceneRoom
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.upkeep.purge import Purger, Step
from lightfast.context.upkeep.purge_frames import FrameRoom
from lightfast.context.upkeep.purge_history import HistoryRoom
from lightfast.context.upkeep.purge_ledger import Tombstone
from lightfast.context.upkeep.purge_needles import Needles
from lightfast.context.upkeep.purge_rows import AnswerRoom, AssetRoom, OperationRoom
from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.clock import SYSTEM
from lightfast.engine.journal.recording_room import RecordingRoom
from lightfast.gateway.operations import Operations
from lightfast.security.sealing.vault import Vault
from lightfast.storage.archive.archive import Archive
from lightfast.storage.backup import Backup, Backups
from lightfast.storage.backup_records import Sources
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests
from lightfast_link.value import Value


@dataclass
class Keep:
    """The rooms, below *home*."""

    home: Path
    db: Database
    blobs: BlobStore
    vault: Vault
    archive: Archive
    requests: Requests
    store: Store
    memory: MemoryStore
    scenes: Scenes
    operations: Operations
    backups: Backups
    purger: Purger

    async def set(self, *pairs: tuple[str, Value], **how: Any) -> int:
        """Commit one transaction; return its revision."""
        return await self.apply(*[Set(path, value) for path, value in pairs], **how)

    async def apply(self, *mutations: Mutation, **how: Any) -> int:
        """Commit one transaction; return its revision."""
        return (await self.store.apply(mutations, **{"origin": "client:test", **how})).revision

    async def purge(self, reason: str = "it was a mistake", **what: Any) -> tuple[Tombstone, tuple[str, ...]]:
        """Purge, and return the tombstone and what is left elsewhere."""
        return ended([step async for step in self.purger.purge(make_target(**what), origin="me", reason=reason)])

    async def count(self, **what: Any) -> dict[str, int]:
        """Return what would go."""
        return ended([step async for step in self.purger.count(make_target(**what))])[0].removed

    async def backup(self, path: str = "", **how: bool) -> Backup:
        """Make a backup."""
        made = [step async for step in self.backups.make(path, **how)][-1].backup
        assert made is not None
        return made

    def holders(self, text: str) -> list[str]:
        """Return the names of all files below home that hold *text* in one of its forms, backups left aside."""
        forms = Needles(text).plain
        return sorted(
            str(path.relative_to(self.home))
            for path in files(self.home)
            if path.suffix != ".lfbackup" and any(form in content(path) for form in forms)
        )

    def integrity(self) -> list[str]:
        """Return what SQLite finds wrong with the database: by a new connection, for FTS5 looks into what it cached."""
        connection = apsw.Connection(str(self.db.path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        finally:
            connection.close()


def ended(steps: Sequence[Step]) -> tuple[Tombstone, tuple[str, ...]]:
    """Return the tombstone of the last step, and what is left elsewhere."""
    assert steps[-1].tombstone is not None
    assert all(step.tombstone is None for step in steps[:-1])
    return steps[-1].tombstone, steps[-1].remaining


@asynccontextmanager
async def keeping(home: Path, *, keep: int = 3) -> AsyncIterator[Keep]:
    """Open everything below *home*, and close it in order."""
    async with AsyncExitStack() as stack:
        state = home / "state"
        state.mkdir(parents=True, exist_ok=True)
        db = await Database.open(state / "lightfast.db")
        stack.push_async_callback(db.close)
        blobs = await BlobStore.open(state / "assets", db, 1 << 30)
        stack.push_async_callback(blobs.close)
        vault = Vault(state / "archive")
        stack.push_async_callback(vault.close)
        archive = await Archive.open(state / "archive", sealer=vault.seals)
        join_vault(vault, archive)
        stack.push_async_callback(archive.close)
        store = await Store.open(db, archive=archive)
        stack.push_async_callback(store.close)
        embedders = EmbedderBook()
        stack.push_async_callback(embedders.close)
        memory = await MemoryStore.open(db, store.requests, embedders, archive=archive, revision=lambda: store.revision)
        stack.push_async_callback(memory.close)
        scenes = Scenes(store, db, SYSTEM)
        operations = Operations(db)
        turn = asyncio.Lock()
        recordings = state / "recordings"

        def recorded() -> list[tuple[Path, bool]]:
            return [(path, False) for path in sorted(recordings.glob("*.lfrec"))]

        sources = Sources(
            db.path, blobs.folder, state / "archive", lambda: [path for path, _ in recorded()],
            {"config/lightfast.toml": home / "config/lightfast.toml"},
        )  # fmt: skip
        backups = Backups(db, state / "backups", sources, keep=keep, version="0", turn=turn)
        stack.push_async_callback(backups.close)

        async def locked() -> int:
            return 0 if vault.unlocked else (await archive.stats()).private_frames

        purger = Purger(
            db,
            store,
            [
                SceneRoom(db, scenes),
                HistoryRoom(db, store.tiers),
                AnswerRoom(db),
                OperationRoom(db, operations.forget),
                AssetRoom(db, blobs),
                MemoryRoom(memory, db),
                FrameRoom(archive, locked, state / "archive"),
                RecordingRoom(recorded),
            ],
            [home],
            turn=turn,
        )
        purger.remaining.append(backups.before_purge)
        stack.push_async_callback(purger.close)
        await purger.start()
        yield Keep(home, db, blobs, vault, archive, store.requests, store, memory, scenes, operations, backups, purger)
