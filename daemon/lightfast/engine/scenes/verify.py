"""Whether the applications hold what was recalled: waits for their reports, and names what is not as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.context.entry import Entry, EventType, Status
from lightfast.context.store import Store
from lightfast.context.watch import Batch, bus_of
from lightfast.core.clock import Clock
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.scenes.plan import Change, why_away
from lightfast.engine.scenes.records import Problem
from lightfast_link.value import Value, close

POLL_S = 0.25
"""Seconds between looks at applications that may have gone away."""
SIGNAL_S = 1.0
"""Seconds an application has to report a signal: nobody answers one, so silence says nothing."""


class Verifier:
    """Follows the *changes* under mounts; *group* is what they were written in."""

    def __init__(self, store: Store, apps: AppRegistry, clock: Clock, changes: Sequence[Change], group: str) -> None:
        self._store = store
        self._apps = apps
        self._clock = clock
        self._group = group
        self._open = {change.path: change for change in changes if change.mount}
        self._wake = asyncio.Event()
        self.settled = 0
        self.problems: list[Problem] = []

    async def run(self, within: float, stopped: asyncio.Event) -> None:
        """Wait at most *within* seconds, or until *stopped*; then what is left open is named as it is."""
        leave = bus_of(self._store).listen(["//"], self._on_batch)
        begin = self._clock.monotonic()
        try:
            self._look(list(self._open))
            while self._open and not stopped.is_set():
                now = self._clock.monotonic() - begin
                if now >= min(within, SIGNAL_S):
                    self._end([path for path, change in self._open.items() if change.signal], now)
                self._away()
                if not self._open or now >= within:
                    break
                self._wake.clear()
                try:
                    async with asyncio.timeout(min(POLL_S, max(within - now, 0.001))):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            leave()
        self._end(list(self._open), self._clock.monotonic() - begin)

    def _on_batch(self, batch: Batch) -> None:
        touched = []
        for event in batch.events:
            if event.type is EventType.MOVE and event.source in self._open:
                change = self._open.pop(event.source)
                change.path = event.entry.path
                self._open[change.path] = change
            if event.entry.path in self._open:
                touched.append(event.entry.path)
        if touched:
            self._look(touched)
            self._wake.set()

    def _look(self, paths: Sequence[str]) -> None:
        for path in dict.fromkeys(paths):
            change, entry = self._open.get(path), self._store.get(path)
            if change is None:
                continue
            if entry is None:
                self._name(change, None, "it was deleted since")
            elif not close(_value(entry), change.after, self._tolerance(path)):
                self._other(change, entry)
            elif entry.status is Status.REJECTED:
                reason = entry.status_reason or "the application refused it"
                self._name(change, entry.reported, reason)
            elif entry.status is Status.SETTLED and self._reported(change, entry):
                del self._open[path]
                self.settled += 1

    def _other(self, change: Change, entry: Entry) -> None:
        """Name a path that holds something else by now: the application's answer, or what somebody else wants."""
        ours = not entry.revision or bus_of(self._store).group_of(entry.revision) == self._group
        if change.signal and ours:
            return  # it may still be on its way
        if ours:
            self._name(change, entry.reported, entry.status_reason or "the application made something else of it")
        else:
            self._name(change, entry.value, f"{entry.origin} has changed it since")

    def _reported(self, change: Change, entry: Entry) -> bool:
        if entry.reported is None:
            return not change.signal
        return close(entry.reported, change.after, self._tolerance(change.path))

    def _away(self) -> None:
        for mount in {change.mount for change in self._open.values()}:
            if away := why_away(self._apps, mount):
                reason = f"{away}; the value waits as a wish until it is back"
                for change in [change for change in self._open.values() if change.mount == mount]:
                    self._name(change, self._held(change.path), reason, queued=True)

    def _end(self, paths: Sequence[str], waited: float) -> None:
        """Name what is not settled when its time is over."""
        for path in paths:
            change, entry = self._open[path], self._store.get(path)
            held = self._held(path)
            if change.signal and held is None:
                del self._open[path]  # it is not told: nothing says that it is not there
            elif change.signal:
                self._name(change, held, f"the application still reported something else after {waited:.1f} s")
            else:
                pending = entry is not None and entry.status is Status.PENDING
                reason = f"{change.mount} has not answered within {waited:.1f} s"
                self._name(
                    change, held, f"{reason}; the value still waits for it" if pending else reason, queued=pending
                )

    def _held(self, path: str) -> Value | None:
        entry = self._store.get(path)
        return None if entry is None else entry.reported

    def _name(self, change: Change, found: Value | None, reason: str, *, queued: bool = False) -> None:
        del self._open[change.path]
        self.problems.append(Problem(change.path, change.after, found, reason, queued))

    def _tolerance(self, path: str) -> float:
        declared = self._store.declaration(path)
        return declared.tolerance if declared is not None else 0.0


def _value(entry: Entry) -> Value:
    return "" if entry.value is None else entry.value
