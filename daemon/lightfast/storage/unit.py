"""One unit of work: the rows that are committed together, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Done = Callable[[BaseException | None], None]
"""Called on the loop, in commit order, with what went wrong or `None`."""


class Chain:
    """Ties units that build on each other: after one fails, the rest are not written.

    *broken* is the error of the one that failed; *alone* says that the fault was in that unit only, so
    that the others may be tried again.
    """

    __slots__ = ("alone", "broken")

    def __init__(self) -> None:
        self.broken: BaseException | None = None
        self.alone = False


class ChainBroken(Exception):
    """An earlier unit of the same chain failed, and this one was not tried.

    *cause* is that unit's error, *alone* as in `Chain`.
    """

    def __init__(self, cause: BaseException, *, alone: bool) -> None:
        super().__init__(f"an earlier write failed: {cause}")
        self.cause = cause
        self.alone = alone


class Unit:
    """Collects statements; `Database.commit` and `Database.enqueue` write them.

    A constraint that a unit with statements of its own violates fails it alone and not the others
    of its group.
    """

    __slots__ = ("alone", "chain", "done", "log_rows", "size", "statements")

    def __init__(self) -> None:
        self.alone: Callable[[Any], None] | None = None
        """Called with the connection that writes, outside any transaction; such a unit holds nothing else."""
        self.log_rows: list[tuple[Any, ...]] = []
        self.statements: list[tuple[str, Any, bool]] = []
        self.chain: Chain | None = None
        self.done: Done | None = None
        self.size = 0

    def execute(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Add one statement."""
        self.statements.append((sql, tuple(params), False))
        self.size += len(sql) + _size(params)

    def insert(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add one statement that runs once for each of *rows*."""
        rows = [tuple(row) for row in rows]
        if rows:
            self.statements.append((sql, rows, True))
            self.size += len(sql) + sum(_size(row) for row in rows)

    def log(self, rows: list[tuple[Any, ...]], size: int) -> None:
        """Add rows of the view `sink`, which hold *size* characters of text in all."""
        self.log_rows += rows
        self.size += size

    def include(self, other: Unit) -> None:
        """Add all that *other* holds."""
        self.log_rows += other.log_rows
        self.statements += other.statements
        self.size += other.size


def _size(params: Sequence[Any]) -> int:
    return sum([len(value) if isinstance(value, (str, bytes)) else 8 for value in params])
