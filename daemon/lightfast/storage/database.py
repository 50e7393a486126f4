"""The database: one SQLite file in WAL mode, durable on acknowledgement, one unit of work for every floor."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import apsw
import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Exhausted, FailedPrecondition, Unavailable
from lightfast.core.ids import new_id
from lightfast.core.kept import figures
from lightfast.storage.checkpoint import Checkpointer
from lightfast.storage.faults import check_library, corrupt, translate
from lightfast.storage.peek import peek
from lightfast.storage.schema import APPLICATION_ID, MIGRATIONS
from lightfast.storage.unit import Chain, ChainBroken, Done, Unit
from lightfast.storage.writer import Writer

__all__ = ["Chain", "ChainBroken", "Database", "Done", "Unit"]

log = structlog.get_logger("lightfast.storage")

T = TypeVar("T")

READERS = 2
MAX_WAITING_READS = 1000
BUSY_TIMEOUT_MS = 5000
SWITCH_INTERVAL = 0.0005
"""Seconds a busy loop may hold the interpreter lock while the writer waits to give its result back.

With Python's 5 ms the writer pays up to 5 ms after each statement; see the module `schema`.
"""


class Database:
    """Open one with `await Database.open(path)`; everything but `read`'s functions runs on the loop."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Use `open`."""
        self.path = path
        self.clock = clock
        self.store_id = ""
        self.closed = False
        self._loop = loop
        self._reading = 0
        self._local = threading.local()
        self._read_connections: list[apsw.Connection] = []
        self._statements: dict[int, dict[str, int]] = {}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="lightfast-store-reader")
        self._checkpointer = Checkpointer(self._connect, path)
        self._writer: Writer | None = None
        self._write_connection: apsw.Connection | None = None

    @classmethod
    async def open(cls, path: Path, *, clock: Clock = SYSTEM) -> Database:
        """Open or create the database at *path*, and bring it to this version.

        Raises `FailedPrecondition` with reason STORE_TOO_NEW (the file is left untouched),
        STORE_CORRUPT or SQLITE_TOO_OLD, and `Unavailable` (STORE_IO, STORE_LOCKED).
        """
        check_library()
        if sys.getswitchinterval() > SWITCH_INTERVAL:
            sys.setswitchinterval(SWITCH_INTERVAL)
        db = cls(path, asyncio.get_running_loop(), clock)
        connection = await db._loop.run_in_executor(db._readers, db._prepare)
        db._write_connection = connection
        db._writer = Writer(connection, path.parent, db._loop, db._checkpointer.written)
        return db

    def unit(self) -> Unit:
        """Return an empty unit of work."""
        return Unit()

    async def commit(self, unit: Unit, then: Done | None = None) -> None:
        """Write *unit*; when this returns, it survives a power cut.

        *then* is called first, on the loop, in the order of the commits, and also where nobody waits any more.

        Raises `Exhausted` (DISK_FULL, STORE_BUSY), `Unavailable` (STORE_IO, STORE_CLOSED) and
        `Conflict` (ROW_CONFLICT); in each case nothing of it was written.
        """
        written: asyncio.Future[None] = self._loop.create_future()

        def done(error: BaseException | None) -> None:
            if then is not None:
                then(error)
            if written.done():
                return
            if error is None:
                written.set_result(None)
            else:
                written.set_exception(error)

        self.enqueue(unit, done)
        await written

    async def alone(self, function: Callable[[Any], T]) -> T:
        """Run *function* in the writer thread with its connection, between transactions: writes wait for it.

        For the rare work on the file as a whole. It must leave no transaction open.
        """
        results: list[T] = []
        unit = self.unit()
        unit.alone = lambda connection: results.append(function(connection))
        await self.commit(unit)
        return results[0]

    def enqueue(self, unit: Unit, done: Done) -> None:
        """Hand *unit* to the writer; *done* is called on the loop in commit order. Raises as `commit` does."""
        if self.closed or self._writer is None:
            raise _closed()
        unit.done = done
        self._writer.put(unit)

    async def read(self, function: Callable[[Any], T], *, one: bool = False) -> T:
        """Run *function* in a reader thread with a connection that shows one committed state throughout.

        The function only calls `connection.execute`; *one*: once, and needs no transaction around it for that.
        Every row it fetches gives the interpreter lock away: on a busy loop, let SQLite aggregate many rows into one
        text.
        """
        if self.closed:
            raise _closed()
        if self._reading >= MAX_WAITING_READS:
            raise Exhausted(f"{self._reading} reads wait already: send slower", reason="STORE_BUSY", retry_after=0.5)
        self._reading += 1
        try:
            return await self._loop.run_in_executor(self._readers, self._read, function, one)
        finally:
            self._reading -= 1

    def read_now(self, function: Callable[[Any], T], *, one: bool = False) -> T:
        """Run *function* at once on the thread that calls, the loop's: for a few rows by a key of theirs alone."""
        if self.closed:
            raise _closed()
        return self._read(function, one)

    def query_now(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the few rows that a key of theirs finds, read at once: the way to a reader costs twenty times that."""
        return self.read_now(lambda connection: list(connection.execute(sql, params)), one=True)

    async def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of one query."""
        return await self.read(lambda connection: list(connection.execute(sql, params)), one=True)

    def statements(self) -> dict[str, Any]:
        """Return the figures of the caches of statements of all readers together, as `core.kept.figures` has them.

        Of a connection that another thread is using just now the former ones count.
        """
        for connection in tuple(self._read_connections):
            with suppress(apsw.ThreadingViolationError):
                self._statements[id(connection)] = connection.cache_stats()
        each = self._statements.values()
        hits, misses = sum(one["hits"] for one in each), sum(one["misses"] for one in each)
        most = sum(one["size"] for one in each)
        return figures(min(most, misses), most, 0.0, hits, misses)

    async def check(self, timeout: float = 5.0) -> None:
        """Raise `Unavailable` (STORE_STUCK) unless the writer thread answers within *timeout* seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.commit(self.unit())
        except TimeoutError:
            raise Unavailable(
                f"the writer of the store has not answered for {timeout} s: the disk may hang", reason="STORE_STUCK"
            ) from None

    async def close(self) -> None:
        """Write what waits, empty the log and close; calling it again does nothing."""
        if self.closed:
            return
        self.closed = True
        if self._writer is not None:
            await self._writer.stop()
        await self._loop.run_in_executor(None, self._close_connections)

    def _read(self, function: Callable[[Any], T], one: bool) -> T:
        connection = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = self._connect(readonly=True)
                self._read_connections.append(connection)
            if one:
                return function(connection)
            connection.execute("BEGIN")
            try:
                return function(connection)
            finally:
                connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, str(self.path.parent)) from error

    def _connect(self, *, readonly: bool = False) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        connection = apsw.Connection(str(self.path), flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        for pragma in ("wal_autocheckpoint = 0", "synchronous = FULL", "temp_store = MEMORY", "cache_size = -8000"):
            list(connection.execute(f"PRAGMA {pragma}"))
        return connection

    def _prepare(self) -> apsw.Connection:
        """Check, create or migrate the file, and return the connection for the writer."""
        folder = str(self.path.parent)
        try:
            version = self._look()
            connection = self._connect()
            try:
                list(connection.execute("PRAGMA journal_mode = WAL"))
                self._migrate(connection, version)
                self.store_id = _identity(connection, self.clock)
            except BaseException:
                connection.close()
                raise
        except apsw.Error as error:
            raise translate(error, folder) from error
        return connection

    def _look(self) -> int:
        """Return the version of the file, without touching it."""
        try:
            header = peek(self.path)
        except ValueError as error:
            raise corrupt(str(self.path), str(error)) from None
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error}", reason="STORE_IO") from error
        if header is None:
            return 0
        if header.application_id not in {0, APPLICATION_ID} or (header.application_id == 0 and header.user_version):
            raise corrupt(str(self.path), "it is the database of another program")
        if header.user_version > len(MIGRATIONS):
            raise FailedPrecondition(
                f"the store {self.path} was written by a newer Lightfast (format {header.user_version}, "
                f"this one knows up to {len(MIGRATIONS)}): install the newer version; nothing was changed",
                reason="STORE_TOO_NEW",
                metadata={"format": str(header.user_version), "known": str(len(MIGRATIONS))},
            )
        return header.user_version

    def _migrate(self, connection: apsw.Connection, version: int) -> None:
        for number, migration in enumerate(MIGRATIONS[version:], version + 1):
            with _transaction(connection):
                for _ in connection.execute(migration):
                    pass
                list(connection.execute(f"PRAGMA application_id = {APPLICATION_ID}"))
                list(connection.execute(f"PRAGMA user_version = {number}"))
            log.debug("store migrated", path=str(self.path), format=number)

    def _close_connections(self) -> None:
        self._readers.shutdown(wait=True)
        self._checkpointer.stop()
        for connection in self._read_connections:
            connection.close()
        if self._write_connection is not None:
            try:
                self._write_connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.Error as error:  # everything is in the log, and the next start reads it from there
                log.warning("last checkpoint failed", error=str(error))
            self._write_connection.close()


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _identity(connection: apsw.Connection, clock: Clock) -> str:
    for (store_id,) in connection.execute("SELECT value FROM meta WHERE key = 'store_id'"):
        return str(store_id)
    store_id = new_id("store")
    with _transaction(connection):
        connection.execute("INSERT INTO meta VALUES('store_id', ?), ('created', ?)", (store_id, clock.now_ns()))
    return store_id


def _closed() -> Unavailable:
    return Unavailable("the store is closed: the daemon is stopping", reason="STORE_CLOSED", retry_after=2.0)
