"""Triggers at work: looks at what happens and at the clock, and fires."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.events.records import Wanted
from lightfast.engine.runs.records import ENDED
from lightfast.engine.triggers.chains import Chains
from lightfast.engine.triggers.files import STABLE_S
from lightfast.engine.triggers.firing import Firer
from lightfast.engine.triggers.live import MOST_PENDING, Live
from lightfast.engine.triggers.records import Firing, Happening, TriggerStatus
from lightfast.engine.triggers.schedules import LATE_S, next_due
from lightfast.engine.triggers.sources import OtherSources, PathSource
from lightfast.engine.triggers.traces import Traces
from lightfast.engine.workflows.records import TriggerSpec

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import RunRoom
    from lightfast.engine.restored import Restored
    from lightfast.engine.rights import Rights
    from lightfast.engine.triggers.beats import Timeline
    from lightfast.engine.workflows.workflows import Workflows
    from lightfast.storage.blobs import BlobStore

log = structlog.get_logger("lightfast.engine")

MOST_WAITING = 10_000
"""How many happenings may wait; the oldest are let go of, and that is traced."""
_FLUSH_S = 0.25
_LONGEST_S = 30.0
"""The longest time between two looks at the clock on the wall, which may be set."""


class Work:
    """All triggers at work; `start` comes first."""

    def __init__(
        self,
        store: Store,
        workflows: Workflows,
        runs: RunRoom,
        events: EventLog,
        traces: Traces,
        *,
        transport: Timeline | None,
        blobs: BlobStore | None,
        clock: Clock,
        rights: Rights,
        restored: Restored | None,
    ) -> None:
        self._workflows = workflows
        self._runs = runs
        self._events = events
        self.traces = traces
        self._clock = clock
        self._chains = Chains(runs)
        self._firer = Firer(workflows, runs, self._chains, traces, blobs, clock, rights, restored)
        self._tasks = TaskGroup("triggers")
        self._lives: dict[str, Live] = {}
        self._queue: deque[tuple[Live, Happening]] = deque()
        self._wake = asyncio.Event()
        self._changed = False
        self._flushed = 0.0
        self._seen = 0
        """What the wall clock said last, in ns."""
        self._working = False
        self._paths = PathSource(store, self._hand)
        self._others = OtherSources(transport, clock, self._hand, self._wake.set)

    async def start(self) -> None:
        """Begin, when the workflows have been read and the plugins are there."""
        await self._reload()
        self._tasks.start(self._work(), "work")
        self._tasks.start(self._follow_runs(), "runs")

    async def close(self) -> None:
        """Fire no more; what is traced is written."""
        self._paths.close()
        await self._others.close()
        await self._tasks.close()
        for live in self._lives.values():
            self._let_go(live, "stopped", "the daemon stopped before its time came")
        for live, happening in self._queue:
            self._firer.trace(
                live, happening, "stopped", f"{happening.said}; the daemon stopped before it was looked at"
            )
        self._queue.clear()
        await self.traces.flush()

    # What there is.

    def listed(self) -> list[TriggerStatus]:
        """Return all triggers in the order of their names; those of examples are switched off."""
        found = [self._status(each.spec) for each in self._lives.values()]
        known = {each.name for each in found}
        for each in self._workflows.listed():
            for spec in each.workflow.triggers if each.workflow is not None else ():
                if spec.name not in known:
                    why = "an example: copy it with lightfast workflow new, then it fires" if each.example else ""
                    found.append(self._status(spec, why))
        return sorted(found, key=lambda each: each.name)

    def _status(self, spec: TriggerSpec, disabled: str = "") -> TriggerStatus:
        counts = self.traces.of(spec.name)
        return TriggerStatus(spec.name, spec.workflow, spec.kind, spec.summary, counts, spec.disabled or disabled)

    async def firings(self, trigger: str = "", limit: int = 50) -> list[Firing]:
        """Return why triggers fired or did not, the newest first."""
        return await self.traces.page(trigger, limit)

    @property
    def idle(self) -> bool:
        """Say whether nothing waits to be looked at, but for debounces and schedules."""
        return not (self._queue or self._working or self._changed or self._others.busy)

    # What happens.

    def _hand(self, live: Live, happening: Happening) -> None:
        """Take a happening; never waits."""
        if len(self._queue) >= MOST_WAITING:
            lost, gone = self._queue.popleft()
            self._firer.trace(lost, gone, "overflow", f"{MOST_WAITING} happenings waited; the oldest were let go of")
        self._queue.append((live, happening))
        self._wake.set()

    def changed(self) -> None:
        """Take note that the workflows changed; never waits."""
        self._changed = True
        self._wake.set()

    async def _reload(self) -> None:
        """Take the triggers there are now; those that are as they were keep what they remember."""
        self._changed = False
        specs = {each.name: each for each in self._workflows.triggers() if not each.disabled}
        before, fresh = self._lives, []
        self._lives = {}
        for name, spec in specs.items():
            known = before.get(name)
            if known is not None and known.spec == spec:
                self._lives[name] = known
                continue
            live = self._lives[name] = Live.of(spec)
            fresh.append(live)
            if known is not None:
                live.active = known.active
            else:
                await self._take_up(live)
            if spec.kind == "schedule":
                self._due(live, new=known is not None)
        for name, known in before.items():
            if self._lives.get(name) is not known:
                self._let_go(known, "changed", "its file was changed meanwhile")
        self.traces.forget(self._lives)
        lives = list(self._lives.values())
        self._paths.watch(lives, fresh)
        await self._others.watch(lives, self._tasks)

    def _let_go(self, live: Live, code: str, why: str) -> None:
        """Trace what waits for a debounce, or for runs to end, and will not fire any more."""
        for happening in (*(each for _, each in live.pending.values()), *live.queued):
            self._firer.trace(live, happening, code, f"{happening.said}; {why}")
        live.pending.clear()
        live.queued.clear()

    async def _take_up(self, live: Live) -> None:
        """Find the runs that this trigger started before and that go on."""
        for run_id in await self.traces.runs(live.spec.name, 2 * live.spec.concurrent):
            with suppress(LightfastError):
                if (await self._runs.get(run_id)).state not in ENDED:
                    live.active[run_id] = None

    def _due(self, live: Live, *, new: bool) -> None:
        """See when a schedule is due next; what was missed while the daemon was away fires once, or is traced."""
        counts, now = self.traces.of(live.spec.name), self._clock.now_ns()
        missed = 0 < counts.due_time < now - LATE_S * 1e9 and not new
        if missed and live.spec.missed == "once":
            counts.due_time = now
        elif new or not counts.due_time or missed:
            if missed:
                late = (now - counts.due_time) / 1e9
                self._firer.trace(
                    live, Happening({}, ""), "missed", f"it was due {late:.0f} s ago, while nobody was there"
                )
            counts.due_time = next_due(live.spec, now)
        else:  # the clock may have been set back since
            counts.due_time = min(counts.due_time, next_due(live.spec, now))
        self.traces.touch(live.spec.name)

    async def _work(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._wake.wait()
            self._wake.clear()
            self._working = True
            try:
                await self.step()
            except LightfastError as error:
                log.warning("triggers could not be looked at", reason=error.reason, why=error.message)
                await asyncio.sleep(1.0)
            except Exception:  # whatever it is, what happens next must be looked at
                log.exception("triggers could not be looked at")
                await asyncio.sleep(1.0)
            finally:
                self._working = False

    async def step(self) -> None:
        """Look at all that waits and all that is due by the clock."""
        if self._changed:
            await self._reload()
        for folder in list(self._others.folders.values()):
            if folder.busy:
                await folder.look(self._clock.monotonic())
        self._tick()
        while self._queue:
            live, happening = self._queue.popleft()
            try:
                await self._happened(live, happening)
            except LightfastError as error:
                self._firer.trace(live, happening, "refused", f"{happening.said}; {error.reason}: {error.message}")
            except Exception:
                log.exception("a trigger failed", trigger=live.spec.name)
                self._firer.trace(live, happening, "failed", f"{happening.said}; a fault of the daemon: see its log")
        await self._settle()
        now = self._clock.monotonic()
        if self.traces.waiting and now - self._flushed >= _FLUSH_S:
            self._flushed = now
            await self.traces.flush()

    def _patience(self) -> float:
        now, wall = self._clock.monotonic(), self._clock.now_ns()
        times = [_LONGEST_S]
        if self.traces.waiting:
            times.append(_FLUSH_S)
        if self._others.busy:
            times.append(STABLE_S)
        for live in self._lives.values():
            times += [due - now for due, _ in live.pending.values()]
            if live.spec.kind == "schedule":
                times.append((self.traces.of(live.spec.name).due_time - wall) / 1e9)
        return max(0.001, min(times))

    def _tick(self) -> None:
        now = self._clock.now_ns()
        set_back, self._seen = now < self._seen - LATE_S * 1e9, now
        for live in self._lives.values():
            if live.spec.kind != "schedule":
                continue
            counts = self.traces.of(live.spec.name)
            if set_back:  # else it would be silent until it is that late again
                counts.due_time = min(counts.due_time, next_due(live.spec, now))
            if counts.due_time > now:
                continue
            due, counts.due_time = counts.due_time, next_due(live.spec, now)
            self.traces.touch(live.spec.name)
            if live.spec.every:  # in step with its beginning, unless the clock was set or the machine slept
                later = due + round(live.spec.every * 1e9)
                counts.due_time = later if later > now else counts.due_time
            happening = Happening({"trigger": live.spec.name, "time": now // 1_000_000_000}, "it is due")
            if now - due > LATE_S * 1e9 and live.spec.missed == "skip":
                self._firer.trace(live, happening, "missed", f"it was due {(now - due) / 1e9:.0f} s ago")
            else:
                self._queue.append((live, happening))

    async def _happened(self, live: Live, happening: Happening) -> None:
        if self._lives.get(live.spec.name) is not live:
            self._firer.trace(live, happening, "changed", f"{happening.said}; its file was changed meanwhile")
            return
        happening = self._timed(happening)
        verdict = live.weigh(happening, self._paths.read)
        path = str(happening.names.get("path", ""))
        if verdict.code != "go":
            waited = live.pending.pop(path, None) if verdict.code == "false" else None
            code = "debounce" if waited is not None else verdict.code
            self._firer.trace(live, happening, code, verdict.reason)
            return
        chain = await self._chains.of(happening.origin, happening.group)
        if why := self._chains.why_not(live.spec.name, chain):
            self._firer.trace(live, happening, "loop", why)
            return
        happening = Happening(
            {**happening.names, "chain": chain},
            verdict.reason,
            happening.origin,
            happening.revision,
            happening.group,
            happening.file,
        )
        if live.spec.debounce:
            if path not in live.pending and len(live.pending) >= MOST_PENDING:
                self._firer.trace(live, happening, "overflow", f"{MOST_PENDING} paths wait for their debounce")
                return
            live.pending[path] = (self._clock.monotonic() + live.spec.debounce, happening)
            return
        await self._firer.fire(live, happening)

    def _timed(self, happening: Happening) -> Happening:
        if "time" in happening.names:
            return happening
        names = {**happening.names, "time": self._clock.now_ns() // 1_000_000_000}
        return Happening(names, happening.said, happening.origin, happening.revision, happening.group, happening.file)

    async def _settle(self) -> None:
        """Fire what has waited for its debounce, and what waited for runs to end."""
        now = self._clock.monotonic()
        for live in list(self._lives.values()):
            for path, (due, happening) in list(live.pending.items()):
                if due <= now:
                    del live.pending[path]
                    await self._firer.fire(live, happening)
            while live.queued and len(live.active) < live.spec.concurrent:
                await self._firer.launch(live, live.queued.popleft())

    async def _follow_runs(self) -> None:
        """Take note of runs that have ended."""
        position: int | None = None
        while True:
            try:
                async with aclosing(self._events.watch(Wanted(("run.*",)), position)) as batches:
                    async for events, position in batches:  # noqa: B007  # it is where the next watch begins
                        for run_id in {each.entity_id for each in events}:
                            await self._look_at(run_id)
            except LightfastError as error:
                log.info("the events of runs are followed anew", reason=error.reason)
                position = None
                for run_id in {run_id for live in self._lives.values() for run_id in live.active}:
                    await self._look_at(run_id)
                await asyncio.sleep(1.0)
            else:
                return  # the log was closed

    async def _look_at(self, run_id: str) -> None:
        holders = [live for live in self._lives.values() if run_id in live.active]
        if not holders:
            return
        try:
            ended = (await self._runs.get(run_id)).state in ENDED
        except LightfastError:
            ended = True
        if ended:
            for live in holders:
                live.active.pop(run_id, None)
            self._wake.set()
