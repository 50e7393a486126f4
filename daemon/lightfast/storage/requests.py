"""Idempotency: one request id of one client and method has one answer for 24 hours.

Nearly every request id is new, so a small filter in memory says "never seen" without a look at the
disk; only a "perhaps" costs a query.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import AlreadyExists, InvalidArgument, LightfastError, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.storage")

T = TypeVar("T")

KEEP_NS = 24 * 3600 * 1_000_000_000
MAX_ID = 128
_MOST_ANSWER = 64
_SWEEP_ROWS = 5000
_SWEEP_INTERVAL = 3600.0
_FILTER_BITS = 1 << 23
_FILTER_KEYS = 1_000_000
"""More keys than this make the filter useless; then every request is looked up."""

Key = tuple[str, str, str]


class Requests:
    """The answers of the last 24 hours; `await start()` before use, `await close()` after."""

    def __init__(self, db: Database, clock: Clock = SYSTEM) -> None:
        self._db = db
        self._clock = clock
        self._tasks = TaskGroup("requests")
        self._running: dict[Key, tuple[str, asyncio.Future[Any]]] = {}
        self._filter = bytearray(_FILTER_BITS // 8)
        self._filter_keys = 0
        self._filter_ready = False
        self._fresh: bytearray | None = None  # what came while a new filter is read
        self._fresh_keys = 0
        self._closed = False

    async def start(self) -> None:
        """Fill the filter, and sweep what is older than 24 hours, in the background."""
        self._tasks.start(self._keep_house(), "sweep")

    async def close(self) -> None:
        """Cancel the calls that still run; later ones raise `Unavailable` (STORE_CLOSED)."""
        self._closed = True
        await self._tasks.close()

    async def once(
        self, client: str, method: str, request_id: str, payload: bytes, call: Callable[[], Awaitable[bytes]]
    ) -> bytes:
        """Return the answer of *call*, or the stored one if the same request was answered before.

        A concurrent duplicate waits for the first. The same id with another payload raises
        `AlreadyExists` (REQUEST_ID_REUSED). An error is not stored: the request may be tried again.
        """
        digest = hashlib.sha256(payload).hexdigest()

        async def act() -> bytes:
            answer = await call()
            unit = self._db.unit()
            unit.log([self.row(client, method, request_id, digest, answer.hex())], len(answer))
            await self._db.commit(unit)
            return answer

        return await self.run((client, method, request_id), digest, act, bytes.fromhex)

    def row(self, client: str, method: str, request_id: str, payload_hash: str, response: str) -> tuple[Any, ...]:
        """Return the row of `sink` that stores an answer, to be written with what it answers."""
        now = self._clock.now_ns()
        self._remember((client, method, request_id))
        return (3, None, None, None, None, None, None, response, 0, now, client, None, method, request_id, payload_hash)

    async def run(self, key: Key, payload_hash: str, act: Callable[[], Awaitable[T]], decode: Callable[[str], T]) -> T:
        """Return what *act* returns, or the decoded stored answer; *act* must store its answer by `row`.

        *act* goes on when the caller is cancelled, so that a retry meets its answer.
        """
        _, method, request_id = key
        if len(request_id) > MAX_ID or not request_id.isprintable():
            raise InvalidArgument(
                f"request_id has {len(request_id)} characters, or unprintable ones: use a UUID", field="request_id"
            )
        if self._closed:
            raise Unavailable("the store is closed: the daemon is stopping", reason="STORE_CLOSED", retry_after=2.0)
        running = self._running.get(key)
        if running is None:
            answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(_retrieve)
            running = self._running[key] = (payload_hash, answer)
            task = self._tasks.start(self._answer(key, payload_hash, act, decode, answer), f"{method} {request_id}")
            # One that is cancelled before it began has run none of its lines, and answers nobody.
            task.add_done_callback(lambda _: self._over(key, answer))
        elif running[0] != payload_hash:
            raise _reused(key)
        return await asyncio.shield(running[1])

    async def answer(self, key: Key, payload_hash: str) -> str | None:
        """Return the stored answer of a request that was answered before; raises `AlreadyExists` as `run` does."""
        return await self._find(key, payload_hash)

    async def _answer(
        self,
        key: Key,
        payload_hash: str,
        act: Callable[[], Awaitable[T]],
        decode: Callable[[str], T],
        answer: asyncio.Future[T],
    ) -> None:
        try:
            stored = await self._find(key, payload_hash)
            answer.set_result(await act() if stored is None else decode(stored))
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except LightfastError as error:
            answer.set_exception(error)
        except BaseException as error:
            answer.set_exception(error)
            raise
        finally:
            self._over(key, answer)

    def _over(self, key: Key, answer: asyncio.Future[Any]) -> None:
        """Let go of a request; whoever still waits for its answer is told that there is none."""
        running = self._running.get(key)
        if running is not None and running[1] is answer:
            del self._running[key]
        answer.cancel()

    async def _find(self, key: Key, payload_hash: str) -> str | None:
        """Return the stored answer, if there is one that has not expired."""
        if self._filter_ready and not self._perhaps(key):
            return None
        rows = await self._db.query(
            "SELECT payload_hash, response FROM requests"
            " WHERE client = ? AND method = ? AND request_id = ? AND create_time > ?",
            (*key, self._clock.now_ns() - KEEP_NS),
        )
        for stored_hash, response in rows:
            if stored_hash != payload_hash:
                raise _reused(key, str(response))
            return str(response)
        return None

    def _remember(self, key: Key) -> None:
        _put(self._filter, key)
        self._filter_keys += 1
        if self._fresh is not None:
            _put(self._fresh, key)
            self._fresh_keys += 1
        if self._filter_keys > _FILTER_KEYS:
            self._filter_ready = False

    def _perhaps(self, key: Key) -> bool:
        return all(self._filter[byte] & bit for byte, bit in _probes(key))

    async def _keep_house(self) -> None:
        await self._fill()
        while True:
            try:
                await self.sweep()
                await self.renew()
            except LightfastError as error:  # the disk may be full: what is left is swept later
                log.warning("answers to requests could not be swept", reason=error.reason, error=str(error))
            await asyncio.sleep(_SWEEP_INTERVAL)

    async def _fill(self) -> None:
        """Read the keys there are into a new filter; before the first one every request is looked up."""
        self._fresh, self._fresh_keys = bytearray(_FILTER_BITS // 8), 0
        if self._filter_keys:
            await self._db.commit(self._db.unit())  # what was remembered before is in the table, or has failed

        def stored(connection: Any) -> tuple[bytearray, int]:
            found, count = bytearray(_FILTER_BITS // 8), 0
            query = "SELECT client, method, request_id FROM requests ORDER BY id DESC LIMIT ?"
            for key in connection.execute(query, (_FILTER_KEYS + 1,)):
                _put(found, key)
                count += 1
            return found, count

        try:
            found, count = await self._db.read(stored)
            both = int.from_bytes(found, "little") | int.from_bytes(self._fresh, "little")
            self._filter = bytearray(both.to_bytes(len(found), "little"))
            self._filter_keys = count + self._fresh_keys
            self._filter_ready = self._filter_keys <= _FILTER_KEYS
        finally:
            self._fresh = None

    async def renew(self) -> None:
        """Make a new filter where the old one is full of what was swept away; it only ever takes in."""
        if self._filter_keys <= _FILTER_KEYS // 2:
            return
        ((rows,),) = await self._db.query("SELECT count(*) FROM requests")
        if rows <= min(self._filter_keys, _FILTER_KEYS) * 3 // 4:
            await self._fill()

    async def sweep(self) -> int:
        """Drop the answers older than 24 hours, oldest first, in steps; return how many."""
        dropped = 0
        while True:
            oldest = await self._db.query(
                "SELECT max(id), count(*) FROM (SELECT id, create_time FROM requests ORDER BY id LIMIT ?)"
                " WHERE create_time <= ?",
                (_SWEEP_ROWS, self._clock.now_ns() - KEEP_NS),
            )
            last, count = oldest[0]
            if not count:
                return dropped
            unit = self._db.unit()
            unit.execute(
                "DELETE FROM requests WHERE id <= ? AND create_time <= ?", (last, self._clock.now_ns() - KEEP_NS)
            )
            await self._db.commit(unit)
            dropped += count


def _put(bits: bytearray, key: Key) -> None:
    for byte, bit in _probes(key):
        bits[byte] |= bit


def _probes(key: Key) -> tuple[tuple[int, int], tuple[int, int]]:
    mixed = hash(key)
    first, second = mixed % _FILTER_BITS, (mixed >> 29) % _FILTER_BITS
    return (first >> 3, 1 << (first & 7)), (second >> 3, 1 << (second & 7))


def _reused(key: Key, answer: str = "") -> AlreadyExists:
    """Return the error; where the other one was answered by an identity, as a run's, it says which."""
    return AlreadyExists(
        f"request_id {key[2]!r} was used by {key[0]} for another {key[1]} in the last 24 hours: use a new one",
        reason="REQUEST_ID_REUSED",
        metadata={"request_id": key[2], **({"answer": answer} if 0 < len(answer) <= _MOST_ANSWER else {})},
        field="request_id",
    )


def _retrieve(answer: asyncio.Future[Any]) -> None:
    """Look at the error, so that asyncio does not complain when the caller has gone away."""
    if not answer.cancelled():
        answer.exception()
