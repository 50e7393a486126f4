"""The bounds of runs."""

from __future__ import annotations

from dataclasses import dataclass

MOST_WAITING = 1_000
"""How many runs may wait for room; one more is refused, with RUNS_FULL."""
MOST_AWAITING = 1_000
"""How many runs may wait for an approval; one more is refused, with APPROVALS_FULL."""
MOST_WATCHERS = 1_000
APPS_GRACE_S = 60.0
"""How long, in seconds, a run that a restarted daemon takes up waits for its applications to come back."""


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What the settings say.

    *runs* may be under way at once; an approval is waited for *approval_hours*; a run that says nothing of it may take
    *run_hours*; of the runs that have ended the newest *keep* stay.
    """

    runs: int = 16
    approval_hours: float = 24.0
    run_hours: float = 24.0
    keep: int = 10_000
