"""Puts the collector together: its rooms, and the roots that keep things alive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.upkeep.collect_assets import AssetRoom
from lightfast.context.upkeep.collect_memory import FrameRoom, MemoryRoom
from lightfast.context.upkeep.collect_records import Limits, Reached
from lightfast.context.upkeep.collect_rooms import HistoryRoom, OperationRoom
from lightfast.context.upkeep.collector import Collector
from lightfast.context.upkeep.pins import Pins
from lightfast.context.upkeep.references import Archived, Private, Table, named
from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.storage.archive.archive import Archive
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database

Score = Callable[[str], Awaitable[float | None]]


class SceneRoots:
    """What scenes hold, in all their versions."""

    name = "scene"

    def __init__(self, scenes: Scenes) -> None:
        self._scenes = scenes

    async def reach(self, reached: Reached) -> None:
        """Add the assets of all scenes."""
        for sha256 in await self._scenes.assets():
            reached.assets.setdefault(sha256, self.name)


class RecordingRoots:
    """What recordings name: a replay will ask for it. A file is read again only when it has changed."""

    name = "recording"

    def __init__(self, files: Callable[[], Sequence[Path]]) -> None:
        self._files = files
        self._known: dict[tuple[str, int, int], set[str]] = {}

    async def reach(self, reached: Reached) -> None:
        """Add the assets of all recordings."""
        known: dict[tuple[str, int, int], set[str]] = {}
        for path in self._files():
            stat = path.stat()
            key = (str(path), stat.st_size, stat.st_mtime_ns)
            names = self._known.get(key)
            known[key] = await asyncio.to_thread(_named_in, path) if names is None else names
        self._known = known
        for sha256 in set().union(*known.values()):
            reached.assets.setdefault(sha256, self.name)


def _named_in(path: Path) -> set[str]:
    found: set[str] = set()
    with path.open("rb") as file:
        end = b""
        while data := file.read(1 << 20):
            found |= named([(end + data).decode("latin-1")])
            end = data[-66:]  # a name may lie across the cut: 64 digits, and a sign on either side
    return found


async def unjudged(frame_id: str) -> float | None:
    """Return that nobody has judged the frame."""
    return None


def work_roots(db: Database) -> list[Table]:
    """Return what runs, jobs, tasks and lines name: programs, results, notes and what is said of them.

    Events and traces are no roots: they tell of these, and go before them.
    """
    return [
        Table(db, "run", "runs", "number", ("program", "result", "body", "intent")),
        Table(db, "run", "run_steps", "row", ("body",)),
        Table(db, "queued job", "jobs", "number", ("payload", "result", "note", "message", "error")),
        Table(db, "queued job", "job_logs", "row", ("text",)),
        Table(db, "schedule", "job_schedules", "name", ("body",), low=""),
        Table(db, "task", "task_versions", "row", ("title", "description", "business_goal", "body")),
        Table(db, "workspace", "workspaces", "workspace_id", ("description", "metadata"), low=""),
        Table(db, "project", "projects", "project_id", ("description", "metadata"), low=""),
        Table(db, "workflow", "workflow_files", "file", ("text",), low=""),
        Table(db, "line", "desk_lines", "number", ("said", "command", "outcome", "ack")),
    ]


def build(
    *,
    db: Database,
    store: Store,
    blobs: BlobStore,
    archive: Archive,
    memory: MemoryStore,
    scenes: Scenes,
    clock: Clock,
    tasks: TaskGroup,
    limits: Limits,
    recordings: Callable[[], Sequence[Path]],
    turn_of_files: asyncio.Lock | None = None,
    private: Callable[[], Awaitable[Private]],
    score: Score = unjudged,
    forget_operations: Callable[[Sequence[str]], None] = lambda _: None,
    may_run: Callable[[], bool] = lambda: True,
    turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> Collector:
    """Return the collector of one daemon.

    *private* tells of private frames, *score* judges frames, *turn* lets background work wait;
    *turn_of_files* is held while it runs: no backup and no purge are made meanwhile.
    """
    collector = Collector(may_run=may_run, turn=turn, now=clock.monotonic, running=turn_of_files)
    collector.limits = limits

    archived = Archived(db, archive, store.tiers.shelf, private)
    archive.on_removed.append(lambda gone: _forget(tasks, archived, gone))
    collector.roots += [
        Pins(store.select),
        Table(db, "history", "history", "row", ("entry",)),
        SceneRoots(scenes),
        Table(db, "memory", "memory_versions", "row", ("metadata", "source")),
        Table(db, "memory", "memory_wordings", "wording", ("text",)),
        Table(db, "link", "links", "link_id", ("body",), low=""),
        Table(db, "job", "operations", "operation_id", ("body",), low=""),
        *work_roots(db),
        RecordingRoots(recordings),
        archived,
    ]
    collector.rooms += [
        HistoryRoom(store.tiers),
        MemoryRoom(db, clock, lambda: collector.limits, memory.archived.demote),
        OperationRoom(db, clock, lambda: collector.limits, forget_operations),
        FrameRoom(db, archive, clock, lambda: collector.limits, score),
        AssetRoom(db, blobs, clock, lambda: collector.limits),
    ]
    return collector


def _forget(tasks: TaskGroup, archived: Archived, gone: Sequence[str]) -> None:
    tasks.start(archived.removed(gone), "forget references")
