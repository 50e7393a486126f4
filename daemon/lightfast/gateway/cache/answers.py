"""Answers that are kept: the newest of use in memory, all in SQLite, within bounds of bytes and days.

Assets are kept by reference. The collector may delete an asset that only a kept answer names (a cache is no reason to
keep gigabytes): the answer is then no hit any more, and goes.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError, NotFound, Unavailable
from lightfast.gateway.cache import rows
from lightfast.gateway.cache.keys import key_of, meaning_key
from lightfast.gateway.cache.meaning import fingerprint
from lightfast.gateway.cache.rules import is_whole, rule
from lightfast.gateway.ports import Asked, Kept

log = structlog.get_logger("lightfast.gateway")

FRONT_BYTES = 16 << 20
"""The most that answers kept in memory take, about."""
LARGEST_SHARE = 8
"""One answer takes at most one part in so many of what all may take: it is not worth all others."""
USES = 512
"""So many uses wait at most until they are written, with the next answer; a crash loses them."""
_DAY_NS = 86_400 * 10**9
_OFF_LOOP = 16 << 10
"""An answer with a question of more characters is packed off the loop."""
_VICTIMS = 1000


class Database(Protocol):
    """The part of the database used here."""

    def unit(self) -> Any:
        """Return an empty unit of work."""

    async def commit(self, unit: Any) -> None:
        """Commit it."""

    async def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read rows."""

    async def read(self, function: Any) -> Any:
        """Run a function with a connection that reads."""


class Assets(Protocol):
    """The part of the asset store used here."""

    async def get(self, sha256: str) -> Any:
        """Return an asset, and note that it is used; raise `NotFound`."""


@dataclass(slots=True)
class Counts:
    """What happened since the daemon started."""

    exact: int = 0
    semantic: int = 0
    misses: int = 0
    kept: int = 0
    evicted: int = 0
    expired: int = 0
    damaged: int = 0
    """Rows that could not be read, or whose assets are gone."""
    failures: int = 0
    """Answers that could not be written."""


@dataclass(slots=True)
class _Near:
    """An answer in memory; *expires* in ns since 1970."""

    kept: Kept
    size: int
    expires: int


@dataclass(slots=True)
class _Fresh:
    """An answer on its way to the disk."""

    key: str
    meant: str
    model: str
    body: bytes
    time: int
    written: bool = False
    error: LightfastError | None = None

    @property
    def size(self) -> int:
        return len(self.body) + rows.ROW_BYTES


