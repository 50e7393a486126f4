"""The event log: what happened in the engine, written in the same unit of work as what it tells of.

The writer numbers the rows, so the numbers go up in the order of the commits: whoever has read up to a number has
missed nothing below it. Watchers are woken after a commit and read the new rows once for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import Exhausted, LightfastError, OutOfRange, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.engine.events.records import Event, Wanted

if TYPE_CHECKING:
    from lightfast.storage.database import Database, Unit

log = structlog.get_logger("lightfast.engine")

KEPT = 100_000
"""How many events are kept; the oldest go first, at a start and then by the thousand."""
MOST_WATCHERS = 1_000
QUEUE = 10_000
"""The events that may wait for one watcher; it is cut off then, and goes on from where it was."""
_BATCH = 500
_CATCH_UP = 50
"""How many events are read at once for one who catches up: hundreds may do so while others are answered."""
_FEW = 64
"""So many are read on the loop; what is more is read beside it."""
_SLACK = 1_000
_LOOK_AGAIN_S = 0.25
_GIVE_UP_S = 30.0
_COLUMNS = "sequence, time, kind, entity_kind, entity_id, payload"


class EventLog:
    """Open one with `await EventLog.open(db, clock)`."""

    def __init__(self, db: Database, clock: Clock, newest: int, oldest: int, kept: int) -> None:
        """Use `open`."""
        self.store_id = db.store_id
        self.newest = newest
        """The number of the last event that watchers were told of."""
        self.oldest = oldest
        """The number of the oldest event that is kept; one more than the newest where there is none."""
        self.counts: Counter[str] = Counter()
        """How many events of each kind there were since the start."""
        self._db = db
        self._clock = clock
        self._kept = kept
        self._tasks = TaskGroup("events")
        self._watchers: set[_Watcher] = set()
        self._wake = asyncio.Event()
        self._expected_until = 0.0
        self._leaving = self._closed = False
        self._reader = self._tasks.start(self._follow(), "follow")

    @classmethod
    async def open(cls, db: Database, clock: Clock, kept: int = KEPT) -> EventLog:
        """Go on after the last event; what is over *kept* goes."""
        rows = await db.query(
            "SELECT (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'engine_events'),"
            " (SELECT MIN(sequence) FROM engine_events)"
        )
        newest, oldest = rows[0]
        self = cls(db, clock, newest, newest + 1 if oldest is None else oldest, kept)
        if newest - self.oldest + 1 > kept:
            await self._trim()
        return self

    @property
    def watchers(self) -> int:
        """Return how many watch."""
        return len(self._watchers)

    async def close(self) -> None:
        """End all watches, and those that begin later at once."""
        self._closed = True
        await self._tasks.close()
        for watcher in self._watchers:
            watcher.end(None)

    def send_away(self) -> None:
        """End the watches of guests: the daemon stops, and they come back later."""
        self._leaving = True
        for watcher in self._watchers:
            if watcher.guest:
                watcher.end(stopping())

    def add(self, unit: Unit, kind: str, entity_kind: str, entity_id: str, payload: Mapping[str, Any]) -> None:
        """Add one event to *unit*, which the caller commits; then `poke`. *payload* is what JSON can hold."""
        unit.execute(
            "INSERT INTO engine_events(time, kind, entity_kind, entity_id, payload) VALUES(?, ?, ?, ?, ?)",
            (self._clock.now_ns(), kind, entity_kind, entity_id, json.dumps(payload, separators=(",", ":"))),
        )
        self._expected_until = self._clock.monotonic() + _GIVE_UP_S

    def poke(self) -> None:
        """Tell the watchers of what was committed. Never waits."""
        self._wake.set()

    async def page(self, after: int, wanted: Wanted, size: int) -> list[Event]:
        """Return at most *size* wanted events after the one numbered *after*, oldest first."""
        found: list[Event] = []
        while len(found) < size:
            batch = await self._read(after, wanted.entity_id)
            if not batch:
                break
            found += [event for event in batch if wanted.matches(event)]
            after = batch[-1].sequence
        return found[:size]

    async def watch(
        self, wanted: Wanted, after: int | None = None, store_id: str = "", *, guest: bool = False
    ) -> AsyncGenerator[tuple[Sequence[Event], int], None]:
        """Yield batches of wanted events after the one numbered *after* (`None`: from now on), and how far it got.

        An empty batch comes first, with the number a watch from now on begins after. Raises `OutOfRange`
        (STORE_CHANGED, EVENTS_COMPACTED), and `Exhausted` (TOO_SLOW, TOO_MANY_WATCHERS): go on from the last number;
        for a *guest*, one at a door, `Unavailable` (STOPPING) when the daemon stops.
        """
        newest = self.newest
        if after is not None and after > newest:
            newest = (await self._db.query("SELECT COALESCE(MAX(sequence), 0) FROM engine_events"))[0][0]
        if (store_id and store_id != self.store_id) or (after is not None and after > newest):
            raise OutOfRange(
                f"event {after} of store {store_id or 'unknown'} is not of this one ({self.store_id}, at {newest})"
                ": begin anew, with what is there now",
                reason="STORE_CHANGED",
            )
        if len(self._watchers) >= MOST_WATCHERS:
            raise Exhausted(f"{MOST_WATCHERS} watch the events already", reason="TOO_MANY_WATCHERS", retry_after=5.0)
        if after is not None and after < self.oldest - 1:
            raise OutOfRange(
                f"the events after {after} are no longer kept: the oldest is {self.oldest}; begin anew",
                reason="EVENTS_COMPACTED",
                metadata={"oldest_sequence": str(self.oldest)},
            )
        watcher = _Watcher(guest)
        self._watchers.add(watcher)
        if guest and self._leaving:
            watcher.end(stopping())
        elif self._closed:
            watcher.end(None)
        position = self.newest if after is None else after
        start = self.newest
        try:
            yield (), position
            while position < start:  # what is on the disk first; the queue holds what came meanwhile
                batch = [
                    event
                    for event in await self._read(position, wanted.entity_id, _CATCH_UP)
                    if event.sequence <= start
                ]
                position = batch[-1].sequence if batch else start
                yield [event for event in batch if wanted.matches(event)], position
            while (events := await watcher.take()) is not None:
                if events[-1].sequence > position:
                    fresh = [event for event in events if event.sequence > position and wanted.matches(event)]
                    position = events[-1].sequence
                    yield fresh, position
        finally:
            self._watchers.discard(watcher)

    def _newest_few(self) -> list[Event]:
        """Return the first events nobody was told of, read at once: they were just written, and lie in memory."""
        sql = f"SELECT {_COLUMNS} FROM engine_events WHERE sequence > ? ORDER BY sequence LIMIT {_FEW}"  # noqa: S608
        return [_event(row) for row in self._db.query_now(sql, (self.newest,))]

    async def _read(self, after: int, entity_id: str = "", most: int = _BATCH) -> list[Event]:
        where, values = "sequence > ?", [after]
        if entity_id:
            where += " AND entity_id = ?"
            values.append(entity_id)  # type: ignore[arg-type]
        rows = await self._db.query(
            f"SELECT {_COLUMNS} FROM engine_events WHERE {where} ORDER BY sequence LIMIT {most}",  # noqa: S608
            values,
        )
        return [_event(row) for row in rows]

    async def _follow(self) -> None:
        """Read what was committed and hand it to the watchers."""
        while True:
            # A unit may be committed after its events were looked for: while some are expected, look again.
            patience = _LOOK_AGAIN_S if self._clock.monotonic() < self._expected_until else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._wake.wait()
            self._wake.clear()
            try:
                few = True
                while events := self._newest_few() if few else await self._read(self.newest):
                    self.newest = events[-1].sequence
                    self.counts.update(event.kind for event in events)
                    for watcher in tuple(self._watchers):
                        watcher.put(events)
                    if len(events) < (_FEW if few else _BATCH):  # what was committed since wakes this again
                        break
                    few = False
                if self.newest - self.oldest + 1 > self._kept + _SLACK:
                    await self._trim()
            except LightfastError as error:
                log.warning("the events could not be read", error=str(error))
                await asyncio.sleep(1.0)
                self._wake.set()

    async def _trim(self) -> None:
        unit = self._db.unit()
        oldest = self.newest - self._kept + 1
        unit.execute("DELETE FROM engine_events WHERE sequence < ?", (oldest,))
        await self._db.commit(unit)
        self.oldest = oldest


def _event(row: tuple[Any, ...]) -> Event:
    return Event(row[0], row[1], row[2], row[3], row[4], json.loads(row[5]))


def stopping() -> Unavailable:
    """Return what ends the watches of guests."""
    return Unavailable("the daemon stops: go on from the last one you have", reason="STOPPING", retry_after=1.0)


class _Watcher:
    """One who follows: a bounded queue of batches; when it is full, the watch is cut."""

    def __init__(self, guest: bool) -> None:
        self.guest = guest
        self._batches: deque[Sequence[Event]] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._over = False
        self._error: LightfastError | None = None

    def put(self, events: Sequence[Event]) -> None:
        """Take a batch; too many end the watch."""
        if self._over:
            return
        if self._waiting + len(events) > QUEUE:
            self.end(Exhausted(f"{QUEUE} events wait for you: go on from the last one you have", reason="TOO_SLOW"))
            return
        self._batches.append(events)
        self._waiting += len(events)
        self._news.set()

    def end(self, error: LightfastError | None) -> None:
        """End the watch after what is queued; why it was ended first is what counts."""
        if self._over:
            return
        self._over, self._error = True, error
        self._news.set()

    async def take(self) -> Sequence[Event] | None:
        """Return the next batch; `None` when the log is closed."""
        while not self._batches:
            if self._over:
                if self._error is not None:
                    raise self._error
                return None
            self._news.clear()
            await self._news.wait()
        events = self._batches.popleft()
        self._waiting -= len(events)
        return events
