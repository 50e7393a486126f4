"""One replay from its beginning to its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import structlog

from lightfast.context.declarations import Declarations
from lightfast.context.entry import Declaration, Delete, EventType, Move, Mutation, Set, Status
from lightfast.context.store import Store
from lightfast.context.watch import Batch, bus_of
from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.journal.ahead import pages
from lightfast.engine.journal.compare import Difference, Rules, compare_caused, compare_state
from lightfast.engine.journal.fold import MAX_CAUSED, Held, caused_in, state_at, written_in
from lightfast.engine.journal.hand import Hand, path_of
from lightfast.engine.journal.inputs import Choice
from lightfast.engine.journal.plan import Outcome, Plan, Planned, Progress, Step
from lightfast.engine.journal.reader import Commit, Reader, Samples, Summary, summary
from lightfast.engine.links.links import Link, Links
from lightfast_link.value import close

log = structlog.get_logger("lightfast.journal")

PROGRESS_S = 0.5
QUIET_S = 0.6
"""How long, in seconds, nothing may change before the end is compared: longer than a signal takes to settle."""
QUIET_MOST_S = 20.0
"""How long is waited for that."""
TURN_ITEMS = 50
"""After so many items without a pause others get their turn on the loop."""
MAX_DIFFERENCES = 10_000
_TOLD = frozenset({"link_id", "carried", "last_error", "waiting", "rate_hz"})
"""The fields of a link that it tells, and nobody asks for."""


class Run:
    """Plays one plan and puts its steps into a queue; the last is an `Outcome`, or what went wrong."""

    def __init__(
        self,
        store: Store,
        links: Links,
        clock: Clock,
        path: Path,
        plan: Plan,
        steps: asyncio.Queue[Step | LightfastError],
    ) -> None:
        self._store = store
        self._links = links
        self._clock = clock
        self._path = path
        self._plan = plan
        self._steps = steps
        self._stopped = asyncio.Event()
        self._why: LightfastError | None = None
        self._choice = Choice(plan.apps, everything=plan.everything, readonly=self._readonly)
        self._group = new_id("replay")
        self._start = round(plan.start * 1e9)
        self._end = round(plan.end * 1e9) if plan.end else -1
        self._worst = 0.0
        self._skipped = 0
        self._active = 0.0

    def stop(self, why: LightfastError) -> None:
        """End before the next write, with *why*."""
        self._why = why
        self._stopped.set()

    async def go(self, tasks: TaskGroup) -> None:
        """Play it."""
        try:
            about = await asyncio.to_thread(summary, self._path)
            if self._plan.dry:
                await self._rehearse(about)
            else:
                await self._play(tasks, about)
        except LightfastError as error:
            await self._steps.put(error)
        except OSError as error:
            await self._steps.put(LightfastError(f"the recording cannot be read: {error.strerror or error}"))
        except Exception as error:
            log.exception("a replay failed", name=self._plan.name)
            await self._steps.put(LightfastError(f"the replay failed inside the daemon, see its log: {error}"))

    async def _rehearse(self, about: Summary) -> None:
        """Tell what would be written."""
        hand = Hand(self._store, TaskGroup("rehearsal"), origin="", group="", label="", check=self._check_stopped)
        async with aclosing(pages(self._path, self._start, self._end)) as source:
            async for page in source:
                for item in page:
                    updates, mutations = self._writes(item)
                    hand.samples += len(updates)
                    hand.transactions += bool(mutations)
                    await self._plan_out(item.at, "publish" if updates else "", updates or mutations)
        await self._finish(hand, 0, 0.0, self._incomplete(about))

    async def _plan_out(self, at: int, what: str, mutations: Sequence[Mutation]) -> None:
        for one in mutations:
            value = one.value if isinstance(one, Set) else None
            source = one.source if isinstance(one, Move) else ""
            kind = what or ("set" if isinstance(one, Set) else "delete" if isinstance(one, Delete) else "move")
            await self._steps.put(Planned(at / 1e9, kind, path_of(one), value, source))

    async def _play(self, tasks: TaskGroup, about: Summary) -> None:
        plan, store = self._plan, self._store
        hand = Hand(
            store,
            tasks,
            origin=f"replay:{plan.name}",
            group=self._group,
            label=f"replay of {plan.name}",
            check=self._check_stopped,
        )
        begin = self._clock.monotonic()
        if plan.set_up:
            await self._set_up(hand)
        before = await asyncio.to_thread(state_at, self._path, self._start, self._choice)
        self._check_stopped()
        written = await asyncio.to_thread(written_in, self._path, self._start, self._end, self._choice)
        await hand.state([*self._not_yet(written - before.keys()), *self._to_change(before)])
        leave = self._listen(hand) if plan.check else None
        try:
            if plan.check:
                await self._quiet(before)  # what the beginning causes is none of the inputs' doing
            await self._inputs(hand, self._end / 1e9 if self._end >= 0 else about.seconds)
            await hand.drained()
            found, note = (await self._compared(hand, before)) if plan.check else (hand.refused, "")
        finally:
            if leave is not None:
                leave()
        for difference in found[:MAX_DIFFERENCES]:
            await self._steps.put(difference)
        notes = [note, self._incomplete(about)]
        took = self._clock.monotonic() - begin
        await self._finish(hand, len(found), took, "; ".join(filter(None, notes)))

    async def _inputs(self, hand: Hand, end: float) -> None:
        """Write the inputs at their times; what is late is not skipped, and the next is not later for it."""
        loop = asyncio.get_running_loop()
        begin = told = loop.time()
        turn = 0
        async with aclosing(pages(self._path, self._start, self._end)) as source:
            async for page in source:
                for item in page:
                    updates, mutations = self._writes(item)
                    if not updates and not mutations:
                        self._skipped += 1
                        continue
                    turn += 1
                    now = loop.time()
                    if math.isfinite(self._plan.speed):
                        due = begin + (item.at - self._start) / 1e9 / self._plan.speed
                        while now < due:
                            told = self._tell(hand, now, told, end, begin)
                            await self._sleep(min(due - now, PROGRESS_S))
                            now, turn = loop.time(), 0
                        self._worst = max(self._worst, now - due)
                    if turn >= TURN_ITEMS:
                        turn = 0
                        await asyncio.sleep(0)
                    self._check_stopped()
                    if updates:
                        hand.publish(updates)
                    else:
                        await hand.commit(mutations, item.revision if isinstance(item, Commit) else 0)
                    told = self._tell(hand, now, told, end, begin, item.at / 1e9)

    def _writes(self, item: Commit | Samples) -> tuple[list[Set], list[Mutation]]:
        if isinstance(item, Samples):
            return self._choice.updates(item.samples), []
        return [], self._choice.mutations(item) if self._choice.is_input(item) else []

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
        self._check_stopped()

    def _check_stopped(self) -> None:
        if self._why is not None:
            raise self._why

    def _tell(self, hand: Hand, now: float, told: float, end: float, begin: float, at: float | None = None) -> float:
        if now - told < PROGRESS_S:
            return told
        if at is None:
            at = self._start / 1e9 + (now - begin) * self._plan.speed
        if not self._steps.full():
            self._steps.put_nowait(Progress(min(at, end), end, hand.transactions, hand.samples, self._worst))
        return now

    def _not_yet(self, paths: set[str]) -> list[Delete]:
        """Return what takes away what the recording is about to make; what applications have is left to them."""
        return [
            Delete(path)
            for path in sorted(paths)
            if self._store.get(path) is not None and not self._store.mount_of(path) and not self._choice.readonly(path)
        ]

    def _to_change(self, wanted: dict[str, Held]) -> list[Set]:
        """Return what has to be set so that *wanted* holds."""
        changes = []
        for path in sorted(wanted):
            entry = self._store.get(path)
            same = entry is not None and type(entry.value) is type(wanted[path].value) and _equal(entry, wanted[path])
            if not same and not self._choice.readonly(path):
                changes.append(Set(path, wanted[path].value))
        return changes

    async def _set_up(self, hand: Hand) -> None:
        head = await asyncio.to_thread(_head, self._path)
        declared = msgspec.convert(head["declarations"], list[Declaration])
        await self._store.declare(
            [item for item in declared if item.owner != "daemon" and not item.owner.startswith("app:")],
            owner=f"replay:{self._plan.name}",
        )
        there = {(link.source, link.target) for link in self._links.list()}
        known = Link.__dataclass_fields__
        for fields in head["links"]:
            wanted = {name: value for name, value in fields.items() if name in known and name not in _TOLD}
            if (fields["source"], fields["target"]) in there:
                continue
            self._check_stopped()
            try:
                await self._links.create(msgspec.convert(wanted, Link))
            except (LightfastError, msgspec.ValidationError) as error:
                hand.refusals += 1
                note = f"the link from {fields['source']} cannot be made: {error}"
                hand.refused.append(Difference("refused", fields["target"], None, None, note=note))

    def _listen(self, hand: Hand) -> Any:
        own = f"replay:{self._plan.name}"
        clock, covers = self._clock, self._choice.covers

        def on_batch(batch: Batch) -> None:
            for event in batch.events:
                entry = event.entry
                if not entry.revision or not covers(entry.path):
                    continue
                self._active = clock.monotonic()
                if entry.cause and entry.origin != own and event.type is EventType.SET and entry.value is not None:
                    previous = event.previous
                    if previous is None or previous.value != entry.value:
                        hand.roots.caused(entry.revision, entry.cause, entry.path, entry.value)

        return bus_of(self._store).listen(["//"], on_batch)

    async def _quiet(self, wanted: dict[str, Held]) -> str:
        """Wait until nothing follows any more; return what keeps on moving, or the empty text."""
        begin = self._active = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            waiting = [
                path
                for path in wanted
                if (entry := self._store.get(path)) is not None and entry.status is Status.PENDING
            ]
            if now - self._active >= QUIET_S and not waiting:
                return ""
            if now - begin > QUIET_MOST_S:
                what = f"{waiting[0]} still waits for its application" if waiting else "the values kept on changing"
                return f"{what} {QUIET_MOST_S:g} s after the last input"
            await self._sleep(0.05)

    async def _compared(self, hand: Hand, before: dict[str, Held]) -> tuple[list[Difference], str]:
        wanted = await asyncio.to_thread(state_at, self._path, self._after(), self._choice)
        notes = [await self._quiet(wanted)]
        head = await asyncio.to_thread(_head, self._path)
        recorded = Declarations()
        recorded.change(msgspec.convert(head["declarations"], list[Declaration]), ())
        rules = Rules(self._store.declaration, recorded.find)
        found = [*hand.refused, *compare_state(wanted, before, self._store.get, rules)]
        if not self._plan.everything:
            caused = await asyncio.to_thread(caused_in, self._path, self._start, self._end, self._choice)
            replayed = hand.roots.result()
            found += compare_caused(caused, replayed, rules)
            if caused.cut or replayed.cut:
                notes.append(f"only the first {MAX_CAUSED} caused events were compared")
        return found, "; ".join(filter(None, notes))

    def _after(self) -> int:
        """Return the moment at which the state is the one the replay ends in."""
        return self._end + 1 if self._end >= 0 else -1

    def _incomplete(self, about: Summary) -> str:
        return "" if about.complete else f"the recording is incomplete: {about.reason}"

    async def _finish(self, hand: Hand, differences: int, seconds: float, note: str) -> None:
        plan = self._plan
        await self._steps.put(
            Outcome(
                hand.transactions,
                hand.samples,
                hand.refusals,
                self._skipped,
                differences,
                self._worst,
                seconds,
                "" if plan.dry else self._group,
                hand.revision,
                plan.check,
                note,
            )
        )

    def _readonly(self, path: str) -> bool:
        declared = self._store.declaration(path)
        return declared is not None and declared.access == "r"


def _equal(entry: Any, held: Held) -> bool:
    return close(entry.value, held.value, 1e-12)


def _head(path: Path) -> dict[str, Any]:
    with Reader(path) as reader:
        return reader.head
