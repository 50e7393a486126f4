"""What becomes of a job: one function for each thing that can happen to one, without any I/O."""

from __future__ import annotations

from dataclasses import replace

from lightfast.engine.jobs.records import Job, JobState
from lightfast_link.value import Value

FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0
"""The pause before another attempt doubles from the first to the longest, less up to half of it by chance."""
_SECOND = 1_000_000_000


def pause_s(attempts: int, chance: float) -> float:
    """Return the seconds before the next attempt after *attempts*; *chance* is from 0 to 1.

    Exponential backoff with equal jitter: half of the pause is by chance, so that what failed together does not come
    back together.
    """
    pause: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts - 1, 20))
    return pause * (1 - chance / 2)


def taken(job: Job, now: int) -> Job:
    """Return it in the hands of a worker."""
    return replace(
        job, state=JobState.RUNNING, attempts=job.attempts + 1, start_time=now, fraction=-1.0, message="", error=""
    )


def succeeded(job: Job, now: int, result: Value | None) -> Job:
    """Return it done."""
    return replace(job, state=JobState.SUCCEEDED, end_time=now, result=result, fraction=1.0, error="")


def failed(job: Job, now: int, error: str, *, again: bool, pause: float) -> Job:
    """Return it after an attempt failed: to be tried again after *pause* seconds, or a dead letter."""
    if again and job.attempts < job.max_attempts:
        run_time = now + round(pause * _SECOND) if pause > 0 else 0
        return replace(job, state=JobState.RETRYING, error=error, run_time=run_time)
    return dead(job, now, error)


def dead(job: Job, now: int, error: str) -> Job:
    """Return it as a dead letter."""
    return replace(job, state=JobState.DEAD, error=error, end_time=now)


def cancelled(job: Job, now: int) -> Job:
    """Return it cancelled."""
    return replace(job, state=JobState.CANCELLED, end_time=now)


def given_back(job: Job, run_time: int = 0) -> Job:
    """Return it as if it had not been taken: its worker was stopped, or can do it only from *run_time* on."""
    attempts = job.attempts - 1
    state = JobState.RETRYING if attempts else JobState.PENDING
    return replace(job, state=state, attempts=attempts, run_time=run_time, fraction=-1.0, message="")


def interrupted(job: Job, now: int, chance: float) -> Job:
    """Return it after the daemon died in it: the first time it is taken again at once, later after a pause."""
    pause = 0.0 if job.attempts <= 1 else pause_s(job.attempts, chance)
    error = f"the daemon ended in attempt {job.attempts} of {job.max_attempts}"
    return failed(job, now, error, again=True, pause=pause)


def again(job: Job) -> Job:
    """Return a job that had ended, queued once more with all its attempts; what it kept stays."""
    return replace(
        job,
        state=JobState.PENDING,
        attempts=0,
        run_time=0,
        start_time=0,
        end_time=0,
        fraction=-1.0,
        message="",
        result=None,
        error="",
    )


def for_want_of(other: str, state: JobState) -> str:
    """Return why a job that waited for *other* is dead."""
    return f"it waited for {other}, which is {state.told}"
