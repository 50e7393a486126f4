"""What doctor says of jobs, schedules, workflows and triggers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lightfast.app.cli.checks import OK, WARN
from lightfast.app.cli.work_checks import check_jobs, check_schedules, check_workflows

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


def test_dead_letters_are_named_with_what_to_do() -> None:
    assert [each.level for each in check_jobs([])] == [OK]
    dead = [{"job_id": f"job-{n}", "type": "sync", "error": "no connection"} for n in range(5)]
    (found,) = check_jobs(dead)
    assert (found.level, found.what) == (WARN, "5 jobs are dead letters")
    assert "job-0 (sync): no connection" in str(found)
    assert "lightfast jobs retry" in str(found)


def test_a_schedule_that_was_due_and_did_not_run_is_named() -> None:
    schedules: list[dict[str, Any]] = [
        {"name": "nightly", "next_time": "2026-05-01T11:00:00Z"},
        {"name": "hourly", "next_time": "2026-05-01T12:30:00Z", "last_time": "2026-05-01T11:30:00Z"},
        {"name": "off", "disabled": True, "next_time": "2026-01-01T00:00:00Z"},
    ]
    found = list(check_schedules(schedules, NOW))
    assert [(each.level, each.what) for each in found] == [
        (WARN, "the schedule nightly has never run"),
        (OK, "the schedule off is switched off"),
    ]


def test_workflows_with_mistakes_and_triggers_that_are_switched_off_are_named() -> None:
    workflows: list[dict[str, Any]] = [
        {"name": "good", "version": "1"},
        {"name": "bad", "version": "1", "file": "/w/bad.yaml", "problems": [{"line": 3, "message": "no steps"}, {}]},
        {"name": "shown", "example": True},
    ]
    triggers: list[dict[str, Any]] = [
        {"name": "good-1", "workflow": "good", "disabled": "its file says so"},
        {"name": "good-2", "workflow": "good"},
        {"name": "shown-1", "workflow": "shown", "disabled": "an example"},
    ]
    found = list(check_workflows(workflows, triggers))
    assert [(each.level, each.what) for each in found] == [
        (WARN, "the workflow bad has mistakes"),
        (OK, "the trigger good-1 is switched off"),
    ]
    assert "line 3: no steps, and 1 more; the last good version is used" in str(found[0])
