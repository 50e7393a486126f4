"""The way of an application's news into the store: in order, in batches, never waited for by the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog
from msgspec import UNSET

from lightfast.context.entry import Delete, Entry, Move, Mutation, Precondition, Report, Status
from lightfast.context.store import Store
from lightfast.core.errors import Conflict, Exhausted, LightfastError, Unavailable
from lightfast.engine.apps.groups import Groups

log = structlog.get_logger("lightfast.apps")

MAX_TRANSACTION = 10_000
"""The most mutations of one transaction."""
MAX_TOGETHER = 500
"""The most reports handed to the store before others get their turn on the loop: about 10 ms of work."""
MAX_CONCURRENT = 64
"""The most transactions handed to the store at once; it commits them together."""
MAX_BACKLOG = 200_000
"""The most mutations that may wait; beyond it the application is let go, and resyncs when it returns."""
CROSSED_S = 0.002
"""Seconds until a report is tried again whose path someone else is writing."""
MAX_CROSSED = 50
"""How often in a row."""
_OF_WHAT_IS_THERE = frozenset({Status.PENDING, Status.STALE})
"""A report with one of these says something of an entry, and brings none back that was deleted meanwhile."""
RETRY_S = 1.0
"""Seconds between attempts while the store cannot write."""


@dataclass(slots=True)
class _Run:
    """Mutations that share one transaction."""

    origin: str
    cause: int
    group: str
    label: str
    mutations: list[Mutation] = field(default_factory=list)
    latest: dict[str, int] = field(default_factory=dict)
    flushed: list[Callable[[int], None]] = field(default_factory=list)
    sealed: bool = False
    gone: set[str] = field(default_factory=set)
    structural: bool = False
    compared: int = -1
    """The revision that sealed mutations were decided at; without one they give way to nothing."""


class Recorder:
    """Collects mutations while a commit is under way, and commits all that came together.

    A transaction with a cause and no group joins the group of its cause. Reports of one path that
    wait together are conflated: the last one is committed; where each counts, each in a transaction of
    its own. A mutation that the store refuses is left out and named through *refused*; a store that
    cannot write is tried again and named through *trouble* (an empty text when it is over).

    A report gives way to a wish that was acknowledged after it was queued, or, where it is the outcome of a
    comparison, after that: it then says what the application holds, and the wish stays.
    """

    def __init__(
        self,
        store: Store,
        groups: Groups,
        *,
        refused: Callable[[Mutation, str], None],
        trouble: Callable[[str], None],
        newer: Callable[[Entry, int], bool] = lambda _entry, _revision: False,
    ) -> None:
        """*newer* says whether an entry is a wish from after a revision."""
        self._newer = newer
        self._store = store
        self._groups = groups
        self._refused = refused
        self._trouble = trouble
        self._runs: list[_Run] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.backlog = 0

    def add(
        self,
        mutation: Mutation,
        *,
        origin: str,
        cause: int = 0,
        group: str = "",
        label: str = "",
        every: bool = False,
    ) -> None:
        """Queue one mutation; with *every* no other one is conflated with it. Raises `Exhausted` when it is full."""
        if self.backlog >= MAX_BACKLOG:
            raise Exhausted(f"{MAX_BACKLOG} changes of {origin} wait for the store", reason="REPORTS_TOO_FAST")
        run = self._run(origin, cause, group, label, apart=mutation.path if isinstance(mutation, Report) else "")
        if isinstance(mutation, Report):
            place = run.latest.get(mutation.path)
            if every and place is not None:
                run, place = _Run(origin, cause, group, label), None
                self._runs.append(run)
            if place is not None:
                run.mutations[place] = _merge(run.mutations[place], mutation)
                return
            run.latest[mutation.path] = len(run.mutations)
        elif isinstance(mutation, (Move, Delete)):
            if gone := _speaks_of(mutation):
                run.gone.add(gone)
                run.latest.pop(gone, None)
            else:
                run.structural = True
                run.latest.clear()
        run.mutations.append(mutation)
        self._queued()

    def add_together(
        self,
        mutations: list[Mutation],
        *,
        origin: str,
        cause: int = 0,
        group: str = "",
        label: str = "",
        compared: int = -1,
        flushed: Callable[[int], None] | None = None,
    ) -> None:
        """Queue mutations as one transaction of their own, or as few as hold them; *flushed* gets the last revision.

        With *compared*, the revision they were decided at, they give way to what was wished since.
        """
        run = _Run(origin, cause, group, label, list(mutations), sealed=True, compared=compared)
        if not mutations:
            raise ValueError("a transaction needs mutations")
        if flushed is not None:
            run.flushed.append(flushed)
        self._runs.append(run)
        self._queued(len(mutations))

    async def drained(self) -> None:
        """Wait until everything queued is committed."""
        await self._idle.wait()

    async def run(self) -> None:
        """Commit what comes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._runs:
                runs, self._runs = self._runs[:MAX_CONCURRENT], self._runs[MAX_CONCURRENT:]
                for run in runs:
                    # All groups first: the transactions must reach the store in the order they came.
                    run.group = run.group or await self._group_of(run.cause)
                for wave in _waves(runs):
                    await asyncio.gather(*[self._commit(run) for run in wave])
                self.backlog = sum(len(run.mutations) for run in self._runs)
            self._idle.set()

    def _run(self, origin: str, cause: int, group: str, label: str, *, apart: str) -> _Run:
        """Return the run for one mutation; a report of the path *apart* joins none in which that is moved or deleted.

        Whether it has to give way is seen by what lies at its path, which is known when those are committed.
        """
        if self._runs:
            last = self._runs[-1]
            if (
                not (last.sealed or (apart and (last.structural or apart in last.gone)))
                and (last.origin, last.cause, last.group, last.label) == (origin, cause, group, label)
                and len(last.mutations) < MAX_TOGETHER
            ):
                return last
        run = _Run(origin, cause, group, label)
        self._runs.append(run)
        return run

    def _queued(self, count: int = 1) -> None:
        self.backlog += count
        self._idle.clear()
        self._wake.set()

    async def _group_of(self, cause: int) -> str:
        try:
            return await self._groups.of(cause)
        except LightfastError as error:  # the disk, or the archive: without its group it is undone by itself
            log.warning("the group of a change cannot be read", cause=cause, reason=error.message)
            return ""

    async def _commit(self, run: _Run) -> None:
        revision = 0
        try:
            revision = await self._apply(run, run.mutations)
        except Exception:  # whatever it is: what comes after it is committed, and whoever waits for it is told
            log.exception("reports could not be committed", origin=run.origin)
        for flushed in run.flushed:
            flushed(revision)

    async def _apply(self, run: _Run, mutations: list[Mutation]) -> int:
        """Apply *mutations*; where one is refused, the others still are. Return the last revision, or 0."""
        if len(mutations) > MAX_TRANSACTION:
            first = await self._apply(run, mutations[:MAX_TRANSACTION])
            return max(first, await self._apply(run, mutations[MAX_TRANSACTION:]))
        try:
            return await self._apply_patiently(run, mutations)
        except Conflict:
            if len(mutations) == 1:
                return await self._apply_crossed(run, mutations[0])
        except LightfastError as error:
            if len(mutations) == 1:
                self._refused(mutations[0], error.message)
                return 0
        middle = len(mutations) // 2
        first = await self._apply(run, mutations[:middle])
        return max(first, await self._apply(run, mutations[middle:]))

    async def _apply_crossed(self, run: _Run, mutation: Mutation) -> int:
        """Apply one report whose path is being written by someone else at this moment."""
        for _ in range(MAX_CROSSED):
            await asyncio.sleep(CROSSED_S)
            try:
                return await self._apply_patiently(run, [mutation])
            except Conflict:
                continue
            except LightfastError as error:
                self._refused(mutation, error.message)
                return 0
        # It is written without a pause: then the next wish is on its way, and its answer will say the rest.
        try:
            return await self._apply_patiently(run, _yielding(mutation))
        except LightfastError as error:
            self._refused(mutation, error.message)
            return 0

    def _guarded(self, run: _Run, mutations: list[Mutation]) -> tuple[list[Mutation], list[Precondition]]:
        """Return *mutations*, with what has to give way, and what must hold for the others when they are committed."""
        if run.sealed and run.compared < 0:
            return mutations, []
        guarded: list[Mutation] = []
        conditions: list[Precondition] = []
        for mutation in mutations:
            if run.cause and isinstance(mutation, Delete) and mutation.recursive:
                # The answer to a wish: what was wished there since stays.
                gone = [each for each in self._store.select(mutation.path + "//") if not self._newer(each, run.cause)]
                guarded += [Delete(each.path) for each in gone]
                conditions += [Precondition(each.path, revision=each.revision) for each in gone if not each.signal]
                continue
            path = _speaks_of(mutation)
            entry = self._store.get(path) if path else None
            if not path or (entry is not None and (entry.signal or not _overwrites(mutation))):
                guarded.append(mutation)
            elif entry is None:
                if not (isinstance(mutation, Report) and mutation.status in _OF_WHAT_IS_THERE):
                    guarded.append(mutation)
                    conditions.append(Precondition(path, absent=True))
            elif self._newer(entry, run.compared if run.sealed else run.cause):
                guarded += _yielding(mutation)
            else:
                guarded.append(mutation)
                conditions.append(Precondition(path, revision=entry.revision))
        return guarded, conditions

    async def _apply_patiently(self, run: _Run, wanted: list[Mutation]) -> int:
        troubled = False
        while True:
            mutations, conditions = self._guarded(run, wanted)
            if not mutations:
                return 0
            try:
                applied = await self._store.apply(
                    mutations,
                    origin=run.origin,
                    cause=run.cause,
                    group=run.group,
                    label=run.label,
                    preconditions=conditions,
                    trusted=True,
                )
            except (Exhausted, Unavailable) as error:
                log.warning("the store cannot write", origin=run.origin, reason=error.message)
                self._trouble(f"the store cannot write: {error.message}")
                troubled = True
                await asyncio.sleep(RETRY_S)
                continue
            if troubled:
                self._trouble("")
            return applied.revision