class KeptAnswers:
    """Implements `ports.Answers`.

    *mode* is what `[gateway] cache` says, *size* in bytes, *days* how long an answer is kept. Eviction takes what was
    used least recently (LRU).
    """

    def __init__(
        self,
        db: Database,
        assets: Assets,
        clock: Clock,
        *,
        mode: str = "exact",
        size: int = 256 << 20,
        days: float = 7.0,
        front: int = FRONT_BYTES,
    ) -> None:
        self.counts = Counts()
        self.mode = mode
        self.size = size
        self.bytes = 0
        """What all rows take."""
        self.front_bytes = 0
        self._db, self._assets, self._clock = db, assets, clock
        self._life = round(days * _DAY_NS)
        self._front_size = front
        self._front: OrderedDict[str, _Near] = OrderedDict()
        self._used: dict[str, int] = {}
        self._queue: list[_Fresh] = []
        self._turn = asyncio.Lock()
        self._opened = False
        self._epoch = 0
        """Raised when something was purged: what was read before does not come into memory after."""

    def __len__(self) -> int:
        """How many answers are in memory."""
        return len(self._front)

    def key(self, asked: Asked, use: str) -> str:
        """Return the key under which the same request under way is shared; empty: it is not shared."""
        return key_of(asked) if rule(asked, use, self.mode).share else ""

    async def find(self, asked: Asked, use: str) -> tuple[Kept, str] | None:
        """Return an answer and how it was found; one in memory costs no wait."""
        how = rule(asked, use, self.mode).find
        if not how:
            return None
        key, now = key_of(asked), self._clock.now_ns()
        near = self._front.get(key)
        if near is not None and near.expires > now and (not near.kept.assets or await self._there(near.kept)):
            if key in self._front:
                self._front.move_to_end(key)
            self._use(key, now)
            self.counts.exact += 1
            return near.kept, "exact"
        kept = await self._load("key", key)
        if kept is not None:
            self.counts.exact += 1
            return kept, "exact"
        meant = fingerprint(asked.prompt) if how == "semantic" else ""
        kept = await self._load("meaning", meaning_key(asked, meant)) if meant else None
        if kept is not None:
            self.counts.semantic += 1
            return kept, "semantic"
        self.counts.misses += 1
        return None

    async def keep(self, asked: Asked, kept: Kept, use: str = "") -> None:
        """Keep an answer; what `rules` forbids is left out. It can be found at once; a disk that is full is logged."""
        if not rule(asked, use, self.mode).keep or not is_whole(asked, kept):
            return
        key, now = key_of(asked), self._clock.now_ns()
        large = len(kept.text) + len(asked.prompt) + len(asked.system) + sum(len(text) for _, text in asked.messages)
        if self._life > 0:
            self._put_near(key, kept, large + rows.ROW_BYTES, now + self._life)
        try:
            if large > _OFF_LOOP:
                meant, body = await asyncio.to_thread(_made, asked, kept)
            else:
                meant, body = _made(asked, kept)
            await self._write(_Fresh(key, meant, kept.model, body, now))
        except LightfastError as error:
            self._drop_near(key)
            self.counts.failures += 1
            log.warning("an answer could not be kept", reason=error.reason, message=error.message)

    async def close(self) -> None:
        """Write down what was used when."""
        async with self._turn:
            try:
                await self._write_uses()
            except LightfastError as error:
                log.warning("the uses of kept answers are lost", reason=error.reason)

    async def clear(self, kept_rows: Sequence[int] | None = None) -> int:
        """Remove these rows, or all, and everything in memory; return how many there were."""
        async with self._turn:
            await self._open()
            self._epoch += 1
            self._front.clear()
            self._used.clear()
            self.front_bytes = 0
            gone = 0
            some = None if kept_rows is None else list(kept_rows)
            while some is None or some:
                condition = "1" if some is None else f"row IN ({','.join(map(str, map(int, some[:_VICTIMS])))})"
                ((count, size),) = await self._db.query(
                    f"SELECT count(*), coalesce(sum(size), 0) FROM kept_answers WHERE {condition}"  # noqa: S608  (numbers)
                )
                unit = self._db.unit()
                unit.execute(f"DELETE FROM kept_answers WHERE {condition}")  # noqa: S608  (numbers)
                await self._db.commit(unit)
                self.bytes -= size
                gone += count
                if some is None:
                    break
                some = some[_VICTIMS:]
            return gone

    async def _load(self, column: str, key: str) -> Kept | None:
        """Return the newest answer under *key* that is whole and young; what is not goes."""
        epoch = self._epoch
        found = await self._db.query(
            f"SELECT row, key, create_time, size, body FROM kept_answers WHERE {column} = ?"  # noqa: S608  (our names)
            " ORDER BY create_time DESC LIMIT 1",
            (key,),
        )
        if not found:
            return None
        row, own_key, create_time, size, body = found[0]
        now = self._clock.now_ns()
        if create_time + self._life <= now:
            self.counts.expired += 1
            await self._remove(row, own_key)
            return None
        kept: Kept | None
        try:
            kept = rows.unpack(body).kept()
        except (ValueError, TypeError) as error:
            log.warning("a kept answer is damaged and goes", row=row, error=str(error))
            kept = None
        if kept is None or not await self._there(kept):
            self.counts.damaged += 1
            await self._remove(row, own_key)
            return None
        self._use(own_key, now)
        if epoch == self._epoch:
            self._put_near(own_key, kept, max(size, len(kept.text) + rows.ROW_BYTES), create_time + self._life)
        return kept

    async def _there(self, kept: Kept) -> bool:
        """Say whether its assets are still there."""
        try:
            for asset in kept.assets:
                await self._assets.get(asset.sha256)
        except NotFound:
            return False
        return True

    def _put_near(self, key: str, kept: Kept, size: int, expires: int) -> None:
        self._drop_near(key)
        if size > self._front_size // LARGEST_SHARE:
            return
        self._front[key] = _Near(kept, size, expires)
        self.front_bytes += size
        while self.front_bytes > self._front_size:
            _, near = self._front.popitem(last=False)
            self.front_bytes -= near.size

    def _drop_near(self, key: str) -> None:
        near = self._front.pop(key, None)
        if near is not None:
            self.front_bytes -= near.size

    def _use(self, key: str, now: int) -> None:
        self._used.pop(key, None)
        self._used[key] = now
        if len(self._used) > USES:
            del self._used[next(iter(self._used))]

    async def _remove(self, row: int, key: str) -> None:
        async with self._turn:
            self._drop_near(key)
            sizes = await self._db.query("SELECT size FROM kept_answers WHERE row = ?", (row,))
            unit = self._db.unit()
            unit.execute("DELETE FROM kept_answers WHERE row = ?", (row,))
            await self._db.commit(unit)
            if self._opened and sizes:
                self.bytes -= sizes[0][0]

    async def _write(self, fresh: _Fresh) -> None:
        """Write an answer; those that come while another is written go together in the next unit of work."""
        self._queue.append(fresh)
        async with self._turn:
            if fresh.written:
                if fresh.error is not None:
                    raise fresh.error
                return
            some, self._queue = self._queue, []
            error: LightfastError | None = Unavailable("who wrote the answers went away", reason="ANSWERS_UNWRITTEN")
            try:
                await self._write_all(some)
                error = None
            except LightfastError as failed:
                error = failed
                raise
            finally:
                for one in some:
                    one.written, one.error = True, error

    async def _write_all(self, some: Sequence[_Fresh]) -> None:
        await self._open()
        await self._write_uses()
        if self._life <= 0:
            return
        fitting = {one.key: one for one in some if one.size <= self.size // LARGEST_SHARE}
        size = sum(one.size for one in fitting.values())
        for key in list(fitting):
            if size <= self.size:
                break
            size -= fitting.pop(key).size
        old, victims, freed = await self._db.read(
            partial(_victims, keys=list(fitting), over=self.bytes + size - self.size)
        )
        unit = self._db.unit()
        unit.insert("DELETE FROM kept_answers WHERE row = ?", [(row,) for row, _ in victims])
        unit.insert(
            "INSERT OR REPLACE INTO kept_answers(key, meaning, model, size, create_time, use_time, body)"
            " VALUES(?, ?, ?, ?, ?, ?, ?)",
            [(one.key, one.meant, one.model, one.size, one.time, one.time, one.body) for one in fitting.values()],
        )
        await self._db.commit(unit)
        self.bytes += size - old - freed
        self.counts.kept += len(fitting)
        self.counts.evicted += len(victims)
        for _, gone in victims:
            self._drop_near(gone)

    async def _open(self) -> None:
        """Count what is there, and let go of what is too old; the first time only."""
        if self._opened:
            return
        unit = self._db.unit()
        unit.execute("DELETE FROM kept_answers WHERE create_time <= ?", (self._clock.now_ns() - self._life,))
        await self._db.commit(unit)
        self.bytes = (await self._db.query("SELECT coalesce(sum(size), 0) FROM kept_answers"))[0][0]
        self._opened = True

    async def _write_uses(self) -> None:
        used, self._used = self._used, {}
        if used:
            unit = self._db.unit()
            unit.insert(
                "UPDATE kept_answers SET use_time = ? WHERE key = ?", [(time, key) for key, time in used.items()]
            )
            await self._db.commit(unit)


def _made(asked: Asked, kept: Kept) -> tuple[str, bytes]:
    """Return the key by meaning, and the body of the row."""
    meant = fingerprint(asked.prompt) if asked.output == "text" else ""
    return meaning_key(asked, meant) if meant else "", rows.pack(asked, kept)


def _victims(connection: Any, keys: Sequence[str], over: int) -> tuple[int, list[tuple[int, str]], int]:
    """Return the size of the rows that are replaced, and the rows that go with what they free.

    *over* is by how much the bound would be exceeded.
    """
    listed = json.dumps(keys)
    query = "SELECT coalesce(sum(size), 0) FROM kept_answers WHERE key IN (SELECT value FROM json_each(?))"
    ((old,),) = connection.execute(query, (listed,))
    gone: list[tuple[int, str]] = []
    freed = 0
    query = "SELECT row, key, size FROM kept_answers WHERE key NOT IN (SELECT value FROM json_each(?))"
    if over > old:
        for row, other, size in connection.execute(f"{query} ORDER BY use_time, row", (listed,)):
            gone.append((row, other))
            freed += size
            if over - old - freed <= 0:
                break
    return old, gone, freed
