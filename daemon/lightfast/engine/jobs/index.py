"""Whose turn it is: the jobs that wait, in memory. Rebuilt from the table at a start."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from lightfast.engine.jobs.records import Job


class Phase(Enum):
    """Where a live job is: WAITING in the index, BUSY between two states, TAKEN by a worker."""

    WAITING = "waiting"
    BUSY = "busy"
    TAKEN = "taken"


@dataclass(slots=True, eq=False)
class Entry:
    """A live job: *job* as it is on the disk, and what only memory knows.

    *unmet* are the jobs it waits for; *beat* is when it was heard of last, on the monotonic clock; *lines* are of the
    log, not written yet; *size* is that of the payload, in characters.
    """

    number: int
    job: Job
    asker: str
    size: int = 0
    phase: Phase = Phase.BUSY
    unmet: set[str] = field(default_factory=set)
    beat: float = 0.0
    wanted_cancel: bool = False
    dirty: bool = False
    told: float = 0.0
    fraction: float = -1.0
    message: str = ""
    lines: list[tuple[int, str]] = field(default_factory=list)


class Index:
    """Orders what waits: higher priority first, first in first out within one, none before its time.

    A job of a type nobody can do is set aside until somebody can. *known* are the types that are there.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """All live jobs, by identity."""
        self.known: set[str] = set()
        self.waiting = 0
        """How many wait."""
        self.size = 0
        """How large the payloads of all live jobs are together, in characters."""
        self._ready: list[tuple[int, int, str]] = []
        self._timed: list[tuple[int, int, str]] = []
        self._aside: dict[str, set[str]] = {}
        self._dependents: dict[str, set[str]] = {}

    def add(self, entry: Entry) -> None:
        """Take in a job that is live."""
        self.entries[entry.job.job_id] = entry
        self.size += entry.size
        for other in entry.unmet:
            self._dependents.setdefault(other, set()).add(entry.job.job_id)

    def drop(self, entry: Entry) -> None:
        """Let go of a job that has ended."""
        self.leave(entry)
        if self.entries.pop(entry.job.job_id, None) is not None:
            self.size -= entry.size
        for other in entry.unmet:
            self._dependents.get(other, set()).discard(entry.job.job_id)
        self._aside.get(entry.job.type, set()).discard(entry.job.job_id)

    def wait(self, entry: Entry) -> None:
        """Let a job wait for its turn."""
        if entry.phase is not Phase.WAITING:
            entry.phase = Phase.WAITING
            self.waiting += 1
        self._place(entry)

    def leave(self, entry: Entry) -> None:
        """Let it wait no more; what heaps still hold of it is passed over."""
        if entry.phase is Phase.WAITING:
            self.waiting -= 1
        entry.phase = Phase.BUSY

    def dependents(self, job_id: str) -> Iterable[Entry]:
        """Return the jobs that wait for one."""
        return [self.entries[each] for each in sorted(self._dependents.get(job_id, ())) if each in self.entries]

    def met(self, job_id: str) -> bool:
        """Let the dependents of a job that succeeded wait for it no more; say whether one may be claimed now."""
        some = False
        for entry in self.dependents(job_id):
            entry.unmet.discard(job_id)
            if not entry.unmet and entry.phase is Phase.WAITING:
                self._place(entry)
                some = True
        self._dependents.pop(job_id, None)
        return some

    def know(self, name: str) -> None:
        """Take note that jobs of this type can be done."""
        self.known.add(name)
        for job_id in sorted(self._aside.pop(name, ())):
            entry = self.entries.get(job_id)
            if entry is not None and entry.phase is Phase.WAITING:
                self._place(entry)

    def forget(self, name: str) -> None:
        """Take note that they cannot; what waits is set aside when its turn comes."""
        self.known.discard(name)

    def pop(self, now: int) -> Entry | None:
        """Return the job whose turn it is, which waits no more; `None`: there is none at *now*."""
        self._due(now)
        while self._ready:
            _, _, job_id = heapq.heappop(self._ready)
            entry = self.entries.get(job_id)
            if entry is None or entry.phase is not Phase.WAITING or entry.unmet or entry.job.run_time > now:
                continue
            if entry.job.type not in self.known:
                self._aside.setdefault(entry.job.type, set()).add(job_id)
                continue
            self.leave(entry)
            return entry
        return None

    def may_have(self, now: int) -> bool:
        """Say whether `pop` may find one."""
        self._due(now)
        return bool(self._ready)

    @property
    def next_time(self) -> int:
        """When the next job is due that waits for its time; 0: none does."""
        return self._timed[0][0] if self._timed else 0

    def _place(self, entry: Entry) -> None:
        if entry.unmet:
            return
        job = entry.job
        if job.run_time:
            heapq.heappush(self._timed, (job.run_time, entry.number, job.job_id))
        else:
            heapq.heappush(self._ready, (-job.priority, entry.number, job.job_id))

    def _due(self, now: int) -> None:
        while self._timed and self._timed[0][0] <= now:
            _, number, job_id = heapq.heappop(self._timed)
            entry = self.entries.get(job_id)
            if entry is not None and entry.phase is Phase.WAITING and entry.job.run_time <= now:
                heapq.heappush(self._ready, (-entry.job.priority, number, job_id))
