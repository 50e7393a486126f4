"""Where happenings come from: the bus, the timeline, folders. Each hands on at once and never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.context.entry import Entry, Event, EventType
from lightfast.context.watch import Batch, Bus, bus_of
from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.presence import ROOT as PRESENCE
from lightfast.engine.triggers.beats import BeatWatch, Timeline
from lightfast.engine.triggers.files import FolderWatch, matches, said
from lightfast.engine.triggers.live import Live
from lightfast.engine.triggers.records import Happening, shown
from lightfast_link.path import Pattern, compile_pattern

if TYPE_CHECKING:
    from lightfast.context.store import Store

MOST_ROUTES = 50_000
"""Of how many paths it is remembered which triggers they matter to, before all are forgotten."""
_PATTERNS = 200
"""How many patterns one listener of the bus takes."""
HERE = ("live", "degraded")
"""The states of an application that is there."""
Hand = Callable[[Live, Happening], None]


class PathSource:
    """Hands on what changes at the paths that triggers wait for, and applications that come and go."""

    def __init__(self, store: Store, hand: Hand) -> None:
        self._store = store
        self._bus: Bus = bus_of(store)
        self._hand = hand
        self._stops: list[Callable[[], None]] = []
        self._wanted: list[tuple[Pattern, Live]] = []
        self._apps: list[Live] = []
        self._states: dict[str, str] = {}
        self._routes: dict[str, tuple[Live, ...]] = {}

    def watch(self, lives: Sequence[Live], fresh: Sequence[Live]) -> None:
        """Listen for *lives*; those that are *fresh* first learn what holds already, so that it does not fire them."""
        self._bus.flush()  # what was committed at this very moment is for those who listened until now
        self.close()
        self._wanted = [(compile_pattern(each.spec.pattern), each) for each in lives if each.spec.kind == "path"]
        self._apps = [each for each in lives if each.spec.kind == "app"]
        self._routes = {}
        for each in fresh:
            if each.spec.kind == "path":
                self._prime(each)
        if self._apps:
            for entry in self._store.select(PRESENCE + "/*/state"):
                self._states[entry.path] = str(entry.value)
            self._stops.append(self._bus.listen([PRESENCE + "/*/state"], self._on_app))
        patterns = list(dict.fromkeys(each.text for each, _ in self._wanted))
        for start in range(0, len(patterns), _PATTERNS):
            chunk = frozenset(patterns[start : start + _PATTERNS])
            self._stops.append(self._bus.listen(sorted(chunk), self._listener(chunk)))

    def close(self) -> None:
        """Listen no more."""
        for stop in self._stops:
            stop()
        self._stops = []

    def _prime(self, live: Live) -> None:
        from lightfast.engine.triggers.live import MOST_PATHS

        for entry in self._store.select(live.spec.pattern, MOST_PATHS):
            live.previous(entry.path, entry.value)
            if live.spec.edge == "rise":
                live.weigh(self._happening(live, entry.path, entry.value, None, entry), self.read)

    def _listener(self, patterns: frozenset[str]) -> Callable[[Batch], None]:
        def take(batch: Batch) -> None:
            for event in batch.events:
                for live in self._route(event.entry.path):
                    if live.spec.pattern in patterns:
                        self._changed(live, event)

        return take

    def _route(self, path: str) -> tuple[Live, ...]:
        found = self._routes.get(path)
        if found is None:
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            found = self._routes[path] = tuple(live for pattern, live in self._wanted if pattern.matches(path))
        return found

    def _changed(self, live: Live, event: Event) -> None:
        entry = event.entry
        value = None if event.type is EventType.DELETE else entry.value
        previous = live.previous(entry.path, value)
        if event.previous is not None and previous is None:
            previous = event.previous.value
        if type(value) is type(previous) and value == previous:
            return  # a signal that settles, or the same once more: nothing changed
        self._hand(live, self._happening(live, entry.path, value, previous, entry))

    def _happening(self, live: Live, path: str, value: Any, previous: Any, entry: Entry) -> Happening:
        names = {"value": value, "previous": previous, "path": path, "trigger": live.spec.name}
        said = f"{path}={shown(value)}, previous={shown(previous)}"
        group = (self._bus.group_of(entry.revision) or "") if entry.revision else ""
        return Happening(names, said, entry.origin, entry.revision, group)

    def _on_app(self, batch: Batch) -> None:
        for event in batch.events:
            path = event.entry.path
            state = "gone" if event.type is EventType.DELETE else str(event.entry.value)
            before, self._states[path] = self._states.get(path, "absent"), state
            was, here = before in HERE, state in HERE
            if was == here:
                continue
            mount = "/" + path[len(PRESENCE) + 1 :].partition("/")[0]
            kind = str(self.read(f"{PRESENCE}{mount}/kind") or mount[1:])
            for live in self._apps:
                if live.spec.arrives == here and live.spec.app in ("*", mount, mount[1:], kind):
                    names = {"app": mount, "kind": kind, "state": state, "trigger": live.spec.name}
                    said = f"{mount} was {before} and is {state}"
                    self._hand(live, Happening(names, said, revision=event.entry.revision))

    def read(self, path: str) -> Any:
        """Return a value of the context that is in memory."""
        entry = self._store.peek(path)
        return entry.value if isinstance(entry, Entry) else None


class OtherSources:
    """Beats and folders."""

    def __init__(self, timeline: Timeline | None, clock: Clock, hand: Hand, stirred: Callable[[], None]) -> None:
        self._timeline = timeline
        self._clock = clock
        self._hand = hand
        self._stirred = stirred
        self._beats: asyncio.Task[Any] | None = None
        self.folders: dict[Path, FolderWatch] = {}
        self._by_folder: dict[Path, list[Live]] = {}
        self._closed = False

    async def watch(self, lives: Sequence[Live], tasks: TaskGroup) -> None:
        """Follow what *lives* wait for, and nothing else."""
        if self._beats is not None:
            self._beats.cancel()
            self._beats = None
        beats = {each.spec.name: each for each in lives if each.spec.kind == "beat"}
        if beats and self._timeline is not None:
            specs = [each.spec for each in beats.values()]
            watch = BeatWatch(
                self._timeline, specs, lambda spec, beat, tempo: self._beat(beats[spec.name], beat, tempo)
            )
            self._beats = tasks.start(watch.run(), "beats")
        self._by_folder = {}
        for each in lives:
            if each.spec.kind == "file":
                self._by_folder.setdefault(Path(each.spec.folder).expanduser(), []).append(each)
        for folder in set(self.folders) - set(self._by_folder):
            if (gone := self.folders.pop(folder, None)) is not None:
                await asyncio.to_thread(gone.close)
        for folder in set(self._by_folder) - set(self.folders):
            if self._closed:
                return
            watched = FolderWatch(folder, self._stirred, self._appeared)
            self.folders[folder] = watched
            await asyncio.to_thread(watched.start, self._clock.monotonic)

    async def close(self) -> None:
        """Follow nothing."""
        self._closed = True
        if self._beats is not None:
            self._beats.cancel()
        folders, self.folders = self.folders, {}
        for each in folders.values():
            await asyncio.to_thread(each.close)

    @property
    def busy(self) -> bool:
        """Say whether a file is not at rest yet."""
        return any(each.busy for each in self.folders.values())

    def _beat(self, live: Live, beat: float, tempo: float) -> None:
        names = {"beat": beat, "tempo": tempo, "trigger": live.spec.name}
        self._hand(live, Happening(names, f"beat {beat + 1:g} at {tempo:g} bpm"))

    def _appeared(self, path: Path, size: int) -> None:
        for live in self._by_folder.get(path.parent, ()):
            if matches(path.name, live.spec.glob):
                name = said(path.name)
                names = {"file": said(str(path)), "name": name, "size": size, "trigger": live.spec.name}
                self._hand(live, Happening(names, f"{name} of {size} bytes appeared", file=str(path)))
