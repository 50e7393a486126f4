"""Who may approve what: exactly one program, by somebody else, through a door that people use.

Somebody is who holds a token, whatever session they open with it. Names of tokens are unique while they live, and one
that is issued anew under the name of a token that was revoked counts as the same: it does not approve what that one
had asked for. What a trigger or a schedule starts is asked for by whoever saved the workflow, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightfast.core.errors import Denied, FailedPrecondition
from lightfast.engine.runs.records import Run

if TYPE_CHECKING:
    from lightfast.engine.ports import Asker

SCOPE = "approve"
AUTHORS = "authors"
"""What a run that nobody asked for by hand has in its details: who saved the workflow, and those it calls."""
CLOSED_DOORS = frozenset(("mcp", "workflow", "trigger", "schedule", "run", "job"))
"""Doors that programs come through: nobody approves there."""


def check_approver(run: Run, approver: Asker, *, refuse: bool) -> None:
    """Raise `Denied`: APPROVAL_DOOR, APPROVAL_SCOPE, APPROVAL_BY_REQUESTER. Who asked may still refuse."""
    check_door(run, approver, f"nobody approves a run through {approver.via}: a person does, with lightfast approve")
    if SCOPE not in approver.scopes:
        raise Denied(
            f"{approver.identity} lacks the scope approve: use a token issued with --scope approve",
            reason="APPROVAL_SCOPE",
            metadata={"scope": SCOPE, "run_id": run.run_id},
        )
    if refuse:
        return
    if approver.identity in run.details.get(AUTHORS, ()):
        raise Denied(
            f"{approver.identity} saved the workflow that {run.requester} started as {run.run_id} and cannot approve"
            " it, too: somebody else must, with another token",
            reason="APPROVAL_BY_REQUESTER",
            metadata={"requester": approver.identity, "run_id": run.run_id},
        )
    if approver.identity == run.requester:
        raise Denied(
            f"{run.requester} asked for the run {run.run_id} and cannot approve it, too: somebody else must, with"
            " another token",
            reason="APPROVAL_BY_REQUESTER",
            metadata={"requester": run.requester, "run_id": run.run_id},
        )


def check_door(run: Run, asker: Asker, told: str) -> None:
    """Raise `Denied` (APPROVAL_DOOR) for what only a person may say of a run."""
    if asker.via in CLOSED_DOORS:
        raise Denied(f"{told} {run.run_id}", reason="APPROVAL_DOOR", metadata={"via": asker.via, "run_id": run.run_id})


def check_digest(run: Run, digest: str) -> None:
    """Raise `FailedPrecondition` (DIGEST_CHANGED) unless *digest* is that of the program of *run*."""
    if digest != run.digest:
        raise FailedPrecondition(
            f"the program of {run.run_id} has the digest {run.digest[:12]}…, not {digest[:12] or 'none'}…: look at it"
            f" again (lightfast runs show {run.run_id}) and approve what you see",
            reason="DIGEST_CHANGED",
            metadata={"digest": run.digest, "run_id": run.run_id},
        )


def nothing_to_approve(run: Run) -> FailedPrecondition:
    """Return the error for a run that waits for nobody."""
    return FailedPrecondition(
        f"the run {run.run_id} is {run.state.told} and waits for no approval",
        reason="NOTHING_TO_APPROVE",
        metadata={"state": str(run.state), "run_id": run.run_id},
    )
