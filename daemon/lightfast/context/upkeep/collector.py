"""The collector (the source's Garbage Collector): what is old moves on a tier, what nothing reaches goes.

Nothing that anything reaches is deleted: roots are asked first, through a port, and each room looks again before it
acts. What moves on stays readable by the same calls.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

import msgspec
import structlog

from lightfast.context.upkeep.collect_records import Budget, Candidate, Limits, Reached, Room, Roots
from lightfast.core.errors import InvalidArgument, LightfastError

log = structlog.get_logger("lightfast.collector")

MAX_SECONDS = 3600.0
_BATCH = 100
"""So many things are reported at once."""
_DRY_MOST = 10_000
"""A dry run names so many things; of more it says that it is not through."""


class Report(msgspec.Struct, frozen=True):
    """What a run has done since the last report, and so far: *size* in bytes moved or freed, *kept* by what reaches it.

    *exhausted* says that a budget ended it; *refused* names what could not be done, and why.
    """

    items: tuple[Candidate, ...]
    size: int
    visited: int
    kept: dict[str, int]
    exhausted: bool = False
    done: bool = False
    refused: tuple[str, ...] = ()


class Totals(msgspec.Struct):
    """What all runs have done since the start: things by kind and action, bytes, runs, failures."""

    items: Counter[str] = msgspec.field(default_factory=Counter)
    size: int = 0
    runs: int = 0
    failures: int = 0


class Collector:
    """Runs by itself and when it is asked to; one run at a time."""

    def __init__(
        self,
        *,
        may_run: Callable[[], bool] = lambda: True,
        turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        now: Callable[[], float] = time.monotonic,
        running: asyncio.Lock | None = None,
    ) -> None:
        """*may_run* says no while a show is locked; each step of a run by itself waits for its *turn*.

        *running* is held by every run.
        """
        self.limits = Limits()
        self.roots: list[Roots] = []
        self.rooms: list[Room] = []
        self.totals = Totals()
        self._may_run = may_run
        self._turn = turn
        self._now = now
        self._running = running or asyncio.Lock()

    async def run(self, interval: float, seconds: float, size: int, *, at_once: bool = False) -> None:
        """Collect for ever, every *interval* seconds (and *at_once*), each time at most *seconds* and *size* bytes."""
        pause = 0.0 if at_once else interval
        while True:
            await asyncio.sleep(pause)
            pause = interval
            if not self._may_run():
                continue
            try:
                async with aclosing(self.collect(seconds=seconds, size=size, background=True)) as reports:
                    async for report in reports:
                        if report.done and report.size:
                            log.info("collected", bytes=report.size, visited=report.visited, kept=report.kept)
            except LightfastError as error:
                self.totals.failures += 1
                log.warning("a run of the collector failed", reason=error.reason, error=error.message)

    async def collect(
        self,
        *,
        seconds: float = 60.0,
        size: int = 0,
        kinds: Collection[str] = (),
        dry: bool = False,
        background: bool = False,
    ) -> AsyncGenerator[Report, None]:
        """Yield what is done, or with *dry* would be; the last report is `done`.

        Raises `InvalidArgument` for bounds and kinds that are none.
        """
        self._check(seconds, size, kinds)
        async with self._running:
            self.totals.runs += not dry
            reached = Reached()
            for roots in self.roots:
                async with self._step(background):
                    await roots.reach(reached)
            budget = Budget(self._now, self._now() + seconds, size)
            run = _Run(self, budget, dry, background)
            for room in self.rooms:
                if kinds and room.kind not in kinds:
                    continue
                async for report in run.through(room, reached):
                    yield report
            yield run.report(done=True)

    def _check(self, seconds: float, size: int, kinds: Collection[str]) -> None:
        if not 0 < seconds <= MAX_SECONDS:
            raise InvalidArgument(
                f"the time budget is {seconds:g} s: it must be above 0 and at most {MAX_SECONDS:g}", field="time_budget"
            )
        if size < 0:
            raise InvalidArgument("the byte budget cannot be negative; 0 means no limit", field="byte_budget")
        known = [room.kind for room in self.rooms]
        for kind in kinds:
            if kind not in known:
                raise InvalidArgument(f"there is no kind {kind!r}: there are {', '.join(known)}", field="kinds")

    def _step(self, background: bool) -> AbstractAsyncContextManager[None]:
        return self._turn() if background else nullcontext()


class _Run:
    """One run: goes through the rooms, and keeps count."""

    def __init__(self, collector: Collector, budget: Budget, dry: bool, background: bool) -> None:
        self._collector = collector
        self._budget = budget
        self._dry = dry
        self._background = background
        self._items: list[Candidate] = []
        self._refused: list[str] = []
        self._visited = 0
        self._kept: Counter[str] = Counter()
        self._exhausted = False

    def report(self, *, done: bool = False) -> Report:
        """Return what happened since the last report."""
        items, self._items = tuple(self._items), []
        refused, self._refused = tuple(self._refused), []
        return Report(items, self._budget.spent, self._visited, dict(self._kept), self._exhausted, done, refused)

    async def through(self, room: Room, reached: Reached) -> AsyncGenerator[Report, None]:
        """Go through one room; one that fails is told of, and does not keep the others from theirs."""
        try:
            async with aclosing(room.candidates(reached, self._kept)) as candidates:  # type: ignore[type-var]
                async for candidate in candidates:
                    if self._budget.is_over or (self._dry and self._visited >= _DRY_MOST):
                        self._exhausted = True
                        return
                    self._visited += 1
                    await self._one(room, candidate)
                    if len(self._items) >= _BATCH:
                        yield self.report()
        except LightfastError as error:
            self._refused.append(f"{room.kind}: {error.message}")
            self._collector.totals.failures += 1
            log.warning("the collector could not go on", kind=room.kind, reason=error.reason, error=error.message)

    async def _one(self, room: Room, candidate: Candidate) -> None:
        size = candidate.size
        if not self._dry:
            async with self._collector._step(self._background):  # noqa: SLF001  (the two are one)
                size = await room.collect(candidate, self._budget)
            if size < 0:
                self._kept["live"] += 1
                return
            totals = self._collector.totals
            totals.items[f"{candidate.kind}:{candidate.action}"] += 1
            totals.size += size
        self._budget.spent += size
        self._items.append(candidate._replace(size=size))
