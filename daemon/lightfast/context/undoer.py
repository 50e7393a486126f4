"""Carries an undo or redo out, against a head that may move meanwhile."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import msgspec

from lightfast.context import undo
from lightfast.context.head import Head
from lightfast.context.ledger import Ledger
from lightfast.context.reader import Bounds
from lightfast.context.records import RequestKey, Undone
from lightfast.core.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, OutOfRange
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

_TRIES = 5


class Target(msgspec.Struct, frozen=True):
    """What to take back: one of *group*, *run* and *revision*; with *redo*, the undo of it."""

    group: str = ""
    run: str = ""
    revision: int = 0
    redo: bool = False

    @property
    def word(self) -> str:
        """Return what is being done."""
        return "redo" if self.redo else "undo"

    def check(self) -> None:
        """Raise `InvalidArgument` unless exactly one is given."""
        if (bool(self.group), bool(self.run), self.revision != 0).count(True) != 1 or self.revision < 0:
            raise InvalidArgument("give exactly one of group, run and revision", field="target")

    def __str__(self) -> str:
        return self.group or self.run or f"revision {self.revision}"


class Undoer:
    """Plans in the reader thread, writes on the loop if nothing has changed in between, else plans again."""

    def __init__(
        self,
        db: Database,
        head: Head,
        bounds: Bounds,
        ledger: Ledger,
        requests: Requests,
        leases: Container[str],
    ) -> None:
        self._db = db
        self._head = head
        self._bounds = bounds
        self._ledger = ledger
        self._requests = requests
        self._leases = leases

    async def run(self, target: Target, origin: str, validate_only: bool, request: RequestKey | None) -> Undone:
        """Take *target* back; see `Store.undo`."""
        target.check()
        if request is None or validate_only:
            return await self._try(target, origin, validate_only, None)
        return await self._requests.run(
            (request.client, request.method, request.request_id),
            request.payload_hash,
            lambda: self._try(target, origin, False, request),
            _answered,
        )

    async def _try(self, target: Target, origin: str, validate_only: bool, request: RequestKey | None) -> Undone:
        for _ in range(_TRIES):
            plan = await self._plan(target)
            if plan.conflicts or not plan.rows:
                return Undone(0, (), plan.conflicts)
            if not self._fresh(plan):
                await self._ledger.drain()
                continue
            draft = self._ledger.draft(origin, label=target.word, trusted=True, undone=plan.revisions)
            undo.take_back(draft, plan, self._leases)
            if validate_only or not draft.events:
                return Undone(0, plan.revisions if draft.events else ())
            answer: tuple[Any, ...] | None = None
            if request is not None:
                text = msgspec.json.encode((draft.revision, plan.revisions)).decode()
                answer = self._requests.row(
                    request.client, request.method, request.request_id, request.payload_hash, text
                )
            if await self._ledger.written(self._ledger.put(draft, None, answer)) is not None:
                return Undone(draft.revision, plan.revisions)
        raise Conflict(
            f"the {target.word} was overtaken by other writes {_TRIES} times: try again when they calm down",
            reason="UNDO_CONFLICT",
            retry_after=1.0,
        )

    async def _plan(self, target: Target) -> undo.Plan:
        oldest = self._bounds.oldest

        def read(connection: Any) -> undo.Plan:
            return undo.plan(
                connection,
                group=target.group,
                run=target.run,
                revision=target.revision,
                redo=target.redo,
                oldest=oldest,
            )

        plan = await self._db.read(read)
        if plan.too_old:
            raise OutOfRange(
                f"revision {plan.too_old} can no longer be taken back: history before {oldest} was dropped",
                metadata={"compact_revision": str(oldest)},
            )
        if not plan.known:
            raise NotFound(
                f"there is nothing to {target.word}: {target} is not in the history", reason="UNDO_TARGET_UNKNOWN"
            )
        if not plan.revisions:
            raise _done_already(target, plan.undone_by)
        return plan

    def _fresh(self, plan: undo.Plan) -> bool:
        """Say whether the head still is where the plan found the paths it is about."""
        for path, row in plan.latest.items():
            entry = self._head.get(path)
            if entry is None and not row.gone:
                return False
            if entry is not None and entry.revision and (row.gone or entry.revision != row.revision):
                return False
        return True


def _done_already(target: Target, undone_by: int) -> FailedPrecondition:
    if target.redo:
        return FailedPrecondition(
            f"there is nothing to redo: {target} is not undone, or was brought back already", reason="NOT_UNDONE"
        )
    return FailedPrecondition(
        f"{target} was taken back already, by revision {undone_by}: redo it to bring it back",
        reason="ALREADY_UNDONE",
        metadata={"revision": str(undone_by)},
    )


def _answered(text: str) -> Undone:
    revision, revisions = msgspec.json.decode(text)
    return Undone(revision, tuple(revisions))
