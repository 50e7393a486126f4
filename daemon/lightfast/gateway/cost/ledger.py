"""The ledger on the disk: a row for each attempt that used something, and sums of each day beside them.

A row is added to the sums of its day in the same transaction: by provider, model, project and client in `cost_days`,
and with the run as well in `cost_runs`. So a sum of many years reads few rows, and the single rows may go after a while
without anything being lost. Sums are of whole days (UTC); for the rest of a range its single rows are read, and where
those are gone the whole day counts. Money is in nano-dollars, times in ns since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from lightfast.core.errors import InvalidArgument
from lightfast.gateway.cost.budgets import DAY_NS, Key, span
from lightfast.gateway.ports import Payer
from lightfast.sdk import Usage

GROUPS = ("provider", "model", "project", "client", "day", "run")
MOST_SUMS = 2000
"""The most sums of one answer, the most expensive first."""
STEP_ROWS = 5000
"""How many single rows go in one transaction."""

_COUNTS = (
    *("requests", "failures", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens"),
    *("reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "image_input_tokens", "image_output_tokens"),
    *("characters", "seconds", "images", "credits", "nano", "saved"),
)
_LEDGER = ("id", "time", "operation_id", "provider", "model", "account", "project", "client", "run", "basis", *_COUNTS)
_DAYS = ("day", "provider", "model", "project", "client")
_RUNS = ("run", *_DAYS)


class Unit(Protocol):
    """The part of a unit of work used here."""

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Add a statement."""


