"""Operations: one row per generation, under way or over, in the table `operations`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from lightfast.core.errors import NotFound
from lightfast_link.value import Asset

KEPT_ROWS = 10_000
"""How many operations the table keeps; the oldest go first, at a start of the daemon."""
KEPT_IN_MEMORY = 256
"""How many finished operations are answered without a read."""


class OperationState(StrEnum):
    """How an operation stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Operation:
    """One generation; times in ns since 1970, *end_time* 0 while it runs, *error* says why it failed."""

    operation_id: str
    state: OperationState
    model: str
    output: str
    prompt: str
    seed: int
    origin: str
    create_time: int
    fraction: float = 0.0
    error: str = ""
    assets: tuple[Asset, ...] = ()
    end_time: int = 0
    group: str = ""
    target_path: str = ""

    def ended(self, state: OperationState, end_time: int, error: str = "") -> Operation:
        """Return it as it ended; a success is complete."""
        fraction = 1.0 if state is OperationState.SUCCEEDED else self.fraction
        return replace(self, state=state, end_time=end_time, error=error, fraction=fraction)


class UnitOfWork(Protocol):
    """The part of a unit of work used here."""

    def execute(self, sql: str, params: Any = ()) -> Any:
        """Add a statement."""


class Rows(Protocol):
    """The part of the database used here."""

    def unit(self) -> Any:
        """Return an empty unit of work."""

    async def commit(self, unit: Any) -> None:
        """Commit it."""

    async def query(self, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        """Read rows."""


def encode(operation: Operation) -> str:
    """Return the body of a row."""
    return json.dumps(asdict(operation), ensure_ascii=False, separators=(",", ":"))


def decode(body: str) -> Operation:
    """Return the operation of a row."""
    data = json.loads(body)
    data["state"] = OperationState(data["state"])
    data["assets"] = tuple(Asset(**asset) for asset in data["assets"])
    return Operation(**data)


class Operations:
    """The operations of this store. Those that run live in memory; a row is written at both ends."""

    def __init__(self, db: Rows) -> None:
        self._db = db
        self._known: dict[str, Operation] = {}

    async def start(self, now: int) -> int:
        """Mark what a stopped daemon left running as failed, and let go of the oldest; return how many failed."""
        rows = await self._db.query("SELECT body FROM operations ORDER BY create_time DESC LIMIT ?", (KEPT_ROWS,))
        left = [row for row in map(decode, (body for (body,) in rows)) if row.state is OperationState.RUNNING]
        unit = self._db.unit()
        for operation in left:
            self.write(unit, operation.ended(OperationState.FAILED, now, "the daemon stopped"))
        unit.execute(
            "DELETE FROM operations WHERE operation_id NOT IN"
            " (SELECT operation_id FROM operations ORDER BY create_time DESC LIMIT ?)",
            (KEPT_ROWS,),
        )
        await self._db.commit(unit)
        return len(left)

    def unit(self) -> Any:
        """Return an empty unit of work, for `write` and the rows of another floor."""
        return self._db.unit()

    def write(self, unit: UnitOfWork, operation: Operation) -> None:
        """Add the row of *operation* to a unit of work."""
        unit.execute(
            "INSERT OR REPLACE INTO operations(operation_id, body, create_time) VALUES(?, ?, ?)",
            (operation.operation_id, encode(operation), operation.create_time),
        )

    async def save(self, operation: Operation) -> None:
        """Write the row of *operation* by itself, and remember it."""
        self.remember(operation)
        unit = self._db.unit()
        self.write(unit, operation)
        await self._db.commit(unit)

    def remember(self, operation: Operation) -> None:
        """Keep the newest state in memory; beyond the bound the oldest finished one is let go."""
        self._known.pop(operation.operation_id, None)
        self._known[operation.operation_id] = operation
        if len(self._known) > KEPT_IN_MEMORY:
            over = (key for key, value in self._known.items() if value.state is not OperationState.RUNNING)
            oldest = next(over, None)
            if oldest is not None:
                del self._known[oldest]

    async def get(self, operation_id: str) -> Operation:
        """Return an operation; raise `NotFound` where there is none of that identity."""
        known = self._known.get(operation_id)
        if known is not None:
            return known
        rows = await self._db.query("SELECT body FROM operations WHERE operation_id = ?", (operation_id,))
        if not rows:
            raise NotFound(
                f"there is no operation {operation_id!r}: it was never started here, or is older than the"
                f" {KEPT_ROWS} that are kept",
                reason="OPERATION_NOT_FOUND",
                metadata={"operation_id": operation_id},
            )
        return decode(rows[0][0])
