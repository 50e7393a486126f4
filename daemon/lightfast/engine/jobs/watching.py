"""Following jobs as they change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from lightfast.core.errors import Exhausted
from lightfast.engine.jobs.records import JOB_ENDED, Job

MOST_WATCHERS = 1_000
MOST_CHANGED = 10_000
"""Bounds: of watchers, and of the jobs whose news wait for one of them; of each job only the newest state waits."""


class Watchers:
    """Tells of every change after it is on the disk."""

    def __init__(self) -> None:
        self._all: set[_Watcher] = set()

    def tell(self, job: Job) -> None:
        """Take note that *job* changed. Never waits."""
        for watcher in self._all:
            watcher.tell(job)

    async def watch(
        self, job_ids: Sequence[str], get: Callable[[str], Awaitable[Job]], *, until_done: bool
    ) -> AsyncIterator[Job]:
        """Yield the jobs of *job_ids* as they are and then whenever they change; without any: all that change."""
        if len(self._all) >= MOST_WATCHERS:
            raise Exhausted(
                f"{MOST_WATCHERS} watch jobs already: end one first", reason="TOO_MANY_WATCHERS", retry_after=5.0
            )
        left = set(job_ids)
        watcher = _Watcher(frozenset(job_ids))
        self._all.add(watcher)
        try:
            for job_id in dict.fromkeys(job_ids):
                watcher.changed.pop(job_id, None)  # before it is read: what comes meanwhile may be newer than that
                job = await get(job_id)
                yield job
                if job.state in JOB_ENDED:
                    left.discard(job_id)
            while left or not (until_done and job_ids):
                for job in await watcher.news():
                    yield job
                    if until_done and job_ids:
                        (left.discard if job.state in JOB_ENDED else left.add)(job.job_id)
        finally:
            self._all.discard(watcher)


class _Watcher:
    def __init__(self, wanted: frozenset[str]) -> None:
        self.changed: dict[str, Job] = {}
        self._wanted = wanted
        self._wake = asyncio.Event()
        self._too_slow = False

    def tell(self, job: Job) -> None:
        if self._wanted and job.job_id not in self._wanted:
            return
        if len(self.changed) >= MOST_CHANGED and job.job_id not in self.changed:
            self._too_slow = True
        else:
            self.changed.pop(job.job_id, None)
            self.changed[job.job_id] = job
        self._wake.set()

    async def news(self) -> list[Job]:
        await self._wake.wait()
        self._wake.clear()
        if self._too_slow:
            raise Exhausted(
                f"the changes of {MOST_CHANGED} jobs wait to be read: read faster, or watch fewer",
                reason="WATCH_TOO_SLOW",
            )
        found = list(self.changed.values())
        self.changed.clear()
        return found
