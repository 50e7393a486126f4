"""Carries an undo or redo out, against a head that may move meanwhile."""

from __future__ import annotations

from collections.abc import Container
from functools import partial
from typing import Any

import msgspec

from lightfast.context import drafting, undo
from lightfast.context.draft import Draft
from lightfast.context.head import Head
from lightfast.context.ledger import Ledger
from lightfast.context.reader import Bounds
from lightfast.context.records import RequestKey, Undone
from lightfast.context.tiers.tiers import Tiers
from lightfast.context.tiers.view import View
from lightfast.core.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, OutOfRange
from lightfast.storage.requests import Requests

_TRIES = 5
_OWN = ("daemon", "transport")
"""Who writes of the daemon itself. What the second moves later is the user's doing, and can be taken back."""


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
        tiers: Tiers,
        head: Head,
        bounds: Bounds,
        ledger: Ledger,
        requests: Requests,
        leases: Container[str],
    ) -> None:
        self._tiers = tiers
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
            await self._head.warm(plan.latest)
            try:
                draft = await drafting.made(
                    self._ledger,
                    partial(self._begun, target, plan, origin),
                    partial(undo.take_back, plan=plan, leases=self._leases),
                )
                self._check_leases(draft)
            except _OvertakenError:
                await self._ledger.drain()
                continue
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

    def _begun(self, target: Target, plan: undo.Plan, origin: str) -> Draft:
        if not self._fresh(plan):
            raise _OvertakenError
        return self._ledger.draft(origin, label=target.word, trusted=True, undone=plan.revisions)

    def _check_leases(self, draft: Draft) -> None:
        """Raise where a lease ended while *draft* was made: nobody would take away what comes back under it."""
        for event in draft.events:
            lease = event.entry.lease
            if lease and lease not in self._leases and (event.previous is None or event.previous.lease != lease):
                raise _OvertakenError

    async def _plan(self, target: Target) -> undo.Plan:
        oldest = self._bounds.oldest

        def read(view: View) -> undo.Plan:
            return undo.plan(
                view,
                group=target.group,
                run=target.run,
                revision=target.revision,
                redo=target.redo,
                oldest=oldest,
            )

        plan = await self._tiers.run(read)
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
        if not target.redo and _is_housekeeping(plan, target.revision):
            raise FailedPrecondition(
                f"revision {target.revision} is the daemon's own housekeeping, of which nothing can be taken back: "
                "set the values you want instead",
                reason="UNDO_OF_HOUSEKEEPING",
            )
        return plan

    def _fresh(self, plan: undo.Plan) -> bool:
        """Say whether the head still is where the plan found the paths it is about."""
        for path, row in plan.latest.items():
            revision = self._head.revision(path)
            if revision is None and not row.gone:
                return False
            if revision and (row.gone or revision != row.revision):
                return False
        return True


class _OvertakenError(Exception):
    """The head is no longer where the plan found it."""


def _is_housekeeping(plan: undo.Plan, revision: int) -> bool:
    """Say whether *revision* is what the daemon tells of itself, or what it lays out where nothing was before."""
    rows = [row for row in plan.rows if row.revision == revision]
    if not rows or any(row.entry.origin not in _OWN for row in rows):
        return False
    return all(row.entry.origin == _OWN[0] or plan.before[row.row] is None for row in rows)


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
