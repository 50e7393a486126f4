"""The way of a morph: which values are sent how often, on which way, without filling the history.

- A parameter of an application that is in step gets its values as volatile wishes, `TOLD_HZ` times a second: nobody
  answers them and nothing records them; only the last value is a wish of its own, durable and answered.
- A signal is published, as ever.
- Other state (free paths, and what links lead from: they carry what is committed) is committed, at most `STEP_HZ` times
  a second and `MAX_STEPS` times in all, in the group of the recall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.context.entry import Entry, Set
from lightfast.context.store import Store
from lightfast.core.errors import LightfastError
from lightfast.engine.apps.glides import Course
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.scenes.plan import Change
from lightfast_link.value import Value

TOLD_HZ = 30.0
LEAST_HZ = 4.0
MAX_TOLD = 20_000
"""Values a second, of all paths: with more of them each gets fewer, but never less than `LEAST_HZ`."""
STEP_HZ = 10.0
MAX_STEPS = 60
MAX_STEP_ROWS = 20_000
"""Rows of the history that the way of one morph takes at most, in all."""
_TURN = 500
_TOGETHER = 200
"""Values looked at, and handed to an application, before others get their turn on the loop."""


class Way:
    """The moving *changes* of one morph; *linked* are the paths that links lead from."""

    def __init__(
        self, store: Store, apps: AppRegistry, changes: Sequence[Change], linked: frozenset[str], seconds: float
    ) -> None:
        self._store = store
        self._apps = apps
        moving = [change for change in changes if change.track is not None]
        self.signals = [change for change in moving if change.signal]
        self.told = [each for each in moving if not each.signal and each.mount and each.path not in linked]
        self.stepped = [each for each in moving if not each.signal and (not each.mount or each.path in linked)]
        self._courses = {change.path: Course() for change in self.signals}
        self._last: dict[str, Value] = {}
        self._seen = {change.path: entry.version for change in self.signals if (entry := store.get(change.path))}
        sent = len(self.told) + len(self.signals)
        self.interval = 1.0 / max(LEAST_HZ, min(TOLD_HZ, MAX_TOLD / sent if sent else TOLD_HZ))
        steps = min(seconds * STEP_HZ, MAX_STEPS, MAX_STEP_ROWS / max(1, len(self.stepped)))
        self.step = seconds / max(1.0, steps)

    def answers(self, change: Change, value: Value, now: float, tolerance: float) -> bool:
        """Say whether a signal of *value* may be what was sent to that path, coming back."""
        course = self._courses.get(change.path)
        return course is not None and course.answers(value, now, tolerance)

    def seen(self, entry: Entry) -> None:
        """Take note that *entry* was looked at: it is no hand, or its path is out."""
        self._seen[entry.path] = entry.version

    def moved(self, source: str, target: str) -> None:
        """Follow a rename."""
        if source in self._courses:
            self._courses[target] = self._courses.pop(source)
        if source in self._last:
            self._last[target] = self._last.pop(source)

    async def send(self, part: float, now: float, origin: str) -> None:
        """Send what volatile values are at *part* of the way, at the monotonic time *now*."""
        await self._publish(part, now, origin)
        by_mount: dict[str, list[tuple[str, Value]]] = {}
        for number, change in enumerate(self.told):
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            value = self._at(change, part)
            if value is not None:
                by_mount.setdefault(change.mount, []).append((change.path, value))
        for mount, values in by_mount.items():
            for start in range(0, len(values), _TOGETHER):
                try:
                    self._apps.session(mount).glider.send(values[start : start + _TOGETHER], now)
                except LightfastError:  # it is away: the last value waits for it as a wish
                    break
                await asyncio.sleep(0)

    async def _publish(self, part: float, now: float, origin: str) -> None:
        updates = []
        for number, change in enumerate(self.signals):
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            value = None if self._crossed(change.path, origin) else self._at(change, part)
            if value is not None:
                self._courses[change.path].put(value, now)
                updates.append((change, Set(change.path, value)))
        if not updates:
            return
        published = self._store.publish([update for _, update in updates], origin=origin)
        if published.dropped:
            for change, update in updates:
                try:
                    await self._store.apply([update], origin=origin, validate_only=True)
                except LightfastError as error:
                    change.out = change.out or error.message

    def _crossed(self, path: str, origin: str) -> bool:
        """Say whether another has just written to *path*, which nobody has been told yet: it may be a hand."""
        entry = self._store.get(path)
        return entry is not None and entry.origin != origin and entry.version > self._seen.get(path, 0)

    def _at(self, change: Change, part: float) -> Value | None:
        """Return the value to send; `None` where the path is out, or has it already."""
        if change.out or change.track is None:
            return None
        value = change.track(part)
        if self._last.get(change.path) == value:
            return None
        self._last[change.path] = value
        return value

    def reached(self) -> list[tuple[Change, Value]]:
        """Return where the told ones and the signals are by now."""
        moving = (*self.told, *self.signals)
        return [(change, self._last[change.path]) for change in moving if not change.out and change.path in self._last]

    def end(self, *, read_back: bool) -> None:
        """End the way in the applications; with *read_back* they are asked where that leaves them.

        So is one in which a hand took over: what was on its way at that moment may have arrived after it.
        """
        by_mount: dict[str, list[str]] = {}
        touched: set[str] = set()
        for change in self.told:
            by_mount.setdefault(change.mount, []).append(change.path)
            if change.out:
                touched.add(change.mount)
        for mount, paths in by_mount.items():
            try:
                self._apps.session(mount).glider.end(paths, read_back=read_back or mount in touched)
            except LightfastError:  # it is away: it will be compared when it is back
                continue
