"""The index: which words are in which frames, kept beside the frames and made anew from them whenever it is lost."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Unavailable
from lightfast.storage.archive.caches import Caches
from lightfast.storage.archive.months import DAY_MS, month_of
from lightfast.storage.archive.search import layout
from lightfast.storage.archive.search.fresh import Fresh
from lightfast.storage.archive.search.group import GroupDamaged
from lightfast.storage.archive.search.groups import Groups
from lightfast.storage.archive.search.layout import Row
from lightfast.storage.archive.search.pace import MOMENT_S, SLICE, Pace
from lightfast.storage.archive.search.parts import Part, Plan, view_of
from lightfast.storage.archive.search.source import Item, Source
from lightfast.storage.archive.search.walk import words_of

if TYPE_CHECKING:
    from pyroaring import BitMap64

log = structlog.get_logger("lightfast.archive")

MAX_PAIRS = 2_000_000
"""An open group is sealed with fewer frames when they have so many words."""
MAX_BEHIND = 256
"""From so many appended frames on, they are taken in at once and not by the next search."""
MAX_UNSEEN = 16_384
"""The same before the first search: the index is loaded then, so that this search need not take in everything."""
STRIDE = 2 * layout.MAX_FRAMES
"""So many frames are taken in at once; then those that wait for the index, and what is full, have their turn."""
PATIENCE = 30.0
"""How many seconds a search waits for an index that is being made anew."""


class FrameIndex:
    """The words of an archive's frames. Nothing is read before the first search, or many appends. Used in any thread.

    *source* opens what there is to read at that moment; the index pulls new frames from there, before each search and
    in a thread of its own, so that nothing it holds can be lost. Locks are taken in the order `_files`, `_lock`.
    """

    def __init__(self, folder: Path, caches: Caches, source: Callable[[], Source], clock: Clock = SYSTEM) -> None:
        self.caches = caches
        self._source = source
        self._clock = clock
        self._groups = Groups(folder, caches.postings)
        self._files = threading.RLock()
        """Held while files are written."""
        self._lock = threading.RLock()
        self._fresh: dict[str, Fresh] = {}
        self._sealing: list[Fresh] = []
        self._private: Fresh | None = None
        self._unread: list[str] = []
        """Private frames whose words are still to be read, after the archive was unlocked."""
        self._held: BitMap64 | None = None
        """The numbers of all frames that were taken in; None before the first search."""
        self._stamp = (0, 0)
        """Up to where the frames were taken in, once that is done."""
        self._is_whole = False
        self._changes = itertools.count(1)
        self._generation = 0
        self._behind = 0
        self._is_due = False
        """The work in the background was asked for, and has not begun."""
        self._pace = Pace()
        self._threads: ThreadPoolExecutor | None = None
        self._is_closed = False

    # ---- what the archive tells

    def appended(self, count: int) -> None:
        """Note that *count* frames more are durable; searches find them with or without this."""
        self._behind += count
        self._pace.appended()
        if self._behind >= (MAX_BEHIND if self._is_whole else MAX_UNSEEN) and not self._is_due:
            self._is_due = True
            self._later(self._follow)

    def removed(self, frame_ids: Iterable[str]) -> None:
        """Forget frames: when it returns, no file and nothing in memory holds their words. Blocks."""
        gone = set(frame_ids)
        with self._pace.hurry(), self._files, self._lock:
            is_open = self._held is not None
            if not is_open:
                self._groups.load()
            numbers = self._groups.remove(sorted(gone))
            for shard, fresh in list(self._fresh.items()):
                numbers += fresh.numbers_of(gone)
                self._fresh[shard] = fresh.without(gone)
            for fresh in self._sealing:
                numbers += fresh.numbers_of(gone)
            self._sealing = [fresh.without(gone) for fresh in self._sealing]
            if self._private is not None:
                self._private = self._private.without(gone)
            self._unread = [one for one in self._unread if one not in gone]
            if self._held is not None:
                for number in numbers:
                    self._held.discard(number)
            else:
                self._groups.close()
            self.caches.forget(gone)
            self._changed()

    def locked(self) -> None:
        """Forget what private frames say."""
        with self._pace.hurry(), self._lock:
            known = set() if self._private is None else set(self._private.comings)
            self._private, self._unread = None, []
            self.caches.lock(known)
            self._changed()

    def changed(self) -> None:
        """Look at all frames anew at the next search: files were repaired, or brought back."""
        with self._pace.hurry(), self._files, self._lock:
            self._forget_all()

    # ---- what searches ask

    def generation(self, source: Source) -> tuple[int, int, int]:
        """Return what stays the same for as long as an answer from *source* is good."""
        return (self._generation, *source.stamp)

    def parts(self, plan: Plan, source: Source, unlocked: bool = False) -> list[Part]:
        """Return what there is to search, at least as new as *source*; loads the index at its first use.

        Raises `Unavailable` (INDEX_REBUILDING) while it takes longer than `PATIENCE` to make it anew.
        """
        wanted = source.stamp[0]
        while True:
            if not self._is_whole or self._stamp[0] < wanted:
                self._catch_up(source)
            self._acquire(self._lock)
            try:
                if not self._is_whole or self._stamp[0] < wanted:
                    continue  # it was forgotten in between
                found: list[Part] = [*self._groups.spans]
                fresh = [*self._fresh.values(), *self._sealing]
                if unlocked:
                    fresh.append(self._private_words(source))
                for one in fresh:
                    view = view_of(one, plan)
                    if view is not None:
                        found.append(view)
                return found
            finally:
                self._lock.release()

    def damaged(self, error: GroupDamaged) -> None:
        """Drop a group that turned out to be damaged; its frames are taken in again."""
        log.warning("words of the archive are lost: they are made anew from the frames", why=str(error))
        with self._pace.hurry(), self._files, self._lock:
            self._groups.drop(error.path)
            self._forget_all()

    def catch_up(self) -> None:
        """Take in all frames that are not in the index yet, however long it takes."""
        try:
            self._catch_up(self._source(), patience=float("inf"))
        except Unavailable:
            log.debug("the index is being made anew already")

    def _follow(self) -> None:
        """Do the same in the background, giving way to whatever is appended meanwhile."""
        self._is_due = False
        self._behind = 0
        try:
            self._catch_up(self._source(), patience=float("inf"), gently=True)
        except Unavailable:
            log.debug("the index is being made anew already")

    def figures(self) -> dict[str, float]:
        """Return how much there is: `groups`, their `bytes`, `open` frames, `private` ones that are open."""
        return {
            "index.groups": len(self._groups),
            "index.bytes": self._groups.bytes_on_disk(),
            "index.open": sum(fresh.count for fresh in (*list(self._fresh.values()), *list(self._sealing))),
            "index.private": 0 if self._private is None else self._private.count,
            "index.loaded": self._is_whole,
        }

    def close(self) -> None:
        """Let go of everything; what is in memory alone is made anew at the next start. Blocks."""
        self._is_closed = True
        self._pace.stop()
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)
        with self._files, self._lock:
            self._forget_all()

    # ---- taking in

    def _catch_up(self, source: Source, patience: float = PATIENCE, *, gently: bool = False) -> None:
        until = self._clock.monotonic() + patience
        is_whole = self._is_whole
        while is_whole:
            with self._hold(self._lock):  # without the files: they may be written for a while
                is_whole = self._is_whole
                if is_whole and self._take_some(source, until, gently=gently):
                    return
            if gently:  # what is full is sealed first
                self._later(self._follow)
                return
            time.sleep(MOMENT_S)  # the same: a thread that waits for the lock gets it now
        with self._hold(self._files), self._hold(self._lock):
            if self._held is None:
                self._held = self._groups.load()
                if ghosts := source.ghosts(self._held):
                    self._held = self._groups.drop_with(ghosts)
            if not self._is_whole:
                count = self._take(source.unheld(self._held.copy()), until, source.stamp[0] if gently else 0)
                self._stamp = source.stamp
                self._is_whole = True
                if count > MAX_BEHIND:
                    log.info("took words in", frames=count, groups=len(self._groups))

    def _take_some(self, source: Source, until: float, *, gently: bool) -> bool:
        """Take in at most `STRIDE` frames of *source*, so that not too many wait to be sealed; say if that was all."""
        begin, end = self._stamp[0], source.stamp[0]
        if begin >= end:
            return True
        if end - begin <= STRIDE:
            self._take(source.since(begin), until, end if gently else 0)
            self._stamp = source.stamp
            return True
        upto = begin + STRIDE
        items = source.since(begin)
        self._take(
            takewhile(lambda item: item.is_private or item.row.number < upto, items), until, end if gently else 0
        )
        self._stamp = (upto, 0)
        return False

    def _take(self, items: Iterator[Item], until: float, gently_to: int = 0) -> int:
        """Take frames in; *gently_to* is the number after the last of them where it can rest in between, else 0."""
        if self._held is None:
            raise RuntimeError("the index is not loaded")
        count = 0
        self._pace.begin()
        for item in items:
            row = item.row
            if gently_to and not count % SLICE:
                self._pace.rest(gently_to - row.number + self._behind)
            if row.number in self._held:
                continue
            self._held.add(row.number)
            shard = _month_of_day(row.time_ms // DAY_MS)
            fresh = self._fresh.get(shard)
            if fresh is None:
                fresh = self._fresh[shard] = Fresh(shard)
            if item.is_private:
                fresh.add(row, (layout.PRIVATE,))
                if self._private is not None:
                    self._unread.append(row.frame_id)
            else:
                fresh.add(row, words_of(item.text, item.kind))
            self._close_full(shard)
            count += 1
            if self._is_closed or (not count % 1024 and self._clock.monotonic() > until):
                self._later(self.catch_up)
                raise _rebuilding(len(self._held))
        return count

    def _private_words(self, source: Source) -> Fresh:
        """Return the words of the private frames, which are read when they are first asked for."""
        if self._private is None:
            self._private = Fresh()
            self._unread = self._groups.private()
            for fresh in (*self._fresh.values(), *self._sealing):
                self._unread += [row.frame_id for row in fresh.marked(layout.PRIVATE)]
        until = self._clock.monotonic() + PATIENCE
        while self._unread:
            frame = source.get(self._unread.pop())
            if frame is not None and frame.frame_id not in self._private.comings:
                text = frame.content if isinstance(frame.content, str) else ""
                self._private.add(Row(frame.time_ms, frame.number, frame.frame_id), words_of(text, frame.kind))
            if self._clock.monotonic() > until:
                raise _rebuilding(self._private.count)
        return self._private

    def _forget_all(self) -> None:
        self._held = None
        self._is_whole = False
        self._stamp = (0, 0)
        self._fresh.clear()
        self._sealing.clear()
        self._private, self._unread = None, []
        self._groups.close()
        self.caches.postings.clear()
        self._changed()

    def _changed(self) -> None:
        self._generation = next(self._changes)

    def _acquire(self, lock: threading.RLock) -> None:
        """Take a lock, for which a search waits a while and no longer."""
        if lock.acquire(blocking=False):
            return
        with self._pace.hurry():
            if not lock.acquire(timeout=PATIENCE):
                raise _rebuilding(0 if self._held is None else len(self._held))

    @contextmanager
    def _hold(self, lock: threading.RLock) -> Iterator[None]:
        self._acquire(lock)
        try:
            yield
        finally:
            lock.release()

    def _later(self, work: Callable[[], None]) -> None:
        if self._is_closed:
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "lightfast-words")
        self._threads.submit(work)

    # ---- sealing

    def _close_full(self, shard: str) -> None:
        """Hand the open group of a shard over for sealing when it is full, or the largest when there are too many."""
        fresh = self._fresh[shard]
        if fresh.count < layout.MAX_FRAMES and fresh.size < MAX_PAIRS:
            if len(self._fresh) == 1 or sum(one.count for one in self._fresh.values()) < 2 * layout.MAX_FRAMES:
                return
            shard = max(self._fresh, key=lambda one: self._fresh[one].count)
        self._sealing.append(self._fresh.pop(shard))
        if self._is_whole:
            self._later(self.seal)
        else:
            self.seal()  # while it is made anew, words must not pile up

    def seal(self) -> None:
        """Write the groups that are full; where that fails, they stay in memory and are tried again with the next."""
        with self._files:
            while True:
                with self._lock:
                    if not self._sealing:
                        return
                    fresh = self._sealing[0]
                    sequence = self._groups.sequence(fresh.shard)
                try:
                    group = self._groups.write(fresh, sequence, self._pace.rest)
                except (OSError, GroupDamaged) as error:
                    log.warning("words of the archive cannot be written; they stay in memory", why=str(error))
                    return
                with self._lock:
                    self._sealing.pop(0)
                    self._groups.take(group)


@lru_cache(4096)
def _month_of_day(day: int) -> str:
    return month_of(day * DAY_MS)


def _rebuilding(done: int) -> Unavailable:
    return Unavailable(
        f"the words of the archive are being made anew from its frames, {done:,} so far: try again in a while",
        reason="INDEX_REBUILDING",
        retry_after=5.0,
    )
