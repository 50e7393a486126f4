"""What `lightfast doctor` says of work that goes on by itself: jobs, schedules, workflows and triggers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from lightfast.app.cli.checks import OK, WARN, Finding

LATE = timedelta(minutes=5)
"""A schedule that was due longer ago than this does not run."""
_MOST = 3


def check_jobs(dead: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Look at the dead letters among the jobs, the newest first."""
    if not dead:
        yield Finding(OK, "no job is a dead letter")
        return
    named = "; ".join(f"{job['job_id']} ({job['type']}): {job.get('error', '')[:120]}" for job in dead[:_MOST])
    count = f"{len(dead)} jobs are dead letters" if len(dead) > 1 else "a job is a dead letter"
    yield Finding(WARN, count, f"{named}; see lightfast jobs list --state dead, then lightfast jobs retry ID")


def check_queue(stopped: str) -> Iterator[Finding]:
    """Say why no job is taken now, where none is."""
    if stopped:
        yield Finding(WARN, "no job is taken, and nothing goes on by itself", stopped)


def check_schedules(schedules: Sequence[dict[str, Any]], now: datetime) -> Iterator[Finding]:
    """Look for schedules that should have queued something, and did not."""
    for each in schedules:
        if each.get("disabled"):
            yield Finding(OK, f"the schedule {each['name']} is switched off", "lightfast jobs schedules")
            continue
        due = _time(each.get("next_time"))
        if due is not None and now - due > LATE:
            never = "has never run" if not each.get("last_time") else "does not run"
            yield Finding(
                WARN,
                f"the schedule {each['name']} {never}",
                f"it was due at {due:%Y-%m-%d %H:%M} UTC: see the log of the daemon, and whether jobs are paused",
            )


def check_workflows(workflows: Sequence[dict[str, Any]], triggers: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """Look for files with mistakes, and for triggers that somebody wrote and that are switched off."""
    for each in workflows:
        problems = each.get("problems", [])
        if problems:
            first = problems[0]
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            used = "; the last good version is used" if each.get("version") else "; it cannot be run"
            where = f"line {first.get('line', 0)}: {first.get('message', '')}{more}{used}"
            check = f"lightfast workflow check {each.get('file', '')}"
            yield Finding(WARN, f"the workflow {each['name']} has mistakes", f"{where}; {check}")
    examples = {each["name"] for each in workflows if each.get("example")}
    for each in triggers:
        if each.get("disabled") and each.get("workflow") not in examples:
            yield Finding(OK, f"the trigger {each['name']} is switched off", each["disabled"])


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None
