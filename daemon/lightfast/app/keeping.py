"""What is kept, sealed and purged: the vault, the backups, the purger and the collector, put together.

The last three are seldom needed: each is loaded and made by the first that asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast import __version__
from lightfast.app.memory_settings import CollectorSettings
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.upkeep.unfinished import has_unfinished
from lightfast.core.clock import SYSTEM
from lightfast.core.log import errors
from lightfast.core.paths import Paths
from lightfast.core.tasks import TaskGroup
from lightfast.engine.journal.journal import Journal
from lightfast.engine.show.show import Show
from lightfast.security.sealing.vault import Vault
from lightfast.storage.archive.archive import Archive
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database

if TYPE_CHECKING:
    from lightfast.context.upkeep.collector import Collector
    from lightfast.context.upkeep.purge import Purger
    from lightfast.context.upkeep.purge_target import Purgeable
    from lightfast.context.upkeep.references import Private
    from lightfast.engine.meta import MetaComputer
    from lightfast.gateway.batching.vectors import VectorCache
    from lightfast.gateway.cache.answers import KeptAnswers
    from lightfast.gateway.failure_log import FailureLog
    from lightfast.storage.backup import Backups


@dataclass(slots=True)
class Keeping:
    """The rooms this is made of; *forget_operations* lets go of operations that are kept in memory.

    *keep* is how many backups stay; *score* and *background* are the collector's: what judges frames, and what lets
    its work wait.
    """

    db: Database
    store: Store
    blobs: BlobStore
    archive: Archive
    memory: MemoryStore
    scenes: Scenes
    journal: Journal
    vault: Vault
    paths: Paths
    forget_operations: Callable[[Sequence[str]], None]
    keep: int
    collecting: CollectorSettings
    tasks: TaskGroup
    show: Show
    score: Callable[[str], Awaitable[float | None]]
    background: Callable[[], AbstractAsyncContextManager[None]]
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by a backup, a purge and a run of the collector: one at a time."""
    answers: KeptAnswers | None = None
    vectors: VectorCache | None = None
    """What the gateway keeps: it takes part in a purge."""
    meta: MetaComputer | None = None
    """The engine, once it is open: what waits in it takes part in a purge."""
    failures: FailureLog | None = None
    """What failed at services and could not be written down."""
    mirror: Path | None = None
    """The folder of the mirror of tasks, where there is one."""
    servers: Sequence[str] = ()
    """The mounts of memory servers that jobs may copy to."""
    made_collector: Collector | None = None
    """The collector, once there is one."""
    _backups: Backups | None = None
    _purger: Purger | None = None

    async def start(self) -> None:
        """Finish what a crash interrupted, and let the collector run by itself where that is wanted."""
        if self._backup_folder.is_dir():
            await self.backups().start()
        if await has_unfinished(self.db):
            await self.purger().start()
        self.archive.on_removed.append(self._removed)
        if self.collecting.enabled:
            self.tasks.start(self._collect(), "collector")

    async def close(self) -> None:
        """Stop what was made."""
        for room in (self._purger, self._backups):
            if room is not None:
                await room.close()

    @property
    def _backup_folder(self) -> Path:
        return self.paths.state / "backups"

    def backups(self) -> Backups:
        """Return what makes backups."""
        if self._backups is None:
            from lightfast.storage.backup import Backups
            from lightfast.storage.backup_records import Sources

            paths = self.paths
            sources = Sources(
                paths.store_file,
                paths.assets,
                paths.archive,
                lambda: [path for path, active in self.recordings() if not active],
                {"config/lightfast.toml": paths.config_file},
            )
            self._backups = Backups(
                self.db, self._backup_folder, sources, keep=self.keep, version=__version__, turn=self.turn
            )
        return self._backups

    def purger(self) -> Purger:
        """Return what purges."""
        if self._purger is None:
            self._purger = self._made_purger()
        return self._purger

    def _made_purger(self) -> Purger:
        """Put the purger together; a room that comes later joins with one line here."""
        from lightfast.context.memory.purge import MemoryRoom
        from lightfast.context.scenes.purge import SceneRoom
        from lightfast.context.upkeep.purge import Purger
        from lightfast.context.upkeep.purge_frames import FrameRoom
        from lightfast.context.upkeep.purge_history import HistoryRoom
        from lightfast.context.upkeep.purge_rows import AnswerRoom, AssetRoom, OperationRoom
        from lightfast.engine.desk.purge import LinePurge
        from lightfast.engine.events.purge import EventPurge
        from lightfast.engine.jobs.purge import JobPurge, SchedulePurge
        from lightfast.engine.journal.recording_room import RecordingRoom
        from lightfast.engine.mirror.purge import MirrorPurge
        from lightfast.engine.runs.purge import RunPurge
        from lightfast.engine.triggers.purge import FiringRoom, WorkflowFileRoom
        from lightfast.engine.workspaces.purge import PlacePurge, TaskPurge
        from lightfast.gateway.batching.batch_rows import BatchRoom
        from lightfast.gateway.cache.purge import KeptRoom
        from lightfast.gateway.failure_purge import FailureRoom
        from lightfast.gateway.prompts.purge import TemplateRoom

        async def locked() -> int:
            return 0 if self.vault.unlocked else (await self.archive.stats()).private_frames

        paths = self.paths
        answers = [] if self.answers is None else [KeptRoom(self.db, self.answers, self.vectors)]
        rooms: list[Purgeable] = [
            SceneRoom(self.db, self.scenes),
            HistoryRoom(self.db, self.store.tiers),
            AnswerRoom(self.db),
            OperationRoom(self.db, self.forget_operations),
            AssetRoom(self.db, self.blobs),
            MemoryRoom(self.memory, self.db),
            FrameRoom(self.archive, locked, paths.archive),
            RecordingRoom(self.recordings),
            BatchRoom(self.db),
            FailureRoom(self.db),
            TemplateRoom(self.db),
            EventPurge(self.db),
            JobPurge(self.db, lambda: None if self.meta is None else self.meta.jobs),
            SchedulePurge(self.db, lambda: None if self.meta is None else self.meta.schedules),
            TaskPurge(self.db),
            PlacePurge(self.db, "workspaces"),
            PlacePurge(self.db, "projects"),
            RunPurge(self.db),
            FiringRoom(self.db, lambda: None if self.meta is None else self.meta.triggers),
            WorkflowFileRoom(self.db, lambda: None if self.meta is None else self.meta.workflows),
            LinePurge(self.db),
            MirrorPurge(self.mirror, lambda: None if self.meta is None else self.meta.mirror),
            *answers,
        ]
        folders = [paths.home] if paths.home is not None else [paths.state, paths.config, paths.runtime]
        purger = Purger(self.db, self.store, rooms, folders, SYSTEM, turn=self.turn)
        purger.remaining += [self.backups().before_purge, self._beyond]
        purger.forget.append(self._forget)
        purger.forget_text.append(self._forget_text)
        return purger

    async def _beyond(self) -> list[str]:
        """Name what lies outside of the rooms: states that a restore has put aside, and memories of others."""
        state = self.paths.state
        aside = await asyncio.to_thread(lambda: sorted(state.parent.glob(f"{state.name}-before-*")))
        return [
            *(f"the backup {path}, which a restore has put aside: delete it when all is well" for path in aside),
            *(
                f"the memory server {mount}, if it was copied there: have it forgotten there, too"
                for mount in self.servers
            ),
        ]

    async def _forget(self) -> None:
        """Let go of what the engine keeps in memory."""
        if self.meta is not None:
            self.meta.workspaces.forget()
            await self.meta.desk.forget()

    def _forget_text(self, holds: Callable[[Any], bool]) -> None:
        """Let go of what is told of errors, where *holds* says that it holds what is purged."""
        errors.forget(holds)
        if self.failures is not None:
            self.failures.forget(holds)

    def collector(self) -> Collector:
        """Return the collector."""
        if self.made_collector is None:
            from lightfast.app.collecting import build
            from lightfast.context.upkeep.collect_records import Limits
            from lightfast.context.upkeep.references import Private

            async def private() -> Private:
                return Private((await self.archive.stats()).private_frames, self.vault.unlocked)

            self.made_collector = build(
                db=self.db,
                store=self.store,
                blobs=self.blobs,
                archive=self.archive,
                memory=self.memory,
                scenes=self.scenes,
                clock=SYSTEM,
                tasks=self.tasks,
                limits=Limits(**{name: getattr(self.collecting, name) for name in Limits.__struct_fields__}),
                recordings=self.journal.files,
                private=private,
                score=self.score,
                forget_operations=self.forget_operations,
                may_run=lambda: self.show.guard.lock is None,
                turn=self.background,
                turn_of_files=self.turn,
            )
        return self.made_collector

    async def _collect(self) -> None:
        """Let the collector run for ever; it is made when its first interval is over."""
        wanted = self.collecting
        await asyncio.sleep(wanted.interval_s)
        await self.collector().run(wanted.interval_s, wanted.time_budget_s, wanted.byte_budget, at_once=True)

    def _removed(self, _: Sequence[str]) -> None:
        """See to it that the collector forgets what frames refer to that are gone.

        It listens to the archive from when it is made: being made while the archive tells, it is told of these, too.
        """
        self.collector()

    def recordings(self) -> list[tuple[Path, bool]]:
        """Return the recordings, and of each whether it is under way; from any thread."""
        recorder = self.journal.recorder
        active = recorder.active
        return [(path, active is not None and path.stem == active.name) for path in self.journal.files()]


def join_vault(vault: Vault, archive: Archive) -> None:
    """Let the archive forget what private frames say when they are locked, and count them."""

    async def changed(unlocked: bool) -> None:
        if not unlocked:
            await archive.locked()

    async def count() -> int:
        return (await archive.stats()).private_frames

    vault.on_change.append(changed)
    vault.count = count
