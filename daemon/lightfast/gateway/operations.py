"""Operations: one row per generation, under way or over, in the table `operations`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Protocol

from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.gateway.calls import StepFallback
from lightfast.sdk import Usage
from lightfast_link.value import Asset

KEPT_ROWS = 10_000
"""How many operations the table keeps; the oldest go first, at a start of the daemon."""
KEPT_IN_MEMORY = 256
"""How many finished operations are answered without a read."""
TEXT_KEPT = 64 * 1024
"""So many characters of the text are in the row, from its beginning."""
PAGE = 50
MOST_PAGE = 1000


class OperationState(StrEnum):
    """How an operation stands."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Operation:
    """One generation; times in ns since 1970, *end_time* 0 while it runs, *error* says why it failed.

    *text* is what came so far; *usage* and *cost_usd* are of all its attempts; *fallbacks* are the models that failed.
    *job_id* is the identity of the job at the service, made with *account*; with *settings* (a JSON object) and
    *sources* a restarted daemon takes it up, until *deadline*.
    """

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
    project: str = ""
    run: str = ""
    text: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    cost_basis: str = ""
    saved_usd: float = 0.0
    cache: str = ""
    finish_reason: str = ""
    duration: float = 0.0
    fallbacks: tuple[StepFallback, ...] = ()
    job_id: str = ""
    account: str = ""
    settings: str = ""
    sources: tuple[str, ...] = ()
    deadline: int = 0
    note: str = ""
    """What there is to know about it, for a person: that a batch is worked through here, for instance."""

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

    def enqueue(self, unit: Any, done: Callable[[BaseException | None], None]) -> None:
        """Have it committed, and call *done*."""

    async def query(self, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        """Read rows."""


_FIELDS = tuple(each.name for each in fields(Operation))
_NO_USAGE = Usage()
_COUNTS = tuple(each.name for each in fields(Usage))


def encode(operation: Operation) -> str:
    """Return the body of a row; what is empty is left out."""
    body: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(operation, name)
        if value or name in _ALWAYS:
            body[name] = value
    usage = operation.usage
    if usage == _NO_USAGE:
        body.pop("usage", None)
    else:
        counts = {name: getattr(usage, name) for name in _COUNTS}
        body["usage"] = {name: value for name, value in counts.items() if value or (name == "cost_usd" and value == 0)}
    if operation.assets:
        body["assets"] = [asdict(asset) for asset in operation.assets]
    if operation.fallbacks:
        body["fallbacks"] = [asdict(fallback) for fallback in operation.fallbacks]
    if len(operation.text) > TEXT_KEPT:
        body["text"] = operation.text[:TEXT_KEPT]
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


_ALWAYS = frozenset(("operation_id", "state", "model", "output", "prompt", "seed", "origin", "create_time", "error"))


def decode(body: str) -> Operation:
    """Return the operation of a row."""
    data = json.loads(body)
    data["state"] = OperationState(data["state"])
    data["assets"] = tuple(Asset(**asset) for asset in data.get("assets", ()))
    data["fallbacks"] = tuple(StepFallback(**fallback) for fallback in data.get("fallbacks", ()))
    data["sources"] = tuple(data.get("sources", ()))
    data["usage"] = Usage(**data.get("usage", {}))
    return Operation(**{name: value for name, value in data.items() if name in _FIELDS})


class Operations:
    """The operations of this store. Those that run live in memory; a row is written at both ends."""

    def __init__(self, db: Rows) -> None:
        self._db = db
        self._known: dict[str, Operation] = {}

    async def left(self) -> list[Operation]:
        """Return what a stopped daemon left running."""
        rows = await self._db.query("SELECT body FROM operations WHERE state = 'RUNNING' ORDER BY create_time")
        return [decode(body) for (body,) in rows]

    async def clean(self, failed: Sequence[Operation]) -> None:
        """Write those that *failed*, and let go of the oldest."""
        unit = self._db.unit()
        for operation in failed:
            self.write(unit, operation)
        unit.execute(
            "DELETE FROM operations WHERE state <> 'RUNNING' AND create_time <"
            " (SELECT create_time FROM operations ORDER BY create_time DESC LIMIT 1 OFFSET ?)",
            (KEPT_ROWS - 1,),
        )
        await self._db.commit(unit)

    def unit(self) -> Any:
        """Return an empty unit of work, for `write` and the rows of another floor."""
        return self._db.unit()

    def write(self, unit: UnitOfWork, operation: Operation) -> None:
        """Add the row of *operation* to a unit of work."""
        unit.execute(
            "INSERT OR REPLACE INTO operations(operation_id, body, create_time, state, project) VALUES(?, ?, ?, ?, ?)",
            (
                operation.operation_id,
                encode(operation),
                operation.create_time,
                operation.state.value,
                operation.project,
            ),
        )

    async def save(self, operation: Operation) -> None:
        """Write the row of *operation* by itself, and remember it."""
        self.remember(operation)
        unit = self._db.unit()
        self.write(unit, operation)
        await self._db.commit(unit)

    def begin(self, operation: Operation, done: Callable[[BaseException | None], None]) -> None:
        """Have the first row written, without waiting: what is written later comes after it."""
        unit = self._db.unit()
        self.write(unit, operation)
        self._db.enqueue(unit, done)

    async def flush(self) -> None:
        """Wait until what was handed over is on the disk."""
        await self._db.commit(self._db.unit())

    def remember(self, operation: Operation) -> None:
        """Keep the newest state in memory; beyond the bound the oldest finished one is let go."""
        self._known.pop(operation.operation_id, None)
        self._known[operation.operation_id] = operation
        if len(self._known) > KEPT_IN_MEMORY:
            over = (key for key, value in self._known.items() if value.state is not OperationState.RUNNING)
            oldest = next(over, None)
            if oldest is not None:
                del self._known[oldest]

    def forget(self, operation_ids: Sequence[str]) -> None:
        """Let go of operations that are kept in memory; those that are over are read from their rows again."""
        for operation_id in operation_ids:
            known = self._known.get(operation_id)
            if known is not None and known.state is not OperationState.RUNNING:
                del self._known[operation_id]

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

    async def page(
        self, *, running_only: bool = False, project: str = "", size: int = 0, token: str = ""
    ) -> tuple[list[Operation], str]:
        """Return *size* operations (0: 50, at most 1000), the newest first, and the token of the next page.

        Raises `InvalidArgument` (PAGE_INVALID).
        """
        if not 0 <= size <= MOST_PAGE:
            raise InvalidArgument(
                f"a page of {size} operations: use 1 to {MOST_PAGE}", reason="PAGE_INVALID", field="page_size"
            )
        size = size or PAGE
        before, last = _read_token(token) if token else ((1 << 63) - 1, "")
        where, params = "(create_time < ? OR (create_time = ? AND operation_id < ?))", [before, before, last]
        if running_only:
            where += " AND state = 'RUNNING'"
        if project:
            where += " AND project = ?"
            params.append(project)
        rows = await self._db.query(
            f"SELECT body FROM operations WHERE {where} ORDER BY create_time DESC, operation_id DESC LIMIT ?",  # noqa: S608 — constants
            (*params, size + 1),
        )
        found = [decode(body) for (body,) in rows]
        page = found[:size]
        more = f"{page[-1].create_time}:{page[-1].operation_id}" if len(found) > size else ""
        return [self._known.get(each.operation_id, each) for each in page], more


def _read_token(token: str) -> tuple[int, str]:
    time, _, operation_id = token.partition(":")
    if not time.isdecimal() or not operation_id or len(time) > 19:
        raise InvalidArgument(
            "the page token is none of ours: begin with the first page", reason="PAGE_INVALID", field="page_token"
        )
    return int(time), operation_id
