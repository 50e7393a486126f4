"""What a job is. Times are ns since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lightfast_link.value import Value


class JobState(StrEnum):
    """How a job stands; DEAD is a dead letter, kept until it is retried or swept."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    RETRYING = "RETRYING"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"

    @property
    def told(self) -> str:
        """The state as it is told to a person."""
        return self.value.lower().replace("_", " ")


JOB_ENDED = frozenset((JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED))


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to queue: higher *priority* first, first in first out within one; not before *run_time*.

    *after* are jobs that must succeed first; *timeout* in seconds and *max_attempts* 0: what the type says.
    """

    type: str
    payload: Mapping[str, Value] = field(default_factory=dict)
    priority: int = 0
    run_time: int = 0
    max_attempts: int = 0
    after: tuple[str, ...] = ()
    timeout: float = 0.0
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One job."""

    job_id: str
    type: str
    state: JobState
    payload: Mapping[str, Value]
    requester: str
    create_time: int
    priority: int = 0
    fraction: float = -1.0
    message: str = ""
    result: Value | None = None
    error: str = ""
    attempts: int = 0
    max_attempts: int = 3
    run_time: int = 0
    start_time: int = 0
    end_time: int = 0
    after: tuple[str, ...] = ()
    schedule: str = ""
    timeout: float = 0.0
    note: str = ""
    run_id: str = ""
    log: tuple[tuple[int, str], ...] = ()
