"""Follows the events of workspaces, projects and tasks, and writes each record into a file of its own.

While people move from a layout of JSON files, both are written: the database is what counts, the files are for tools
that still read them, and `lightfast import` takes them back in. What is not written when the daemon dies is written by
the next one: the number of the last event that is in the files stands beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog

from lightfast.core.errors import LightfastError, NotFound, OutOfRange
from lightfast.core.tasks import TaskGroup
from lightfast.core.worker import Worker
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import wanted
from lightfast.engine.mirror.files import Files
from lightfast_link.value import to_plain

log = structlog.get_logger("lightfast.engine")

KINDS = ("workspace.*", "project.*", "task.*")
AGAIN_S = 5.0
"""Seconds until what could not be written is tried again."""
_PAGE = 500
_TOGETHER = 50
"""The files that are written at once."""
_DEADLINE_S = 60.0
"""So long they may take to be written; a folder on a network that is away must not hold the mirror for ever."""
CLOSE_S = 2.0
"""So long the end waits for what is not in the files yet."""


class Records(Protocol):
    """Where the records are: `lightfast.engine.workspaces.workspaces.Workspaces`."""

    async def mirrored(self, kind: str, identity: str) -> Any:
        """Return one record; raises `NotFound`."""

    def all_mirrored(self, size: int) -> AsyncIterator[tuple[str, Any]]:
        """Yield all records with their kind, *size* read at a time."""


class Mirror:
    """One folder; `start` it, and `close` it."""

    def __init__(self, folder: Path, events: EventLog, records: Records) -> None:
        self._files = Files(folder)
        self._events = events
        self._records = records
        # One after the other: what was under way when something is purged must not be written after that.
        self._worker = Worker("mirror")
        self._tasks = TaskGroup("mirror")
        self._task: asyncio.Task[None] | None = None
        self._again = False
        self._reached = -1
        self._step = asyncio.Event()
        self.trouble = ""
        """Why the files are behind; empty while they are not."""

    @property
    def sequence(self) -> int:
        """Return the number of the last event that is in the files."""
        return self._files.sequence

    @property
    def aside(self) -> int:
        """Return how many files that others had changed were put aside."""
        return self._files.aside

    def start(self) -> None:
        """Begin."""
        self._task = self._tasks.start(self._run(), "follow")

    async def erase(self, names: Iterable[str]) -> None:
        """Remove files, after what is being written just now, and write every record again: something was purged."""
        self._again = True
        self._reached = -1
        if self._task is not None:
            self._task.cancel()
        try:
            await self._worker.run(self._remove, list(names), timeout=_DEADLINE_S)
        finally:
            self.start()

    async def close(self) -> None:
        """End, with all that was told so far in the files; what takes longer is written by the next one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._caught_up(self._events.newest)
        await self._tasks.close()
        await self._worker.close()

    async def _caught_up(self, sequence: int) -> None:
        while self._task is not None and not self._task.done() and not self.trouble and self._reached < sequence:
            self._step.clear()
            await self._step.wait()

    def _remove(self, names: Iterable[str]) -> None:
        self._files.open()
        self._files.forget(names)

    async def _run(self) -> None:
        while True:
            try:
                await self._worker.run(self._files.open, timeout=_DEADLINE_S)
                if self._again:
                    self._files.store_id = ""
                await self._follow()
            except (OSError, LightfastError) as error:
                if self.trouble != str(error):
                    log.warning("the mirror is behind", folder=str(self._files.folder), reason=str(error))
                self.trouble = str(error)
                self._step.set()
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        files = self._files
        after = files.sequence if files.store_id == self._events.store_id else None
        if after is None:
            after = await self._write_all()
        try:
            async with aclosing(self._events.watch(wanted(KINDS), after)) as batches:
                async for events, reached in batches:
                    touched = {(event.entity_kind, event.entity_id): None for event in events}
                    await self._put([record for key in touched if (record := await self._record(*key)) is not None])
                    if events or reached - files.sequence > _PAGE:
                        await self._worker.run(files.note, self._events.store_id, reached, timeout=_DEADLINE_S)
                    self.trouble = ""
                    self._reached = reached
                    self._step.set()
        except OutOfRange:  # what happened is no longer kept: what there is now is
            files.store_id = ""
            await self._worker.run(files.note, "", 0, timeout=_DEADLINE_S)

    async def _write_all(self) -> int:
        """Write every record, and return the number of the event the files are at."""
        newest = self._events.newest
        page: list[tuple[str, Any]] = []
        async for record in self._records.all_mirrored(_PAGE):
            page.append(record)
            if len(page) == _TOGETHER:
                await self._put(page)
                page = []
        await self._put(page)
        await self._worker.run(self._files.note, self._events.store_id, newest, timeout=_DEADLINE_S)
        self._again = False
        return newest

    async def _record(self, kind: str, identity: str) -> tuple[str, Any] | None:
        try:
            return kind, await self._records.mirrored(kind, identity)
        except NotFound:
            return None  # it was purged meanwhile

    async def _put(self, records: Sequence[tuple[str, Any]]) -> None:
        for start in range(0, len(records), _TOGETHER):
            page = records[start : start + _TOGETHER]
            files = [(kind, getattr(record, f"{kind}_id"), plain(kind, record)) for kind, record in page]
            for kind, identity in await self._worker.run(self._files.write, files, timeout=_DEADLINE_S):
                log.warning("a file that others had changed was put aside", kind=kind, id=identity)


def plain(kind: str, record: Any) -> dict[str, Any]:
    """Return a record as the layout of JSON files has it; what is empty is left out."""
    found: dict[str, Any] = {"id": getattr(record, f"{kind}_id")}
    names = {"workspace": ("name",), "project": ("name", "workspace_id"), "task": _TASK}[kind]
    found |= {name: getattr(record, name) for name in ("description", *names)}
    if kind == "task":
        found |= {
            "status": record.state.value.lower(),
            "parent_id": record.parent_task_id,
            "dependencies": list(record.after),
            "valid_from": _time(record.valid_from),
        }
    found |= {"created_at": _time(record.create_time), "updated_at": _time(record.update_time)}
    if record.metadata:
        found["metadata"] = to_plain(dict(record.metadata))
    return {name: value for name, value in found.items() if value not in ("", [], None)}


_TASK = (
    "title", "intent_type", "intent_source", "business_goal", "context_adaptations", "parent_context", "workspace_id",
    "project_id", "confidence", "complexity", "routing_decision", "result",
)  # fmt: skip


def _time(nanoseconds: int) -> str:
    """Return a time in ISO 8601, to the microsecond; empty for 0."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat() if nanoseconds else ""