class Rows(Protocol):
    """The part of the database used here."""

    def unit(self) -> Any:
        """Return an empty unit of work."""

    async def commit(self, unit: Any) -> None:
        """Commit it."""

    def enqueue(self, unit: Any, done: Callable[[BaseException | None], None]) -> None:
        """Commit it without waiting; *done* is called in the order of the commits."""

    async def query(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read rows."""


@dataclass(frozen=True, slots=True)
class Booking:
    """What one attempt used and cost, or what was saved; *basis* as of `Paid`, or how it was saved."""

    time: int
    operation_id: str
    model: str
    account: str
    payer: Payer
    usage: Usage
    nano: int
    basis: str
    failed: bool = False
    saved: int = 0

    @property
    def provider(self) -> str:
        """The provider of the model."""
        return self.model.partition("/")[0]

    def write(self, unit: Unit, row_id: int) -> None:
        """Add the row and what it adds to the sums to a unit of work."""
        payer, usage = self.payer, self.usage
        counts = (
            *(0 if self.saved else max(1, usage.requests), int(self.failed), usage.input_tokens, usage.output_tokens),
            *(usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens),
            *(usage.audio_input_tokens, usage.audio_output_tokens),
            *(usage.image_input_tokens, usage.image_output_tokens),
            *(usage.characters, usage.seconds, usage.images, usage.credits, self.nano, self.saved),
        )
        who = (self.provider, self.model, payer.project, payer.client)
        head = (row_id, self.time, self.operation_id, self.provider, self.model, self.account)
        unit.execute(_INSERT, (*head, payer.project, payer.client, payer.run, self.basis, *counts))
        unit.execute(_ADD_DAY, (self.time // DAY_NS, *who, *counts))
        unit.execute(_ADD_RUN, (payer.run, self.time // DAY_NS, *who, *counts))


def _add(table: str, keys: tuple[str, ...]) -> str:
    names = ", ".join((*keys, *_COUNTS))
    marks = ", ".join("?" * (len(keys) + len(_COUNTS)))
    more = ", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTS)
    return f"INSERT INTO {table}({names}) VALUES({marks}) ON CONFLICT DO UPDATE SET {more}"


_INSERT = f"INSERT INTO cost_ledger({', '.join(_LEDGER)}) VALUES({', '.join('?' * len(_LEDGER))})"
_ADD_DAY = _add("cost_days", _DAYS)
_ADD_RUN = _add("cost_runs", _RUNS)


async def last_row(db: Rows) -> int:
    """Return the number of the newest row; 0: there is none."""
    ((last,),) = await db.query("SELECT coalesce(max(id), 0) FROM cost_ledger")
    return int(last)


async def spent(db: Rows, key: Key, now_ns: int, first_row: int) -> tuple[int, set[int]]:
    """Return what was spent for a purse in its period of now, and which rows from *first_row* on that holds."""
    scope, name, period = key
    table = "cost_runs" if scope == "run" else "cost_days"
    where, params = ("", ()) if scope == "all" else (f"{scope} = ? AND ", (name,))
    rows = await db.query(
        f"SELECT (SELECT coalesce(sum(nano), 0) FROM {table} WHERE {where}day >= ?),"  # noqa: S608  # constants
        " (SELECT json_group_array(id) FROM cost_ledger WHERE id >= ?)",
        (*params, span(period, now_ns)[0] // DAY_NS, first_row),
    )
    return int(rows[0][0]), set(json.loads(rows[0][1]))


async def most_spent(db: Rows, scope: str, period: str, now_ns: int) -> int:
    """Return what the one of a scope that spent most has spent in its period of now."""
    table = "cost_runs" if scope == "run" else "cost_days"
    rows = await db.query(
        "SELECT coalesce(max(total), 0) FROM (SELECT sum(nano) AS total"  # noqa: S608  # constants
        f" FROM {table} WHERE {scope} <> '' AND day >= ? GROUP BY {scope})",
        (span(period, now_ns)[0] // DAY_NS,),
    )
    return int(rows[0][0])


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What was used by those of one *group*, by the names that were asked for; money in nano-dollars."""

    group: dict[str, str]
    requests: int
    failures: int
    usage: Usage
    nano: int
    saved: int


async def usage(
    db: Rows, group_by: Sequence[str], after_ns: int, before_ns: int, project: str, detail_day: int
) -> list[UsageSum]:
    """Sum up what was used from *after_ns* until *before_ns*; before the day *detail_day* there are only whole days."""
    unknown = [name for name in group_by if name not in GROUPS]
    if unknown:
        raise InvalidArgument(f"nothing is summed up by {unknown[0]!r:.60}: use {', '.join(GROUPS)}", field="group_by")
    if before_ns <= after_ns:
        raise InvalidArgument("the range ends before it begins", field="before")
    names = list(dict.fromkeys(group_by))
    sums = ", ".join(f"sum({count})" for count in _COUNTS)
    parts, params = _ranges(names, after_ns, before_ns, project, detail_day)
    grouped = f" GROUP BY {', '.join(names)}" if names else " HAVING count(*) > 0"
    keys = "".join(f"{name}, " for name in names)
    rows = await db.query(
        f"SELECT {keys}{sums} FROM ({' UNION ALL '.join(parts)}){grouped}"  # noqa: S608  # constants
        f" ORDER BY sum(nano) DESC, sum(saved) DESC LIMIT {MOST_SUMS}",
        params,
    )
    return [_sum(names, row) for row in rows]


def _ranges(
    names: list[str], after_ns: int, before_ns: int, project: str, detail_day: int
) -> tuple[list[str], list[Any]]:
    """Return the parts of a range: whole days of the sums, and single rows of the days that are not whole."""
    table = "cost_runs" if "run" in names else "cost_days"
    first, last = -(-after_ns // DAY_NS), before_ns // DAY_NS
    edges: list[tuple[int, int]] = []
    if after_ns % DAY_NS:
        if first - 1 < detail_day:
            first -= 1
        else:
            edges.append((after_ns, min(before_ns, first * DAY_NS)))
    if before_ns % DAY_NS:
        if last < detail_day:
            last += 1
        elif not edges or last >= first:
            edges.append((max(after_ns, last * DAY_NS), before_ns))
    keys = "".join(f"{name}, " for name in names)
    counts = ", ".join(_COUNTS)
    only, named = (" AND project = ?", [project]) if project else ("", [])
    parts = [f"SELECT {keys}{counts} FROM {table} WHERE day >= ? AND day < ?{only}"]  # noqa: S608  # constants
    params: list[Any] = [first, last, *named]
    single = keys.replace("day, ", f"time / {DAY_NS} AS day, ")
    for start, end in edges:
        parts.append(f"SELECT {single}{counts} FROM cost_ledger WHERE time >= ? AND time < ?{only}")  # noqa: S608
        params += [start, end, *named]
    return parts, params


def _sum(names: list[str], row: tuple[Any, ...]) -> UsageSum:
    group = {name: _day(value) if name == "day" else str(value) for name, value in zip(names, row, strict=False)}
    found = dict(zip(_COUNTS, row[len(names) :], strict=True))
    requests, failures = found.pop("requests"), found.pop("failures")
    money, saved = found.pop("nano"), found.pop("saved")
    return UsageSum(group, requests, failures, Usage(**found), money, saved)


def _day(number: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)).date().isoformat()


async def let_go(db: Rows, before_day: int) -> int:
    """Delete the single rows before a day; their sums stay. Returns how many went."""
    gone = 0
    while True:
        ((last, count),) = await db.query(
            "SELECT coalesce(max(id), 0), count(*) FROM"
            " (SELECT id FROM cost_ledger WHERE time < ? ORDER BY id LIMIT ?)",
            (before_day * DAY_NS, STEP_ROWS),
        )
        unit = db.unit()
        unit.execute(
            "INSERT INTO cost_marks(name, value) VALUES('detail_day', ?)"
            " ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
            (before_day,),
        )
        if count:
            unit.execute("DELETE FROM cost_ledger WHERE time < ? AND id <= ?", (before_day * DAY_NS, last))
        await db.commit(unit)
        gone += int(count)
        if count < STEP_ROWS:
            return gone


async def detail_day(db: Rows) -> int:
    """Return the first day of which there are still single rows."""
    rows = await db.query("SELECT value FROM cost_marks WHERE name = 'detail_day'")
    return int(rows[0][0]) if rows else 0
