"""What all layers over the archive have in common: each follows its frames in the background, in a file of its own.

A layer can be left out, or its folder deleted, and nothing else notices: what it knows is found again from the frames.
It follows by numbers: everything up to its *position* has been taken in, and what comes after it is read from the
archive, also after a restart. What was just appended is taken from memory as long as little waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.core.worker import Worker
from lightfast.storage.archive.layer_port import FrameReader, FrameSource, is_text, removals
from lightfast.storage.archive.records import Frame

if TYPE_CHECKING:
    import apsw

log = structlog.get_logger("lightfast.archive")

T = TypeVar("T")

WAITING = 256
"""So many appended frames wait in memory; behind more, they are read from the archive again."""
DEADLINE_S = 60.0
"""The longest that one step may take, in seconds."""
QUIET_S = 0.05
"""A slice begins when nothing was appended for so long: the writer and the loop need the interpreter then."""
LONGEST_S, PATIENT = 0.5, 9.0
"""The longest that a slice waits for that: in seconds, and as so many times what the slice before it took, so that
there is progress also while appends do not pause."""
FORGET_S = 30.0
"""The longest that whoever removes frames waits for a layer, in seconds."""
PAUSES = (1.0, 300.0)
"""The first and the longest wait after a step that failed, in seconds; it doubles."""


class Layer(ABC):
    """Follows an archive. Subclasses say what is done with its frames, and keep it in `self.db`.

    Works in slices of *slice_size* frames, one at a time, and rests after each for as long as it took: at most half of
    one processor. While frames are being appended it waits, and does a slice only now and then. What fails is tried
    again after a pause; appending never waits for it.
    """

    NAME: ClassVar[str]
    """That of its folder and its file."""
    SCHEMA: ClassVar[str]
    """Creates its tables."""
    VERSION: ClassVar[int]
    """A file of another version is thrown away, and found again from the frames."""

    def __init__(
        self, archive: FrameSource, folder: Path, *, clock: Clock = SYSTEM, slice_size: int = 64, rest: float = 1.0
    ) -> None:
        """*folder* is that of the archive; *rest* is the share of its time that it rests after each slice."""
        self._archive = archive
        self._home = folder
        self._folder = folder / self.NAME
        self._clock = clock
        self._slice = slice_size
        self._rest = rest
        self._worker = Worker(self.NAME, most=256)
        self._tasks = TaskGroup(self.NAME)
        self._wake = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self._idle = asyncio.Event()
        self._waiting: deque[Frame] = deque()
        self._gone: list[str] = []
        self._forgetting = False
        self._clean = asyncio.Event()
        self._behind = False
        self._appended_at = float("-inf")
        self._took = 0.0
        self._position = -1
        self._opened = False
        self.edition = 0
        """Grows with each file it opens: what was read of another one holds no longer."""
        self.trouble = ""
        """Why it does not go on now; empty when it does."""
        self.turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """Lets a slice wait for its turn; what is to be forgotten does not."""
        self.db: apsw.Connection

    # ---- life

    def start(self, delay_s: float = 0.0) -> None:
        """Follow the archive from now on; what was there before is taken in after *delay_s*, in the background."""
        self._archive.on_appended.append(self._appended)
        self._archive.on_removed.append(self._removed)
        self._archive.forgetting.append(self.forgotten)
        self._behind = self._home.is_dir()
        if not self._behind:
            self._idle.set()
        elif delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._wake.set)
        else:
            self._wake.set()
        self._tasks.start(self._follow(), "follow")

    async def close(self) -> None:
        """Stop at once; the rest is taken in after the next start."""
        with contextlib.suppress(ValueError):  # it was never started
            self._archive.on_appended.remove(self._appended)
            self._archive.on_removed.remove(self._removed)
            self._archive.forgetting.remove(self.forgotten)
        await self._tasks.close(2.0)
        if self._opened:
            with contextlib.suppress(Exception):
                await self._worker.run(self._close_db, timeout=5.0)
        await self._worker.close()

    def pause(self) -> None:
        """Take nothing more in until `resume`; what was removed is still forgotten."""
        self._going.clear()

    def resume(self) -> None:
        """Go on where it stopped."""
        self._going.set()
        self._wake.set()

    @property
    def paused(self) -> bool:
        """Say whether it was told to pause."""
        return not self._going.is_set()

    @property
    def position(self) -> int:
        """The number of the last frame that it has taken in; -1 for none, or as long as it was not opened."""
        return self._position

    async def settled(self) -> None:
        """Wait until everything that is there was taken in, and everything removed forgotten."""
        await self._idle.wait()

    @property
    def is_there(self) -> bool:
        """Say whether anything was ever taken in: to ask before that creates no file."""
        return self._opened or self._folder.is_dir()

    async def forgotten(self) -> None:
        """Wait until everything that was removed so far is forgotten; raise `Unavailable` where it cannot be."""
        try:
            async with asyncio.timeout(FORGET_S):
                while self._gone or self._forgetting:
                    self._wake.set()
                    self._clean.clear()
                    await self._clean.wait()
        except TimeoutError:
            raise Unavailable(
                f"the layer {self.NAME} of the archive did not forget removed frames within {FORGET_S:g} s"
                f"{f' ({self.trouble})' if self.trouble else ''}: it goes on trying; else stop the daemon and delete"
                f" {self._folder}, which is found again from the frames",
                reason="LAYER_BUSY",
                metadata={"layer": self.NAME},
            ) from None

    # ---- for subclasses

    @abstractmethod
    async def _take(self, frames: Sequence[Frame], position: int) -> None:
        """Take frames in and record *position*, in one transaction; without frames only the position moved on."""

    @abstractmethod
    def _forget(self, frame_ids: Sequence[str]) -> None:
        """Forget frames; runs in the worker."""

    def _load(self) -> None:  # noqa: B027 — not every layer keeps something in memory
        """Read what is kept, once it is open; runs in the worker. A `ValueError` throws it away."""

    def _save(self) -> None:  # noqa: B027 — the same
        """Write what is kept in memory only, before it is closed; runs in the worker."""

    async def _rested(self) -> bool:
        """Do something when all is taken in; return whether there may be more of it to do."""
        return False

    async def _in_worker(self, function: Callable[..., T], *arguments: object) -> T:
        """Run *function* in the worker, with the file open."""
        return await self._worker.run(self._opened_first, function, *arguments, timeout=DEADLINE_S)

    def _write_position(self, position: int) -> None:
        """Record the position; inside a transaction, in the worker."""
        self.db.execute("insert or replace into meta values ('position', ?)", (position,))

    # ---- following

    def _appended(self, frames: Sequence[Frame]) -> None:
        self._appended_at = SYSTEM.monotonic()
        if len(self._waiting) + len(frames) > WAITING:
            self._waiting.clear()
            self._behind = True
        else:
            self._waiting.extend(frames)
        self._stir()

    def _removed(self, frame_ids: Sequence[str]) -> None:
        gone = frozenset(frame_ids)
        self._waiting = deque(frame for frame in self._waiting if frame.frame_id not in gone)
        self._gone.extend(frame_ids)
        self._stir()

    def _stir(self) -> None:
        self._idle.clear()
        self._wake.set()

    async def _follow(self) -> None:
        pause = PAUSES[0]
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                more = True
                while more:
                    await self._quiet()
                    async with nullcontext() if self._gone else self.turn():
                        began = SYSTEM.monotonic()
                        more = await self._step()
                        self._took = SYSTEM.monotonic() - began
                    pause = PAUSES[0]
            except Exception as error:  # noqa: BLE001 — whatever it is: it is told, and tried again
                self.trouble = f"{type(error).__name__}: {error}"
                self._behind = True
                self._waiting.clear()
                log.warning("a layer of the archive stumbled", layer=self.NAME, error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(PAUSES[1], pause * 2)
                self._wake.set()
            else:
                self.trouble = ""

    async def _quiet(self) -> None:
        """Wait until appends pause, but not for ever; what is to be forgotten does not wait."""
        until = SYSTEM.monotonic() + min(LONGEST_S, PATIENT * self._took)
        while not (self._gone or self.paused):
            left = min(self._appended_at + QUIET_S, until) - SYSTEM.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)

    async def _step(self) -> bool:
        """Do one slice; return whether there may be more."""
        began = self._clock.monotonic()
        if self._gone:
            gone, self._gone = self._gone, []
            self._forgetting = True
            try:
                if self.is_there:
                    await self._in_worker(self._forget_all, gone)
            except BaseException:
                self._gone = gone + self._gone
                raise
            finally:
                self._forgetting = False
                self._clean.set()
            return True
        if self.paused:
            return False
        if not (self._waiting or self._behind):
            if await self._rested():
                await self._breathe(began)
                return True
            if not (self._waiting or self._gone):
                self._idle.set()
            return False
        if not self._opened:
            await self._in_worker(lambda: None)
        frames, position = await self._next()
        if position > self._position:
            await self._take([frame for frame in frames if is_text(frame)], position)
            self._position = position
        await self._breathe(began)
        return True

    async def _next(self) -> tuple[list[Frame], int]:
        """Return the next frames and the position after them: out of memory where they join on, else by reading."""
        while self._waiting and self._waiting[0].number <= self._position:
            self._waiting.popleft()
        if self._waiting and self._waiting[0].number == self._position + 1:
            taken = [self._waiting.popleft() for _ in range(min(self._slice, len(self._waiting)))]
            return taken, taken[-1].number
        if not (self._waiting or self._behind):
            return [], self._position

        def read(reader: FrameReader) -> tuple[list[Frame], int]:
            after = self._position if self._position < reader.next_number else -1  # another archive lies here now
            frames = list(islice(reader.scan(after_number=after, private=False), self._slice))
            return frames, frames[-1].number if len(frames) == self._slice else reader.next_number - 1

        self._behind = False  # what is appended while this reads may say that there is more
        frames, position = await self._archive.run(read)
        if position < self._position:
            await self._in_worker(self._begin_anew)
        self._behind = self._behind or len(frames) == self._slice
        return frames, position

    async def _breathe(self, began: float) -> None:
        await asyncio.sleep(min(1.0, (self._clock.monotonic() - began) * self._rest))

    # ---- the file; all in the worker

    def _opened_first(self, function: Callable[..., T], *arguments: object) -> T:
        if not self._opened:
            self._open_db()
            self._opened = True
        return function(*arguments)

    def _move_on(self, position: int) -> None:
        with self.db:
            self._write_position(position)

    def _open_db(self) -> None:
        import apsw

        try:
            self._connect()
            self._load()
        except (apsw.NotADBError, apsw.CorruptError, apsw.SchemaChangeError, apsw.SQLError, ValueError) as error:
            log.warning("a layer of the archive is found again from its frames", layer=self.NAME, error=str(error))
            self.db.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._connect()
            self._load()
        self.edition += 1
        row = self.db.execute("select value from meta where key = 'position'").fetchone()
        self._position = int(row[0]) if row else -1
        self._behind = True
        self._forget_all(())

    def _forget_all(self, frame_ids: Sequence[str]) -> None:
        """Forget frames, and those that the archive notes as removed since it was last looked at."""
        row = self.db.execute("select value from meta where key = 'removed'").fetchone()
        begin = int(row[0]) if row else 0
        noted, end = removals(self._home, begin)
        if frame_ids or noted:
            self._forget(list(dict.fromkeys([*frame_ids, *noted])))
        if end != begin:
            self.db.execute("insert or replace into meta values ('removed', ?)", (end,))

    def _connect(self) -> None:
        import apsw

        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.db = apsw.Connection(str(self._folder / f"{self.NAME}.db"))
        self.db.set_busy_timeout(5000)
        # No write-ahead log: what is forgotten must not lie on in one. It is found again if a power cut takes it.
        self.db.execute("pragma secure_delete = on; pragma journal_mode = truncate; pragma synchronous = normal")
        version = self.db.pragma("user_version")
        if version not in (0, self.VERSION):
            raise ValueError(f"version {version}")
        if version == 0:
            self.db.execute("begin; create table if not exists meta (key text primary key, value) without rowid;")
            self.db.execute(f"{self.SCHEMA}; pragma user_version = {self.VERSION}; commit")

    def _begin_anew(self) -> None:
        log.warning("the archive is another one: a layer begins anew", layer=self.NAME)
        self._close_db()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._open_db()

    def _close_db(self) -> None:
        self._save()
        self.db.close()