def _waves(runs: list[_Run]) -> Iterator[list[_Run]]:
    """Yield *runs* in groups that may be committed side by side: what touches the same paths keeps its order."""
    wave: list[_Run] = []
    touched: set[str] = set()
    for run in runs:
        alone = run.sealed or any(isinstance(mutation, (Move, Delete)) for mutation in run.mutations)
        paths = {mutation.path for mutation in run.mutations if isinstance(mutation, Report)}
        full = len(touched) + len(paths) > MAX_TOGETHER
        if wave and (alone or full or not touched.isdisjoint(paths)):
            yield wave
            wave, touched = [], set()
        wave.append(run)
        touched |= paths
        if alone:
            yield wave
            wave, touched = [], set()
    if wave:
        yield wave


def _speaks_of(mutation: Mutation) -> str:
    """Return the one path that *mutation* is about; empty where it moves or deletes more than that."""
    if isinstance(mutation, Report) or (isinstance(mutation, Delete) and not mutation.recursive):
        return mutation.path
    return ""


def _overwrites(mutation: Mutation) -> bool:
    """Say whether *mutation* would take the place of a wish, or of what is said of it."""
    if not isinstance(mutation, Report) or mutation.status is not Status.PENDING:
        return True
    return mutation.value is not UNSET or bool(mutation.reason)


def _yielding(mutation: Mutation) -> list[Mutation]:
    """Return what is left of *mutation* beside a newer wish: what the application holds, so that it is not lost."""
    if not isinstance(mutation, Report):
        return [] if isinstance(mutation, Delete) else [mutation]
    if mutation.status is Status.STALE or mutation.reported is UNSET:
        return []
    return [
        Report(
            mutation.path,
            Status.PENDING,
            reported=mutation.reported,
            event_time=mutation.event_time,
            object_id=mutation.object_id,
        )
    ]


def _merge(older: Mutation, newer: Report) -> Report:
    """Return *newer* with what it leaves unset taken from *older*, the report it replaces."""
    if not isinstance(older, Report):
        return newer
    return Report(
        newer.path,
        newer.status,
        reported=older.reported if newer.reported is UNSET else newer.reported,
        value=older.value if newer.value is UNSET else newer.value,
        reason=newer.reason,
        event_time=newer.event_time,
        object_id=older.object_id if newer.object_id is None else newer.object_id,
    )
