"""What grows old in the database: history that moves on, operations that nobody asks for any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from lightfast.context.tiers.tiers import Tiers
from lightfast.context.upkeep.collect_records import DAY_NS, Action, Budget, Candidate, Limits, Reached
from lightfast.core.clock import Clock
from lightfast.storage.database import Database

MOST_OPERATIONS = 10_000
"""More ended operations than this are not kept, however young."""
_BATCH = 500


class HistoryRoom:
    """History in SQLite that is old, or too much: it moves to the archive, where the same calls read it."""

    kind = "history"

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers

    async def candidates(self, reached: Reached, kept: Counter[str]) -> AsyncIterator[Candidate]:
        """Yield one: all that is due."""
        if self._tiers.shelf.frames is None:
            return
        until = await self._tiers.demoter.due()
        if not until:
            return
        options = self._tiers.options
        size = self._tiers.demoter.size
        reason = f"it is older than {options.keep_days:g} days"
        if options.quota and size.bytes > options.quota:
            reason = f"the history takes {size.bytes} bytes, its quota is {options.quota}"
        estimate = await self._tiers.demoter.estimate(until)
        reason += f"; its texts are estimated at {estimate} bytes"
        yield Candidate(self.kind, f"up to revision {until}", Action.DEMOTE, estimate, reason)

    async def collect(self, candidate: Candidate, budget: Budget) -> int:
        """Move it, as far as the budget goes."""
        return (await self._tiers.demote(seconds=max(budget.seconds, 0.01), size=budget.size)).bytes


class OperationRoom:
    """Operations that ended: their rows go when they are old, or too many. What they made stays where it is used."""

    kind = "operations"

    def __init__(
        self, db: Database, clock: Clock, limits: Callable[[], Limits], forget: Callable[[Sequence[str]], None]
    ) -> None:
        """*forget* drops what is kept in memory of operations."""
        self._db = db
        self._clock = clock
        self._limits = limits
        self._forget = forget

    async def candidates(self, reached: Reached, kept: Counter[str]) -> AsyncIterator[Candidate]:
        """Yield ended operations, the oldest first."""
        days = self._limits().operation_days
        before = self._clock.now_ns() - int(days * DAY_NS) if days else 0
        rows = await self._db.query(
            "SELECT operation_id, create_time, octet_length(body), body ->> '$.state',"
            " row_number() OVER (ORDER BY create_time DESC) FROM operations ORDER BY create_time"
        )
        for operation_id, create_time, size, state, rank in rows:
            if create_time >= before and rank <= MOST_OPERATIONS:
                continue
            if state == "RUNNING":
                kept["job"] += 1
                continue
            why = f"it is older than {days:g} days" if create_time < before else f"more than {MOST_OPERATIONS} are kept"
            yield Candidate(self.kind, operation_id, Action.DELETE, size, f"it has ended, and {why}")

    async def collect(self, candidate: Candidate, budget: Budget) -> int:
        """Delete its row."""
        unit = self._db.unit()
        unit.execute(
            "DELETE FROM operations WHERE operation_id = ? AND body ->> '$.state' <> 'RUNNING'", (candidate.ident,)
        )
        await self._db.commit(unit)
        self._forget([candidate.ident])
        return candidate.size
