"""Leases: the life of an application or client; what was written under one goes when it goes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import structlog

from lightfast.context.entry import Delete, Precondition
from lightfast.context.store import Store
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Conflict, Denied, InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.context")

DEFAULT_TTL = 10.0
MINIMUM_TTL = 1.0
MAXIMUM_TTL = 3600.0
MAX_LEASES = 10_000
SWEEP_INTERVAL = 0.5
AT_ONCE = 500
"""How many leases end side by side."""
ORIGIN = "lease"
"""Who deletes what a lease leaves behind."""


class Leases:
    """Lives as long as the store; `await start()` before use, `await stop()` after.

    Time is counted by the monotonic clock, so that setting the wall clock ends no lease. Leases are
    kept over a restart, with a fresh time to live: their owners could not have kept them meanwhile.
    Where they cannot yet, since the doors are still closed, `start(hold=True)`, and `begin` when they are open.
    """

    def __init__(self, store: Store, db: Database, clock: Clock = SYSTEM) -> None:
        self._store = store
        self._db = db
        self._clock = clock
        self._tasks = TaskGroup("leases")
        self._ttl: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        self._owners: dict[str, str] = {}
        self._started = False
        self._closing: set[str] = set()

    async def start(self, *, hold: bool = False) -> None:
        """Take over the leases of the last run, and sweep from now on; with *hold* those have no end before `begin`."""
        if self._started:
            return
        self._started = True
        for lease_id, origin, ttl_ms in await self._db.query("SELECT lease_id, origin, ttl_ms FROM leases"):
            self._add(lease_id, origin, ttl_ms / 1000)
            if hold:
                self._ends[lease_id] = math.inf
        self._tasks.start(self._sweep_for_ever(), "sweep")

    def begin(self) -> None:
        """Let the time of the leases that are held run from now on."""
        now = self._clock.monotonic()
        self._ends |= {lease_id: now + self._ttl[lease_id] for lease_id, end in self._ends.items() if end == math.inf}

    async def stop(self) -> None:
        """End the sweeping; the leases stay."""
        await self._tasks.close()

    async def open(self, ttl_s: float, origin: str) -> str:
        """Open a lease of *ttl_s* seconds (0 means 10, else 1 to 3600) and return its identity; it is durable then."""
        ttl = ttl_s or DEFAULT_TTL
        if not MINIMUM_TTL <= ttl <= MAXIMUM_TTL:
            raise InvalidArgument(
                f"a lease cannot live {ttl:g} s: ask for {MINIMUM_TTL:g} to {MAXIMUM_TTL:g} s", field="ttl"
            )
        if len(self._ttl) >= MAX_LEASES:
            raise InvalidArgument(f"there are {MAX_LEASES} leases already: close some", reason="TOO_MANY_LEASES")
        await self.start()
        lease_id = new_id("lease")
        unit = self._db.unit()
        unit.execute(
            "INSERT INTO leases VALUES(?, ?, ?, ?)", (lease_id, origin, round(ttl * 1000), self._clock.now_ns())
        )

        def written(error: BaseException | None) -> None:
            if error is None:  # also where nobody waits any more: it ends in its time, and takes its row along
                self._add(lease_id, origin, ttl)

        await self._db.commit(unit, written)
        return lease_id

    async def keep(self, lease_id: str, *, by: str = "") -> float:
        """Extend a lease by its time to live, in seconds, and return that.

        Raises `NotFound` (LEASE_GONE) if it has ended, and `Denied` (LEASE_OF_ANOTHER), see `check_owner`.
        """
        ttl = self.ttl(lease_id)
        self.check_owner(lease_id, by)
        self._ends[lease_id] = self._clock.monotonic() + ttl
        return ttl

    def ttl(self, lease_id: str) -> float:
        """Return the time to live granted, in seconds; `NotFound` (LEASE_GONE) if the lease has ended."""
        if lease_id not in self._ttl or lease_id in self._closing:
            raise NotFound(
                f"there is no lease {lease_id}: it has expired or was closed; open a new one", reason="LEASE_GONE"
            )
        return self._ttl[lease_id]

    def check_owner(self, lease_id: str, by: str) -> None:
        """Raise `Denied` if the lease is not that of the client *by*; empty means whoever may do everything.

        Any session of the client that opened it counts. A lease that has ended is nobody's.
        """
        owner = self._owners.get(lease_id, by)
        if by and owner != by:
            raise Denied(
                f"the lease {lease_id} is that of {owner}: only its opener, or an admin, may use it; open your own",
                reason="LEASE_OF_ANOTHER",
                metadata={"lease_id": lease_id, "owner": owner},
            )

    async def close(self, lease_id: str, *, by: str = "") -> int:
        """End a lease and delete its entries; return the revision of that, or 0 where it had none.

        Raises as `keep` does.
        """
        self.ttl(lease_id)
        self.check_owner(lease_id, by)
        self._closing.add(lease_id)
        self._store.leases.discard(lease_id)  # nothing more is written under it
        try:
            return await self._end(lease_id)
        except LightfastError:
            self._store.leases.add(lease_id)
            raise
        finally:
            self._closing.discard(lease_id)

    async def _end(self, lease_id: str) -> int:
        while True:
            await self._store.drain()  # what was written under it just now goes, too
            paths = self._store.leased(lease_id)
            unit = self._db.unit()
            unit.execute("DELETE FROM leases WHERE lease_id = ?", (lease_id,))
            try:
                done = await self._store.apply(
                    [Delete(path) for path in paths],
                    origin=ORIGIN,
                    preconditions=self._as_they_are(paths),
                    label=f"lease {lease_id} ended",
                    unit=unit,
                    trusted=True,
                )
            except Conflict as conflict:
                if conflict.reason != "PRECONDITION_FAILED":
                    raise
                continue  # what others have written since does not go with it
            self._ttl.pop(lease_id, None)
            self._ends.pop(lease_id, None)
            self._owners.pop(lease_id, None)
            return done.revision if paths else 0

    def _as_they_are(self, paths: Sequence[str]) -> list[Precondition]:
        entries = [self._store.get(path) for path in paths]
        return [Precondition(entry.path, revision=entry.revision) for entry in entries if entry is not None]

    async def sweep(self) -> int:
        """End the leases whose time is over; return how many."""
        now = self._clock.monotonic()
        over = [lease for lease, end in self._ends.items() if end <= now and lease not in self._closing]
        for start in range(0, len(over), AT_ONCE):
            # Side by side, so that many ends share a sync, and the last one is not late.
            ends = [self._expire(lease_id) for lease_id in over[start : start + AT_ONCE]]
            for outcome in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        return len(over)

    async def _expire(self, lease_id: str) -> None:
        try:
            await self.close(lease_id)
        except NotFound:
            return  # it was closed meanwhile
        log.info("lease expired", lease=lease_id)

    async def _sweep_for_ever(self) -> None:
        loop, put_off = asyncio.get_running_loop(), False
        while True:
            due = loop.time() + SWEEP_INTERVAL
            await asyncio.sleep(SWEEP_INTERVAL)
            # Where this process stood still, what owners sent meanwhile has come, and is read only now: once it has
            # been, the next sweep finds who really is gone.
            put_off = loop.time() - due > SWEEP_INTERVAL and not put_off
            if put_off:
                continue
            try:
                await self.sweep()
            except LightfastError as error:  # the disk may be full: the lease is tried again
                log.warning("a lease could not be ended", reason=error.reason, error=str(error))

    def _add(self, lease_id: str, origin: str, ttl: float) -> None:
        self._ttl[lease_id] = ttl
        self._owners[lease_id] = origin.partition("#")[0]
        self._ends[lease_id] = self._clock.monotonic() + ttl
        self._store.leases.add(lease_id)
