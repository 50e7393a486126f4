"""Purge: something goes for ever, from every tier, index, cache and file, and a tombstone says so.

One purge runs at a time, in rounds:

1. what is live goes by an ordinary transaction, so that whoever watches sees it go;
2. every room is asked for all it holds, and the items are written down: numbers and ids, never the text;
3. it is decided, in one commit. A purge that dies before has changed nothing but the live tree, and is dropped;
   one that dies after is finished by the next start, from the items alone;
4. every room erases its items.

A second round finds what was written while the first ran, until one finds nothing. Then the files of the database are
scrubbed, every file below the daemon's folders is searched for the text, and the tombstone is committed as a
transaction of its own: it is in the history, and at `/lightfast/purges/ID`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from lightfast.context.entry import Delete, Set
from lightfast.context.store import Store
from lightfast.context.upkeep import purge_files
from lightfast.context.upkeep.purge_ledger import Ledger, State, Tombstone
from lightfast.context.upkeep.purge_live import live_paths
from lightfast.context.upkeep.purge_rows import tables_holding
from lightfast.context.upkeep.purge_target import Item, Purgeable, Target
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Exhausted, FailedPrecondition, InvalidArgument, LightfastError
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.storage.database import Database
from lightfast.storage.scrub import overwriting, scrub

log = structlog.get_logger("lightfast.purge")

PLACE = "/lightfast/purges"
MAX_ROUNDS = 8
"""So often it looks again for what somebody keeps writing."""
MAX_ITEMS = 5_000_000
MAX_REASON = 500
_DELETES = 1000
_ALL_ROWS = 1 << 62
_SEARCHED = 64
"""Files between two reports."""


class Step(msgspec.Struct, frozen=True):
    """How far a purge has come: *stage* is a room, `live`, `scrub` or `files`; *total* is 0 where it is not known."""

    stage: str
    done: int = 0
    total: int = 0
    tombstone: Tombstone | None = None
    remaining: tuple[str, ...] = ()


class Purger:
    """Purges. *rooms* are joined by the composition; *folders* are searched at the end.

    *forget* lets go of what rooms keep in memory, after the rows have gone; *forget_text* does so by asking of each
    thing whether it holds the text. *remaining* adds what lies outside the
    daemon's reach: backups, for instance. *turn* is held while one purges: who
    makes a backup takes it, too.
    """

    def __init__(
        self,
        db: Database,
        store: Store,
        rooms: Sequence[Purgeable],
        folders: Sequence[Path],
        clock: Clock = SYSTEM,
        *,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self.rooms: list[Purgeable] = list(rooms)
        self.remaining: list[Callable[[], Awaitable[list[str]]]] = []
        self.forget: list[Callable[[], Awaitable[None]]] = []
        self.forget_text: list[Callable[[Callable[[Any], bool]], None]] = []
        self._db = db
        self._store = store
        self._folders = folders
        self._clock = clock
        self._ledger = Ledger(db)
        self._tasks = TaskGroup("purge")
        self._turn = turn or asyncio.Lock()
        self._busy = False
        self._finishing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Finish in the background what a crash interrupted; `settled` waits for it."""
        for left in await self._ledger.listed(State.SEARCHING):
            await self._ledger.drop(left.purge_id)
        if left_over := await self._ledger.listed(State.RUNNING):
            self._finishing = self._tasks.start(self._finish(left_over), "finish")

    async def settled(self) -> None:
        """Wait until what a crash interrupted is finished."""
        if self._finishing is not None:
            await asyncio.wait((self._finishing,))

    async def close(self) -> None:
        """Stop; what is under way goes on at the next start."""
        await self._tasks.close(5.0)

    async def tombstones(self) -> list[Tombstone]:
        """Return what all purges left behind, oldest first."""
        return await self._ledger.listed(State.DONE)

    async def count(self, target: Target) -> AsyncGenerator[Step, None]:
        """Say what a purge would remove, and change nothing; the last step has a tombstone without an id."""
        live = await live_paths(self._db, self._store, target)
        removed = {"live": len(live)} if live else {}
        yield Step("live", len(live))
        target = replace(target, before_row=_ALL_ROWS)
        for room in self.rooms:
            found = 0
            async for items in room.find(target):
                found += len(items)
                yield Step(room.name, found)
            if found:
                removed[room.name] = found
        yield Step("", 0, 0, Tombstone("", self._clock.now_ns(), "", "", removed), await self._beyond(target))

    async def purge(self, target: Target, *, origin: str, reason: str) -> AsyncGenerator[Step, None]:
        """Purge, and yield how far that has come; the last step has the tombstone, and what is left elsewhere.

        It goes on when nobody listens any more. Raises `InvalidArgument`, `FailedPrecondition` (PURGE_UNDER_WAY).
        """
        self.check(target, reason)
        if self._busy:
            raise FailedPrecondition("another purge is under way: wait for its end", reason="PURGE_UNDER_WAY")
        news: asyncio.Queue[Step] = asyncio.Queue()
        self._busy = True
        begun = Tombstone(new_id("purge"), self._clock.now_ns(), origin, reason, {})

        async def work() -> LightfastError | None:
            try:
                async with self._turn:
                    await self._purge(target, begun, news.put_nowait)
            except LightfastError as error:
                return error
            finally:
                self._busy = False
            return None

        task = self._tasks.start(work(), begun.purge_id)
        while not task.done() or not news.empty():
            getter = asyncio.ensure_future(news.get())
            await asyncio.wait((getter, task), return_when=asyncio.FIRST_COMPLETED)
            if getter.done():
                yield getter.result()
            else:
                getter.cancel()
        if (error := task.result()) is not None:
            raise error

    def check(self, target: Target, reason: str) -> None:
        """Raise `InvalidArgument` for a reason that is too long, or would keep what is to go."""
        if len(reason) > MAX_REASON:
            raise InvalidArgument(f"the reason has more than {MAX_REASON} characters", field="reason")
        if target.needles is not None and target.needles.in_value(reason):
            raise InvalidArgument(
                "the reason holds the text that is to go, and would be kept: say it in other words", field="reason"
            )

    # ---- the rounds

    async def _purge(self, target: Target, begun: Tombstone, tell: Callable[[Step], None]) -> None:
        purge_id, removed = begun.purge_id, dict[str, int]()
        log.info("purge began", purge_id=purge_id, origin=begun.origin)
        before_row = looked_at = 0
        remaining: list[str] = []
        async with overwriting(self._db):
            for _ in range(MAX_ROUNDS):
                begin = await self._next_row()
                live = await self._delete_live(replace(target, after_row=looked_at), begun, first=not before_row)
                _count(removed, "live", live)
                tell(Step("live", removed.get("live", 0)))
                if not before_row:  # what is written to the purged paths from here on is news, and stays
                    before_row = await self._next_row()
                bounded = replace(target, before_row=before_row, after_row=looked_at)
                found = await self._find(bounded, begun, removed, tell)
                looked_at = begin
                if not found and not live:
                    break
                await self._erase(purge_id, removed, tell)
                if target.needles is None:
                    break
            else:
                remaining.append("what is still being written: stop the program that writes it, then purge again")
        for forget in self.forget:
            await forget()
        if target.needles is not None:
            for forget_text in self.forget_text:
                forget_text(target.needles.in_value)
        needles = None if target.needles is None or target.patterns or target.memories else target.needles.plain
        tell(Step("scrub"))
        remaining += await scrub(self._db, needles)
        remaining += await self._search(target, tell)
        remaining += await self._beyond(target)
        done = Tombstone(purge_id, self._clock.now_ns(), begun.origin, begun.reason, removed)
        await self._bury(done)
        tell(Step("", 0, 0, done, tuple(dict.fromkeys(remaining))))

    async def _delete_live(self, target: Target, begun: Tombstone, *, first: bool) -> int:
        """Delete what is live; in later rounds, only what holds the text: what lies at the paths is new."""
        if not first:
            target = Target(needles=target.needles, after_row=target.after_row)
        paths = await live_paths(self._db, self._store, target)
        for start in range(0, len(paths), _DELETES):
            mutations = [Delete(path) for path in paths[start : start + _DELETES]]
            await self._store.apply(mutations, origin=begun.origin, label=f"purge {begun.purge_id}", trusted=True)
        return len(paths)

    async def _next_row(self) -> int:
        await self._store.drain()
        ((row,),) = await self._db.query("SELECT coalesce(max(first + rows), 1) FROM transactions")
        return int(row)

    async def _find(
        self, target: Target, begun: Tombstone, removed: dict[str, int], tell: Callable[[Step], None]
    ) -> int:
        """Write down all there is; return how many items that are."""
        first = not await self._known(begun.purge_id)
        if first:
            await self._ledger.begin(begun)
        total = 0
        try:
            for room in self.rooms:
                found = 0
                async for items in room.find(target):
                    await self._ledger.add(begun.purge_id, room.name, items)
                    found += len(items)
                    tell(Step(room.name, removed.get(room.name, 0), removed.get(room.name, 0) + found))
                total += found
                _check_number(total)
        except BaseException:
            if first:
                await asyncio.shield(self._ledger.drop(begun.purge_id))
            raise
        await self._ledger.decide(begun.purge_id)
        return total

    async def _known(self, purge_id: str) -> bool:
        return bool(await self._db.query("SELECT 1 FROM purges WHERE purge_id = ?", (purge_id,)))

    async def _erase(self, purge_id: str, removed: dict[str, int], tell: Callable[[Step], None]) -> None:
        """Let the rooms erase what is written down."""
        rooms = {room.name: room for room in self.rooms}
        for number, name in await self._ledger.work(purge_id):
            room = rooms.get(name)
            if room is None:
                raise FailedPrecondition(
                    f"a purge has work for {name}, which this daemon does not have", reason="PURGE_ROOM_MISSING"
                )
            items: list[Item] = await self._ledger.items(number)
            _count(removed, name, await room.erase(items, purge_id))
            await self._ledger.did(purge_id, number, removed)
            tell(Step(name, removed.get(name, 0)))

    async def _search(self, target: Target, tell: Callable[[Step], None]) -> list[str]:
        """Search every file for the text; return the names of those that hold it."""
        needles = target.needles
        if needles is None:
            return []
        paths = await asyncio.to_thread(purge_files.files, self._folders)
        found: list[str] = []
        for start in range(0, len(paths), _SEARCHED):
            some = paths[start : start + _SEARCHED]
            holders = await asyncio.to_thread(purge_files.holders, some, needles.plain)
            found += [f"the file {path}" for path in holders]
            if self._db.path in holders:
                tables = await self._db.read(partial(tables_holding, needles=needles))
                found += [
                    f"the table {table}: change or delete what is set up there, then purge again" for table in tables
                ]
            tell(Step("files", start + len(some), len(paths)))
        if len(found) > purge_files.MOST:
            found = [*found[: purge_files.MOST], f"and {len(found) - purge_files.MOST} files more"]
        return found

    async def _beyond(self, target: Target) -> tuple[str, ...]:
        found: list[str] = []
        for room in self.rooms:
            found += await room.remaining(target)
        for ask in self.remaining:
            found += await ask()
        return tuple(found)

    async def _bury(self, done: Tombstone) -> None:
        unit = self._db.unit()
        self._ledger.end(unit, done)
        value = {"reason": done.reason, "removed": dict(done.removed), "origin": done.origin}
        await self._store.apply(
            [Set(f"{PLACE}/{done.purge_id}", value)],
            origin=done.origin,
            label=f"purge {done.purge_id}",
            trusted=True,
            unit=unit,
        )
        log.info("purge done", purge_id=done.purge_id, **done.removed)

    async def _finish(self, left_over: Sequence[Tombstone]) -> None:
        """Finish what a crash interrupted. The text is not known any more: the database is written anew in any case."""
        async with self._turn:
            for begun in left_over:
                removed = dict(begun.removed)
                try:
                    async with overwriting(self._db):
                        await self._erase(begun.purge_id, removed, lambda _: None)
                    await scrub(self._db, None)
                    done = Tombstone(begun.purge_id, self._clock.now_ns(), begun.origin, begun.reason, removed)
                    await self._bury(done)
                except LightfastError as error:
                    log.error("a purge could not be finished", purge_id=begun.purge_id, reason=error.reason)  # noqa: TRY400
                    with suppress(LightfastError):
                        await self._store.drain()


def _check_number(total: int) -> None:
    if total > MAX_ITEMS:
        raise Exhausted(f"more than {MAX_ITEMS} things would go: purge smaller parts", reason="PURGE_TOO_LARGE")


def _count(removed: dict[str, int], name: str, more: int) -> None:
    if more:
        removed[name] = removed.get(name, 0) + more
