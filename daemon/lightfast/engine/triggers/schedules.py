"""When schedules are due."""

from __future__ import annotations

from lightfast.engine.jobs.times import next_time
from lightfast.engine.workflows.records import TriggerSpec

LATE_S = 60.0
"""What is due longer ago than that was missed, in seconds."""


def next_due(spec: TriggerSpec, after: int) -> int:
    """Return when *spec* is due next after *after*, both in ns since 1970.

    A cron expression without a time zone is meant in the time of this machine, as its clock on the wall shows it.
    """
    if spec.every:
        return after + round(spec.every * 1e9)
    return next_time(spec.cron, spec.time_zone, after, after)
