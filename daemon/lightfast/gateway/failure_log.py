"""What failed lately: each failed attempt with the chain of its causes, in a bounded table.

Secrets are hidden, texts are cut, and whoever tells of a failure never waits. What the disk does not take is kept in a
ring for as long as the daemon runs.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from lightfast.core.errors import LightfastError
from lightfast.core.redaction import hide
from lightfast.gateway.cost.ledger import Rows
from lightfast.gateway.ports import Attempt
from lightfast.sdk import ProviderError

log = structlog.get_logger("lightfast.gateway")

KEPT_ROWS = 10_000
"""How many failures the table keeps."""
KEPT_IN_MEMORY = 1000
MOST_WAITING = 1000
"""How many may wait for the disk; more go to the ring."""
SWEEP_EVERY = 100
MOST_CAUSES = 10
MESSAGE_LENGTH = 2000
CAUSE_LENGTH = 500
PAGE, MOST_PAGE = 50, 1000


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed attempt; *time* in ns since 1970, *causes* the nearest first, *action* what was done about it."""

    time: int
    operation_id: str
    model: str
    provider: str
    account: str
    reason: str
    message: str
    causes: tuple[str, ...]
    action: str


def reason_of(error: BaseException) -> str:
    """Return the machine-readable reason of an error, else the name of its type."""
    if isinstance(error, LightfastError | ProviderError):
        return error.reason
    return type(error).__name__


def causes_of(error: BaseException) -> tuple[str, ...]:
    """Return the causes of an error as `Type: message`, the nearest first; bounded, without secrets."""
    found: list[str] = []
    seen = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in seen and len(found) < MOST_CAUSES:
        seen.add(id(cause))
        said = str(cause).strip()
        found.append(_cut(f"{type(cause).__name__}: {said}" if said else type(cause).__name__, CAUSE_LENGTH))
        cause = _cause(cause)
    return tuple(found)


def _cause(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def _cut(text: str, length: int) -> str:
    text = hide(text)  # before it is cut: half a key is a secret, too
    return text if len(text) <= length else text[: length - 1] + "…"


class FailureLog:
    """An `AttemptListener` that keeps what failed; `await start()` before use."""

    def __init__(self, db: Rows) -> None:
        self.total = 0
        self.unwritten = 0
        """How many went to the ring, because the disk did not take them."""
        self._db = db
        self._ring: deque[Failed] = deque(maxlen=KEPT_IN_MEMORY)
        self._waiting = 0
        self._next = 1

    async def start(self) -> None:
        """Go on after the newest row."""
        ((last,),) = await self._db.query("SELECT coalesce(max(id), 0) FROM failures")
        self._next = int(last) + 1

    def __call__(self, attempt: Attempt) -> None:
        """Take in an attempt that is over."""
        if attempt.error is None or attempt.outcome != "error":
            return
        failed = Failed(
            time=attempt.time,
            operation_id=attempt.operation_id,
            model=attempt.model,
            provider=attempt.provider,
            account=attempt.account,
            reason=reason_of(attempt.error),
            message=_cut(str(attempt.error).strip() or type(attempt.error).__name__, MESSAGE_LENGTH),
            causes=causes_of(attempt.error),
            action=attempt.action,
        )
        self.total += 1
        if self._waiting < MOST_WAITING:
            self._write(failed)
        else:
            self._keep(failed)

    def _keep(self, failed: Failed) -> None:
        self.unwritten += 1
        self._ring.append(failed)

    def _write(self, failed: Failed) -> None:
        row_id, self._next = self._next, self._next + 1
        unit = self._db.unit()
        body = json.dumps(asdict(failed), ensure_ascii=False, separators=(",", ":"))
        unit.execute(
            "INSERT INTO failures(id, time, operation_id, provider, body) VALUES(?, ?, ?, ?, ?)",
            (row_id, failed.time, failed.operation_id, failed.provider, body),
        )
        if row_id % SWEEP_EVERY == 0:
            unit.execute("DELETE FROM failures WHERE id <= ?", (row_id - KEPT_ROWS,))
        self._waiting += 1

        def done(error: BaseException | None) -> None:
            self._waiting -= 1
            if error is not None:
                self._keep(failed)
                log.warning("a failure cannot be written down", reason=str(error))

        try:
            self._db.enqueue(unit, done)
        except LightfastError as error:
            done(error)

    def forget(self, holds: Callable[[Any], bool]) -> None:
        """Let go of what waits in memory and of which *holds* says that it holds what is purged."""
        kept = [one for one in self._ring if not holds(list(asdict(one).values()))]
        self._ring = deque(kept, maxlen=KEPT_IN_MEMORY)

    async def find(self, *, provider: str = "", operation_id: str = "", count: int = 0) -> list[Failed]:
        """Return failures, the newest first: of a provider, of an operation; *count* 0 means 50, the most is 1000."""
        await self._db.commit(self._db.unit())  # what was told of before is there
        count = min(count or PAGE, MOST_PAGE)
        wanted = [(name, value) for name, value in (("provider", provider), ("operation_id", operation_id)) if value]
        where = " WHERE " + " AND ".join(f"{name} = ?" for name, _ in wanted) if wanted else ""
        rows = await self._db.query(
            f"SELECT body FROM failures{where} ORDER BY id DESC LIMIT ?",  # noqa: S608  # constants
            (*(value for _, value in wanted), count),
        )
        kept = [one for one in self._ring if all(getattr(one, name) == value for name, value in wanted)]
        found = [*reversed(kept), *(_read(body) for (body,) in rows)]
        return sorted(found, key=lambda one: one.time, reverse=True)[:count]


def _read(body: str) -> Failed:
    data: dict[str, Any] = json.loads(body)
    data["causes"] = tuple(data["causes"])
    return Failed(**data)
