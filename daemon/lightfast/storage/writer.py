"""The writer thread: whatever is waiting becomes one SQLite transaction; the sync is the window.

The loop hands a group over when a few ticks in a row have brought nothing new, and the next one when it has
worked off the acknowledgements of the last. So there is no timer, a free loop waits for some microseconds, and
the busier it is the larger the groups grow: handed over after each tick, a busy machine made one sync for
three or four writes, and each sync costs as much processor time as ten of them. Where waiting has brought nothing the
next group waits half as long, so that one who writes alone does not pay for a crowd that is not there.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import apsw

from lightfast.core.errors import Exhausted
from lightfast.storage.faults import translate
from lightfast.storage.schema import SINK
from lightfast.storage.unit import Chain, ChainBroken, Unit

MAX_GROUP_UNITS = 2048
MAX_GROUP_SIZE = 8 << 20
QUIET_TICKS = 32
"""After so many ticks of the loop without anything new a group is handed over; an empty one takes 0.5 to 1.5 µs."""
FEWEST_TICKS = 2
"""So many, where waiting has brought nothing lately."""
FEW_UNITS = 2
"""A group of more units is of a crowd: for more of it is always waited."""
GATHER_SECONDS = 0.005
"""A group is handed over after this time, whether ticks bring more or take long: 32 long ones would be seconds."""
MAX_WAITING_UNITS = 50_000
MAX_WAITING_SIZE = 128 << 20
"""Bounds of what waits, in units and characters; more is refused with STORE_BUSY."""

Outcome = tuple[Unit, BaseException | None]
_ONE_UNIT = (apsw.ConstraintError, apsw.SQLError, apsw.BindingsError, TypeError, ValueError, OverflowError)
"""What the statements of one unit raise where it cannot be written, by its own fault; it fails that unit alone."""


class Writer:
    """Owns the one connection that writes. `put` is called on the loop only.

    A group is one SQLite transaction. If it fails as a whole, all its units fail with the reason,
    and so do the later ones of their chains; a constraint that one unit violates fails that unit.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        on_written: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._folder = str(folder)
        self._loop = loop
        self._on_written = on_written
        self._queue: queue.SimpleQueue[list[Unit] | None] = queue.SimpleQueue()
        self._collected: deque[Unit] = deque()
        self._under_way = False  # a group is with the thread, or about to be handed over
        self._patience = QUIET_TICKS  # how many quiet ticks the next group waits
        self._ending = False
        self._waiting = 0
        self._waiting_size = 0
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="lightfast-store-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many units are not acknowledged yet."""
        return self._waiting

    def put(self, unit: Unit) -> None:
        """Take *unit* in; raise `Exhausted` (STORE_BUSY) if too much waits already."""
        if self._waiting >= MAX_WAITING_UNITS or self._waiting_size >= MAX_WAITING_SIZE:
            raise Exhausted(
                f"{self._waiting} writes wait for the disk already: send slower, or batch changes into fewer writes",
                reason="STORE_BUSY",
                retry_after=0.5,
            )
        self._waiting += 1
        self._waiting_size += unit.size
        self._collected.append(unit)
        if not self._under_way:
            self._under_way = True
            self._begin()

    async def stop(self) -> None:
        """Write what waits, acknowledge it, and end the thread."""
        self._ending = True
        if not self._under_way:
            self._hand_over()
        await self._ended

    def _begin(self) -> None:
        """Collect the next group from now on."""
        self._loop.call_soon(self._gather, 0, 0, self._loop.time() + GATHER_SECONDS, 0)

    def _gather(self, seen: int, quiet: int, latest: float, first: int) -> None:
        """Hand over, or wait one more tick of the loop for more than the *first*; *quiet* ticks have brought none."""
        found = len(self._collected)
        quiet = quiet + 1 if found == seen else 0
        if 0 < found < MAX_GROUP_UNITS and quiet < self._patience and not self._ending and self._loop.time() < latest:
            self._loop.call_soon(self._gather, found, quiet, latest, first or found)
        else:
            if found:
                crowd = found > (first or found) or found > FEW_UNITS
                self._patience = QUIET_TICKS if crowd else max(FEWEST_TICKS, self._patience // 2)
            self._hand_over()

    def _hand_over(self) -> None:
        """Give all that was collected to the thread, up to the bounds of a group."""
        group: list[Unit] = []
        size = 0
        collected = self._collected
        while collected and len(group) < MAX_GROUP_UNITS and size < MAX_GROUP_SIZE:
            unit = collected.popleft()
            group.append(unit)
            size += unit.size
        self._under_way = bool(group)
        if group:
            self._queue.put(group)
        elif self._ending:
            self._queue.put(None)

    def _run(self) -> None:
        try:
            while (group := self._queue.get()) is not None:
                outcomes = self._write(group)
                if not self._call(self._deliver, outcomes):
                    return
                self._on_written(sum([unit.size for unit in group]))
        finally:  # whatever ends the thread: `stop` must not wait for it for ever
            self._call(self._finish)

    def _call(self, function: Callable[..., None], *args: object) -> bool:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop was closed without waiting for us: nobody is left to tell
            return False
        return True

    def _write(self, group: list[Unit]) -> list[Outcome]:
        """Write *group*; work that must be alone splits it into several transactions."""
        if not any(unit.alone for unit in group):
            return self._commit(group)
        outcomes: list[Outcome] = []
        together: list[Unit] = []
        for unit in group:
            if unit.alone is None:
                together.append(unit)
            else:
                outcomes += [*self._commit(together), self._work(unit)]
                together = []
        return outcomes + self._commit(together)

    def _work(self, unit: Unit) -> Outcome:
        try:
            if unit.alone is not None:
                unit.alone(self._connection)
        except Exception as error:  # noqa: BLE001  (it belongs to who asked for the work)
            return unit, translate(error, self._folder)
        return unit, None

    def _commit(self, group: list[Unit]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        try:
            if any(unit.statements for unit in group):
                self._write_mixed(group, outcomes)
            else:
                self._write_plain(group, outcomes)
        except apsw.Error as error:
            return self._fail(group, translate(error, self._folder))
        except Exception as error:  # noqa: BLE001  (a parameter SQLite cannot hold, or no memory: the thread goes on)
            return self._fail(group, error)
        return outcomes

    def _write_plain(self, group: list[Unit], outcomes: list[Outcome]) -> None:
        """Write rows of `sink` alone: one statement, which is its own transaction."""
        rows = []
        for unit in group:
            broken = _broken(unit)
            if broken is None:
                rows += unit.log_rows
            outcomes.append((unit, broken))
        if rows:
            self._connection.execute(SINK, (apsw.jsonb_encode(rows),))

    def _write_mixed(self, group: list[Unit], outcomes: list[Outcome]) -> None:
        """Write units with statements of their own; each in a savepoint only where one of them cannot be written.

        That is rare, and savepoints are nearly half of all statements, each of which gives the interpreter lock away.
        """
        try:
            self._write_units(group, outcomes, self._execute)
        except _ONE_UNIT:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            outcomes.clear()
            self._write_units(group, outcomes, self._write_alone)

    def _write_units(
        self, group: list[Unit], outcomes: list[Outcome], write: Callable[[Unit], BaseException | None]
    ) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        rows: list[tuple[object, ...]] = []
        for unit in group:
            broken = _broken(unit)
            if broken is not None:
                outcomes.append((unit, broken))
            elif unit.statements:
                if rows:
                    execute(SINK, (apsw.jsonb_encode(rows),))
                    rows = []
                outcomes.append((unit, write(unit)))
            else:
                rows += unit.log_rows
                outcomes.append((unit, None))
        if rows:
            execute(SINK, (apsw.jsonb_encode(rows),))
        execute("COMMIT")

    def _write_alone(self, unit: Unit) -> BaseException | None:
        """Write one unit in a savepoint; return its error if it was rolled back alone."""
        execute = self._connection.execute
        execute("SAVEPOINT one")
        try:
            self._execute(unit)
        except _ONE_UNIT as error:
            execute("ROLLBACK TO one")
            execute("RELEASE one")
            failure = translate(error, self._folder)
            if unit.chain is not None:
                unit.chain.broken = failure
                unit.chain.alone = True
            return failure
        execute("RELEASE one")
        return None

    def _execute(self, unit: Unit) -> None:
        execute = self._connection.execute
        if unit.log_rows:
            execute(SINK, (apsw.jsonb_encode(unit.log_rows),))
        for sql, params, many in unit.statements:
            cursor = self._connection.executemany(sql, params) if many else execute(sql, params)
            for _ in cursor:  # a statement that returns rows runs only as far as it is read
                pass

    def _fail(self, group: list[Unit], error: BaseException) -> list[Outcome]:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error as second:
                error.add_note(f"and the rollback failed: {second}")
        chains: set[Chain] = {unit.chain for unit in group if unit.chain is not None}
        for chain in chains:
            chain.broken = error
            chain.alone = False
        return [(unit, error) for unit in group]

    def _deliver(self, outcomes: list[Outcome]) -> None:
        try:
            self._acknowledge(outcomes)
        finally:
            self._gather(0, 0, self._loop.time() + GATHER_SECONDS, 0)

    def _acknowledge(self, outcomes: list[Outcome]) -> None:
        for index, (unit, error) in enumerate(outcomes):
            self._waiting -= 1
            self._waiting_size -= unit.size
            if unit.done is None:
                continue
            try:
                unit.done(error)
            except BaseException:
                self._loop.call_soon(self._acknowledge, outcomes[index + 1 :])  # the others must learn theirs
                raise

    def _finish(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _broken(unit: Unit) -> ChainBroken | None:
    chain = unit.chain
    if chain is None or chain.broken is None:
        return None
    return ChainBroken(chain.broken, alone=chain.alone)
