"""What `lightfast doctor` says of runs that wait for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightfast.app.cli.checks import OK, WARN, Finding
from lightfast.app.cli.following import state_of

WAITING = ("RUN_STATE_NEEDS_YOU", "RUN_STATE_AWAITING_APPROVAL", "RUN_STATE_PAUSED")
"""The states in which a run waits for somebody."""
_MOST = 5
_WORDS = {"NEEDS_YOU": "needs you", "AWAITING_APPROVAL": "waits for an approval", "PAUSED": "is paused"}


def check_runs(runs: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Look at the answer of `ListRuns` for runs in one of `WAITING`."""
    if not runs:
        yield Finding(OK, "no run waits for you")
        return
    for run in runs[:_MOST]:
        state = state_of(run)
        yield Finding(
            WARN if state == "NEEDS_YOU" else OK,
            f"the run {run['run_id']} {_WORDS[state]}",
            run.get("reason", "") or f"lightfast runs show {run['run_id']}",
        )
    if len(runs) > _MOST:
        yield Finding(OK, f"and {len(runs) - _MOST} more runs wait for you", "lightfast runs lists them")
