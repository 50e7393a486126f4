"""How a queue and its workers meet, so that either may live in another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lightfast.engine.jobs.records import Job
from lightfast.engine.ports import Asker
from lightfast.sdk import JobBench
from lightfast_link.value import Value

LEASE_S = 60.0
"""How long a worker may be silent about a job before another may take it, in seconds."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A job that a worker has. *job.attempts* is its token: what is said of an earlier attempt counts no more."""

    job: Job
    asker: Asker


class JobSource(Protocol):
    """Where workers get jobs: here a queue in this process, elsewhere perhaps a server.

    A call about an attempt that is not the present one returns `False` and changes nothing: its lease ran out, or the
    job was cancelled, and whoever works on it stops.
    """

    async def claim(self, most: int) -> Sequence[Lease]:
        """Take at most *most* jobs, the first in turn first; when this returns, that is on the disk."""
        ...

    async def arrive(self) -> None:
        """Wait until there may be something to claim."""
        ...

    def beat(self, job_id: str, attempt: int) -> bool:
        """Say that somebody still works on it."""
        ...

    def report(self, job_id: str, attempt: int, fraction: float, message: str) -> bool:
        """Tell how far it is; a heartbeat, too. Written down now and then."""
        ...

    def log(self, job_id: str, attempt: int, text: str) -> bool:
        """Add a line to its log. Written down now and then."""
        ...

    async def keep(self, job_id: str, attempt: int, note: str) -> bool:
        """Keep a note; when this returns, it is on the disk."""
        ...

    def succeed(self, job_id: str, attempt: int, result: Value | None) -> bool:
        """End it well. Until that is on the disk, the job counts as running."""
        ...

    def fail(self, job_id: str, attempt: int, error: str, *, again: bool, retry_after: float = 0.0) -> bool:
        """End this attempt; *again*: it may be tried again, if an attempt is left."""
        ...

    def give_back(self, job_id: str, attempt: int, pause: float = 0.0) -> bool:
        """Put it back as if it had never been taken: the worker stops, or has no place for it for *pause* seconds."""
        ...


class Worker(Protocol):
    """Takes jobs from a source and does them."""

    def start(self) -> None:
        """Begin."""
        ...

    def cancel(self, job_id: str) -> None:
        """Cancel what is done for this job, if it is done here."""
        ...

    async def close(self) -> None:
        """Take no more, cancel what is under way and give it back."""
        ...


class OwnBench(JobBench, Protocol):
    """What the built-in types are given: who asks, besides."""

    @property
    def asker(self) -> Asker:
        """Who asked for the job."""
        ...
