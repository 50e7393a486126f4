"""The ledger: gives transactions their revisions, hands them to the writer, and settles what is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from lightfast.context.declarations import Declarations
from lightfast.context.draft import Draft
from lightfast.context.entry import Transaction
from lightfast.context.head import Changes, Head
from lightfast.context.reader import Bounds
from lightfast.core.clock import Clock
from lightfast.storage.database import Chain, ChainBroken, Database, Unit

_ROW_OVERHEAD = 120
"""Characters that a row takes in the queue besides its entry."""


class _Pending:
    """One transaction, or rows without one, on the way to the disk."""

    __slots__ = ("chain", "changes", "future", "ledger", "next_row", "rows", "transaction")

    def __init__(self, ledger: Ledger, transaction: Transaction | None, changes: Changes, next_row: int) -> None:
        self.ledger = ledger
        self.transaction = transaction
        self.changes = changes
        self.next_row = next_row
        self.rows: list[tuple[Any, ...]] = []
        self.chain = ledger.chain
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def done(self, error: BaseException | None) -> None:
        """Hear from the writer, on the loop and in order."""
        if error is None:
            self.ledger.committed(self)
        else:
            self.ledger.failed(self, error)


class Ledger:
    """Revisions have no gaps: after a failed write they go on from the last durable one.

    Everything that was checked against a transaction that then failed fails with it; *chain* tells
    the writer what belongs together.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        head: Head,
        declarations: Declarations,
        bounds: Bounds,
        next_row: int,
        record_time: int,
        on_commit: Callable[[Transaction, Changes], None],
    ) -> None:
        self.head = head
        self.chain = Chain()
        self._db = db
        self._clock = clock
        self._declarations = declarations
        self._bounds = bounds
        self._on_commit = on_commit
        self._revision = bounds.revision
        self._next_row = self._durable_row = next_row
        self._record_time = record_time

    def draft(
        self,
        origin: str,
        cause: int = 0,
        group: str = "",
        label: str = "",
        lease: str = "",
        trusted: bool = False,
        undone: tuple[int, ...] = (),
    ) -> Draft:
        """Return an empty draft of the next transaction; it must be `put` before the loop goes on."""
        # Record times only grow, whatever the clock does: the past is searched by them.
        now = max(self._clock.now_ns(), self._record_time)
        return Draft(
            self.head,
            self._declarations,
            revision=self._revision + 1,
            first_row=self._next_row,
            record_time=now,
            origin=origin,
            cause=cause,
            group=group,
            label=label,
            lease=lease,
            trusted=trusted,
            undone=undone,
        )

    def put(self, draft: Draft, unit: Unit | None = None, answer: tuple[Any, ...] | None = None) -> asyncio.Future[int]:
        """Hand *draft* to the writer, with the rows of *unit* and the row of an *answer* to remember.

        The future is for `written`, and raises what the writer raises. A draft without events takes no revision.
        """
        work = Unit()
        if unit is not None:
            work.include(unit)
        pending = _Pending(self, None, draft.changes, self._next_row)
        if draft.events:
            rows, pending.transaction = draft.finish()
            pending.next_row += len(draft.rows)
            pending.rows = rows
            work.log(rows, draft.text_size + _ROW_OVERHEAD * len(rows))
        if answer is not None:
            work.log([answer], len(answer[7]) + _ROW_OVERHEAD)
        work.chain = self.chain
        self._db.enqueue(work, pending.done)
        if draft.events:
            self.head.push(draft.changes, draft.revision)
            self._revision = draft.revision
            self._next_row = pending.next_row
            self._record_time = draft.record_time
            for path, policy, hand in draft.touched:
                self._declarations.owners.touch(path, policy, draft.origin, draft.record_time, hand=hand)
        return pending.future

    @property
    def stamp(self) -> tuple[object, ...]:
        """Return what is another when anything has changed that a draft is checked against, signals excepted."""
        return self._revision, self.chain, self._declarations.edition

    async def remember(self, answer: tuple[Any, ...]) -> None:
        """Write the row of an *answer* alone; it stands on no transaction, and so needs no chain."""
        unit = Unit()
        unit.log([answer], len(answer[7]) + _ROW_OVERHEAD)
        await self._db.commit(unit)

    async def written(self, future: asyncio.Future[int]) -> int | None:
        """Return the revision of what was `put`; `None` where another transaction's fault swept it away: try again."""
        try:
            return await future
        except ChainBroken as broken:
            if broken.alone:
                return None
            raise broken.cause from None

    async def drain(self) -> None:
        """Wait until everything put so far is durable, or has failed."""
        await self._db.commit(self._db.unit())

    def committed(self, pending: _Pending) -> None:
        """Move what is durable into the live tree, and tell the world."""
        transaction = pending.transaction
        if transaction is not None:
            self._bounds.revision = transaction.revision
            self._durable_row = pending.next_row
            self.head.settle(pending.changes, transaction.revision, pending.rows)
        if not pending.future.done():
            pending.future.set_result(self._bounds.revision)
        if transaction is not None:
            self._on_commit(transaction, pending.changes)

    def failed(self, pending: _Pending, error: BaseException) -> None:
        """Start afresh from the last durable revision."""
        if pending.chain is self.chain:
            self.chain = Chain()
            self.head.drop()
            self._revision = self._bounds.revision
            self._next_row = self._durable_row
        if not pending.future.done():
            pending.future.set_exception(error)
