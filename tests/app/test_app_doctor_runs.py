"""What doctor says of runs that wait for somebody."""

from __future__ import annotations

from lightfast.app.cli.checks import OK, WARN
from lightfast.app.cli.run_checks import check_runs


def test_no_run_waits() -> None:
    (found,) = check_runs([])
    assert (found.level, found.what) == (OK, "no run waits for you")


def test_runs_that_wait_are_named_with_what_to_do() -> None:
    runs = [
        {"run_id": "run-1", "state": "RUN_STATE_NEEDS_YOU", "reason": "say what became of s2"},
        {"run_id": "run-2", "state": "RUN_STATE_PAUSED"},
        *({"run_id": f"run-{n}", "state": "RUN_STATE_AWAITING_APPROVAL"} for n in range(3, 9)),
    ]
    found = list(check_runs(runs))
    assert [(each.level, each.what) for each in found[:2]] == [
        (WARN, "the run run-1 needs you"),
        (OK, "the run run-2 is paused"),
    ]
    assert "say what became of s2" in str(found[0])
    assert "lightfast runs show run-2" in str(found[1])
    assert len(found) == 6
    assert found[5].what == "and 3 more runs wait for you"
