"""One recall from its beginning to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from lightfast.context.codec import size_of
from lightfast.context.entry import Entry, Event, EventType, Precondition, Set
from lightfast.context.scenes.gather import Choice
from lightfast.context.scenes.records import Difference, Scene, SceneEntry
from lightfast.context.store import Store
from lightfast.context.watch import Batch, bus_of
from lightfast.core.clock import Clock
from lightfast.core.curves import Function
from lightfast.core.errors import Conflict, Exhausted, LightfastError, Unavailable
from lightfast.core.ids import new_id
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.scenes.morph import Way
from lightfast.engine.scenes.plan import Change, Plan, Planner, conditions_of, refusals
from lightfast.engine.scenes.records import Applied, Asked, Morphing, Planned, Problem, Step, Verified
from lightfast.engine.scenes.verify import Verifier
from lightfast.storage.database import Unit
from lightfast_link.value import Value

log = structlog.get_logger("lightfast.scenes")

PROGRESS_S = 0.1
MAX_MUTATIONS = 10_000
MAX_SIZE = 1 << 20
"""Bounds of one transaction of a recall."""
_PART = 500
_PART_SIZE = 256 << 10
"""Bounds of one step that tells the plan: changes, and about the bytes of their values."""
_TRIES = 5


class Stopped(Exception):
    """The recall ends before its end."""


class Run:
    """Recalls one scene and puts its steps into a queue; the last is None, or what went wrong."""

    def __init__(
        self,
        store: Store,
        apps: AppRegistry,
        clock: Clock,
        asked: Asked,
        curve: Function,
        scene: Scene,
        origin: str,
        linked: Callable[[], frozenset[str]],
        steps: asyncio.Queue[Step | LightfastError | None],
    ) -> None:
        self._store = store
        self._bus = bus_of(store)
        self._apps = apps
        self._clock = clock
        self._asked = asked
        self._curve = curve
        self._scene = scene
        self._origin = origin
        self._linked = linked
        self._steps = steps
        self.group = asked.group or new_id("recall")
        self.ended = asyncio.Event()
        self.applied = False
        """Whether everything is written, and only the applications are waited for."""
        self._open: dict[str, Change] = {}
        self._out: list[Problem] = []
        self._way: Way | None = None
        self._revision = 0
        self._stopped = asyncio.Event()
        self._why: LightfastError | None = None
        self._may_write = True

    def stop(self, why: LightfastError, *, write: bool) -> None:
        """End before the next write, with *why*; with *write* what was reached by then is committed."""
        self._why = self._why or why
        self._may_write = self._may_write and write
        self._stopped.set()

    async def go(self, entries: Sequence[SceneEntry]) -> None:
        """Do it."""
        try:
            outcome = await self._done(entries)
        finally:
            self.ended.set()
        await self._steps.put(outcome)

    async def _done(self, entries: Sequence[SceneEntry]) -> LightfastError | None:
        leave: Callable[[], None] | None = None
        try:
            choice = Choice(self._asked.patterns, self._asked.exclude)
            plan = await Planner(self._store, self._apps, self._origin).plan(entries, choice)
            await self._tell(plan)
            if self._asked.validate_only:
                return None
            self._open = {change.path: change for change in plan.changes}
            if self._asked.morph:
                leave = self._bus.listen(["//"], self._on_batch)
            await self._recall(plan)
        except Stopped:
            await self._left()
            return self._why
        except LightfastError as error:
            await self._left()
            return error
        except Exception as error:
            log.exception("a recall failed", scene=self._scene.name)
            await self._left()
            return LightfastError(f"the recall failed inside the daemon, see its log: {error}")
        finally:
            if leave is not None:
                leave()
        return None

    async def _recall(self, plan: Plan) -> None:
        changes = plan.changes
        if self._asked.morph and any(change.track is not None for change in changes):
            await self._morph(changes)
        last = [change for change in changes if not change.out]
        await self._write([(change, change.after) for change in last])
        self.applied = True
        if self._way is not None:
            self._way.end(read_back=False)
        group = self.group if self._revision else ""
        await self._steps.put(Applied(self._revision or self._store.revision, group))
        verifier = Verifier(
            self._store, self._apps, self._clock, [change for change in last if not change.out], self.group
        )
        await verifier.run(self._asked.verify, self._stopped)
        problems = (*plan.away, *self._out, *verifier.problems)
        settled = plan.settled + verifier.settled
        for start in range(0, max(1, len(problems)), _PART):
            part = problems[start : start + _PART]
            await self._steps.put(Verified(self._revision or self._store.revision, group, settled, part))

    async def _tell(self, plan: Plan) -> None:
        group = "" if self._asked.validate_only else self.group
        part: list[Difference] = []
        size = 0
        for change in sorted(plan.changes, key=lambda change: change.path):
            part.append(Difference(change.path, change.before, change.after))
            size += size_of(change.after) + size_of(change.before)
            if len(part) >= _PART or size >= _PART_SIZE:
                await self._steps.put(Planned(tuple(part), (), group))
                part, size = [], 0
        problems = sorted(plan.problems, key=lambda problem: problem.path)
        await self._steps.put(Planned(tuple(part), tuple(problems[:_PART]), group))
        for start in range(_PART, len(problems), _PART):
            await self._steps.put(Planned((), tuple(problems[start : start + _PART]), group))

    # The way

    async def _morph(self, changes: Sequence[Change]) -> None:
        await self._write([(change, change.after) for change in changes if change.before is None])
        way = self._way = Way(self._store, self._apps, changes, self._linked(), self._asked.morph)
        begin = self._clock.monotonic()
        step, told = begin, begin - PROGRESS_S
        while True:
            now = self._clock.monotonic()
            part = (now - begin) / self._asked.morph
            if part >= 1.0:
                return
            at = self._curve(part)
            await way.send(at, now, self._origin)
            self._drop()
            if way.stepped and now >= step:
                step = max(step + way.step, now)
                with suppress(
                    Conflict
                ):  # somebody else is writing one of them: what comes of it is seen before the next
                    await self._write(
                        [(each, each.track(at)) for each in way.stepped if each.track and not each.out], step=True
                    )
            if now - told >= PROGRESS_S and not self._steps.full():
                told = now
                self._steps.put_nowait(Morphing(part, self.group))
            spent = self._clock.monotonic() - now
            await self._sleep(max(0.001, min(way.interval - spent, begin + self._asked.morph - now)))

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
        raise Stopped

    async def _left(self) -> None:
        """Leave everything where it is by now: on the record, unless nothing may be written any more."""
        way = self._way
        if way is None or self.applied:
            return
        reached = way.reached() if self._may_write else []
        if reached:
            self._stopped.clear()
            try:
                await self._write(reached)
            except (LightfastError, Stopped) as error:
                log.warning("where a morph was stopped could not be recorded", scene=self._scene.name, error=str(error))
                reached = []
        way.end(read_back=not reached)

    # Writing

    async def _write(self, values: Sequence[tuple[Change, Value]], *, step: bool = False) -> None:
        """Write values in the group, atomically as far as one transaction holds them; who is refused is left out.

        A *step* on the way takes the place of nothing that was written since the last: it raises `Conflict`.
        """
        part: list[tuple[Change, Value]] = []
        size = 0
        for change, value in values:
            size += size_of(value) + len(change.path)
            part.append((change, value))
            if len(part) >= MAX_MUTATIONS or size >= MAX_SIZE:
                await self._commit(part, step)
                part, size = [], 0
        if part:
            await self._commit(part, step)

    async def _commit(self, part: Sequence[tuple[Change, Value]], step: bool) -> None:
        for attempt in range(_TRIES):
            if self._stopped.is_set():
                raise Stopped
            part = [(change, value) for change, value in part if not change.out]
            if not part:
                return
            changes = [change for change, _ in part]
            try:
                applied = await self._store.apply(
                    [Set(change.path, value) for change, value in part],
                    origin=self._origin,
                    preconditions=[*conditions_of(self._store, changes), *(self._unchanged(changes) if step else ())],
                    group=self.group,
                    label=f"recall of {self._scene.name}",
                    unit=Unit(),  # so that signals are committed, too: an undo takes them back
                )
            except (Exhausted, Unavailable):
                raise
            except LightfastError as error:
                if step and error.reason == Conflict.reason:
                    raise
                refused = await refusals(self._store, changes, self._origin)
                for change in changes:
                    if change.path in refused:
                        self._leave(change, refused[change.path])
                if attempt == _TRIES - 1:
                    raise
            else:
                self._revision = max(self._revision, applied.revision)
                return

    def _unchanged(self, changes: Sequence[Change]) -> list[Precondition]:
        """Return that nothing was written to the paths of *changes* but what can be seen."""
        found = [(change.path, self._store.get(change.path)) for change in changes]
        return [
            Precondition(path, revision=entry.revision) if entry else Precondition(path, absent=True)
            for path, entry in found
        ]

    # Who else is there

    def _on_batch(self, batch: Batch) -> None:
        if self.applied:
            return
        for event in batch.events:
            if event.type is EventType.MOVE and event.source in self._open:
                self._moved(event.source, event.entry.path)
            change = self._open.get(event.entry.path)
            if change is not None and not change.out and self._is_a_hand(change, event):
                what = "deleted" if event.type is EventType.DELETE else "changed"
                reason = f"{event.entry.origin} {what} it during the recall, and was given way"
                self._leave(change, reason, event.entry)
            if change is not None and self._way is not None:
                self._way.seen(event.entry)

    def _is_a_hand(self, change: Change, event: Event) -> bool:
        """Say whether an event is a will of somebody else's: neither ours, nor the answer to ours."""
        entry, previous = event.entry, event.previous
        if event.type is EventType.MOVE:
            return False
        if entry.revision and self._bus.group_of(entry.revision) == self.group:
            return False
        if event.type is EventType.DELETE:
            return True
        if previous is not None and type(previous.value) is type(entry.value) and previous.value == entry.value:
            return False
        if entry.revision or entry.value is None or self._way is None:
            return True
        declared = self._store.declaration(entry.path)
        tolerance = declared.tolerance if declared is not None else 0.0
        return not self._way.answers(change, entry.value, self._clock.monotonic(), tolerance)

    def _moved(self, source: str, target: str) -> None:
        change = self._open.pop(source)
        change.path = target
        change.mount = self._store.mount_of(target)
        self._open[target] = change
        if self._way is not None:
            self._way.moved(source, target)

    def _leave(self, change: Change, reason: str, entry: Entry | None = None) -> None:
        if not change.out:
            change.out = reason
            self._note(change, entry)

    def _drop(self) -> None:
        """Note what was refused on the way."""
        known = {problem.path for problem in self._out}
        for change in self._open.values():
            if change.out and change.path not in known:
                self._note(change, None)

    def _note(self, change: Change, entry: Entry | None) -> None:
        found = entry if entry is not None else self._store.get(change.path)
        self._out.append(Problem(change.path, change.after, None if found is None else found.value, change.out))
