"""Show mode: the lock and the panic of one daemon, kept over restarts and shown in the context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from lightfast.context.entry import Set
from lightfast.context.store import Store
from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.show.guard import Guard, Lock
from lightfast.engine.show.panic import Panic, Stopped
from lightfast.storage.database import Database
from lightfast_link.value import Value

log = structlog.get_logger("lightfast.show")

T = TypeVar("T")

PATH = "/lightfast/show"
"""Where the state stands in the context, as a map."""
ORIGIN = "daemon"
MAX_REASON = 500
RECORDED_S = 0.02
"""How long, in seconds, the answer to a panic waits for its record: by then everything has stopped already."""
RETRY_S = 1.0
CLOSE_S = 10.0
"""How long the end of the daemon waits for a panic to be recorded, in seconds."""
_KEY = "show"


class _Kept(msgspec.Struct):
    lock: Lock | None = None
    stopped: Stopped | None = None


class Show:
    """Open one with `await Show.open(…)`. Rooms ask `guard`; what writes by itself joins `panic`.

    A show that was stopped stays stopped after a restart: a daemon that comes back by itself must not
    set a stage in motion that somebody has stopped.
    """

    def __init__(self, store: Store, db: Database, clock: Clock, tasks: TaskGroup, kept: _Kept) -> None:
        """Use `open`."""
        self.guard = Guard()
        self.panic = Panic()
        self.deferred: Callable[[], Sequence[str]] = tuple
        """Set by the composition: what was put off until the unlock."""
        self._store = store
        self._db = db
        self._clock = clock
        self._tasks = tasks
        self._saving = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._recording: asyncio.Task[int] | None = None
        self.guard.lock = kept.lock
        self.panic.stopped = kept.stopped

    @classmethod
    async def open(cls, store: Store, db: Database, clock: Clock, tasks: TaskGroup) -> Show:
        """Read what the last daemon left behind: a lock and a panic hold on."""
        rows = await db.query("SELECT value FROM settings WHERE key = ?", (_KEY,))
        show = cls(store, db, clock, tasks, msgspec.json.decode(rows[0][0], type=_Kept) if rows else _Kept())
        for state in (show.guard.lock, show.panic.stopped):
            if state is not None:
                log.warning("since before the start of the daemon", state=str(state))
        entry = store.get(PATH)
        if rows and (entry is None or entry.value != show.shown()):  # it was undone, for example
            await show._save(ORIGIN, "the show as the daemon found it")
        return show

    async def close(self) -> None:
        """Wait until the last panic is recorded, but not for a disk that takes nothing."""
        if self._recording is not None and not self._recording.done():
            _, late = await asyncio.wait([self._recording], timeout=CLOSE_S)
            if late:
                log.error("the panic is not on record: after a restart nothing is held")

    async def lock(self, by: str, reason: str = "") -> None:
        """Lock the show; one that is locked stays as it is. When this returns, the lock is durable."""
        _check(reason)
        await self._through(self._lock(by, reason), "lock")

    async def unlock(self, by: str) -> None:
        """Unlock the show, whoever locked it; what was put off is done now."""
        await self._through(self._unlock(by), "unlock")

    async def _lock(self, by: str, reason: str) -> None:
        async with self._changing:
            if self.guard.lock is not None:
                return
            self.guard.lock = Lock(by, self._clock.now_ns(), reason)
            try:
                await self._save(by, f"show locked: {reason}" if reason else "show locked")
            except BaseException:
                self.guard.lock = None  # what nobody was told of must not hold
                raise
        log.info("show locked", by=by, reason=reason)

    async def _unlock(self, by: str) -> None:
        async with self._changing:
            lock = self.guard.lock
            if lock is None:
                return
            await self._save(by, "show unlocked", _Kept(None, self.panic.stopped))
            self.guard.unlocked()
        log.info("show unlocked", by=by, locked_by=lock.by)

    def stop(self, by: str, reason: str = "") -> tuple[str, ...]:
        """Hold everything, now; return the rooms that could not be held. It is recorded behind the caller's back."""
        stopped = Stopped(by, self._clock.now_ns(), reason[:MAX_REASON])
        failed = self.panic.hold(stopped)
        label = f"panic: {stopped.reason}" if reason else "panic"
        self._recording = self._tasks.start(self._save_patiently(by, label), "record panic")
        log.warning("panic", by=by, reason=reason, held=self.panic.holders, failed=failed)
        return failed

    async def recorded(self, within: float = RECORDED_S) -> int:
        """Return the revision at which the last panic was recorded, or 0 where that takes longer than *within* s.

        After that revision there is no transaction of a link.
        """
        if self._recording is None:
            return 0
        await asyncio.wait([self._recording], timeout=within)
        return self._recording.result() if self._recording.done() else 0

    async def release(self, by: str) -> tuple[str, ...]:
        """Let everything go on; when this returns, that is durable. Return the rooms that could not."""
        stopped = self.panic.stopped
        return () if stopped is None else await self._through(self._release(by, stopped), "release")

    async def _release(self, by: str, stopped: Stopped) -> tuple[str, ...]:
        async with self._changing:
            if self.panic.stopped is not stopped:
                return ()  # released already, or stopped again since this was asked for: the newer hand wins
            await self._save(by, "panic released", _Kept(self.guard.lock, None))
            if self.panic.stopped is not stopped:
                return ()  # and so meanwhile
            failed = self.panic.release()
        log.warning("panic released", by=by, failed=failed)
        return failed

    def check_ai(self) -> None:
        """Raise `FailedPrecondition` where AI may not write now: in a locked show, and in a panic."""
        self.panic.check("an AI write")
        self.guard.check("an AI write")

    def shown(self, kept: _Kept | None = None) -> dict[str, Value]:
        """Return the value of the entry `/lightfast/show`; times are in ns since 1970, 0 where there is none."""
        kept = kept or _Kept(self.guard.lock, self.panic.stopped)
        lock, stopped = kept.lock, kept.stopped
        return {
            "locked": lock is not None,
            "locked_by": "" if lock is None else lock.by,
            "locked_since": 0 if lock is None else lock.since,
            "lock_reason": "" if lock is None else lock.reason,
            "panic": stopped is not None,
            "panic_by": "" if stopped is None else stopped.by,
            "panic_since": 0 if stopped is None else stopped.since,
            "panic_reason": "" if stopped is None else stopped.reason,
        }

    async def _through(self, change: Coroutine[Any, Any, T], name: str) -> T:
        """Return what *change* returns; it goes on when its caller is cancelled.

        Cut off between its commit and its last line, it would leave one thing on record and another in force.
        """
        return await asyncio.shield(self._tasks.start(change, f"show {name}"))

    async def _save(self, origin: str, label: str, kept: _Kept | None = None) -> int:
        """Write the row and the entry in one unit of work; return the revision."""
        async with self._saving:
            kept = kept or _Kept(self.guard.lock, self.panic.stopped)
            unit = self._db.unit()
            unit.execute("INSERT OR REPLACE INTO settings VALUES(?, ?)", (_KEY, msgspec.json.encode(kept).decode()))
            applied = await self._store.apply(
                [Set(PATH, self.shown(kept))], origin=origin, label=label, unit=unit, trusted=True
            )
            return applied.revision

    async def _save_patiently(self, origin: str, label: str) -> int:
        while True:
            try:
                return await self._save(origin, label)
            except LightfastError as error:
                log.warning("the panic holds, but cannot be recorded yet", reason=error.message)
                await asyncio.sleep(RETRY_S)


def _check(reason: str) -> None:
    if len(reason) > MAX_REASON:
        raise InvalidArgument(
            f"the reason has {len(reason)} characters, the most is {MAX_REASON}: say it in fewer words", field="reason"
        )
