"""The mirror of one Live set: what Live tells becomes reports, and all of it is listened to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import structlog

from lightfast.sdk import AppSession, Change, Value
from lightfast_bridges.ableton.asking import Asker, NoAnswerError, Send
from lightfast_bridges.ableton.declared import declared
from lightfast_bridges.ableton.doubts import Doubts
from lightfast_bridges.ableton.layout import Depth, Layout, read_layout
from lightfast_bridges.ableton.listening import Listeners
from lightfast_bridges.ableton.names import Follow
from lightfast_bridges.ableton.objects import Objects
from lightfast_bridges.ableton.paths import Id, Target, followed, target, target_of, to_value, told
from lightfast_bridges.ableton.shift import MAX_MOVES, Shift
from lightfast_bridges.ableton.wishes import Wishes

log = structlog.get_logger("lightfast.bridges.ableton")

STRIKES = 2
"""How often a property may leave a question unanswered until it is not read any more: an error costs Live a tick."""
Heard = tuple[str, tuple[Any, ...], bool]
"""Address and arguments of a message, and whether it answered a question."""


class Surface:
    """What is known of one Live set, and the one client that listens to it."""

    def __init__(
        self,
        asker: Asker,
        send: Send,
        objects: Objects,
        *,
        meters: bool = False,
        parameters: int = 64,
        depth: Depth = Depth.PARAMETERS,
        held_elsewhere: Callable[[Target], bool] = lambda _: False,
    ) -> None:
        """*meters* listens to the tracks' meters; *parameters* is how many of each device are followed."""
        self.layout = Layout()
        self.listeners = Listeners(asker, send, held_elsewhere)
        self.wishes: Wishes | None = None
        self.session: AppSession | None = None
        self.stale = asyncio.Event()
        """Set when tracks, scenes, clips or devices are not what the layout says."""
        self._asker = asker
        self._objects = objects
        self._meters = meters
        self._parameters = parameters
        self._depth = depth
        self.doubts = Doubts(send, self._exists)
        self._held: dict[str, Value] = {}
        self._polled: list[Target] = []
        self._declared = declared(Layout(), self.held)
        self._silent: Counter[Target] = Counter()
        self._full = False
        self._read_once = False

    def held(self, path: str) -> Value | None:
        """Return what Live holds at *path*, as far as it is known."""
        return self._held.get(path)

    def reloaded(self) -> None:
        """Take it that AbletonOSC was loaded anew: it has forgotten all listeners."""
        self.doubts.clear()
        self.stale.set()

    # ------------------------------------------------------------------ from Live

    def hear(self, messages: Sequence[Heard]) -> None:
        """Take the messages of one wake-up and report what they tell."""
        if self.session is None:
            return
        changes: list[Change] = []
        for address, args, solicited in messages:
            for found, raw in told(address, args):
                if solicited or self.doubts.trusts(found):
                    self._take(found, raw, changes)
        if changes:
            self.session.report(changes)

    def _take(self, found: Target, raw: Any, changes: list[Change]) -> None:
        """Turn one value Live told into a change, where it is one."""
        if not self.layout.has(found.stem, found.verb, found.ids):
            return  # a listener left over from an object that had this index before
        path = found.path
        value = to_value(found.prop, raw)
        if value is None:
            if raw is None and self._held.pop(path, None) is not None:
                changes.append(Change(path, None))
            return
        if found.verb == "has_clip" and bool(value) != self.layout.tracks[int(found.ids[0])].clips[int(found.ids[1])]:
            self.stale.set()
        known = self._held.get(path)
        self._held[path] = value
        settled = self.wishes is not None and self.wishes.hear(path, value)
        if settled:  # what Live told of it before, in the same wake-up, would be reported after it
            changes[:] = [one for one in changes if one.path != path]
        if self._full or (not settled and (found.prop.signal or value != known or type(value) is not type(known))):
            changes.append(Change(path, value, object_id=self._objects.of(found)))

    # ------------------------------------------------------------------ into step

    async def synchronize(self, *, full: bool, layout: Layout | None = None) -> None:
        """Read the set, listen to all of it, and report it: whole when *full*, else what has changed.

        *layout* is given where it has just been read. Raises `NoAnswerError` where Live does not answer.
        """
        self.stale.clear()
        self._full = self._full or full
        try:
            layout = layout or await read_layout(self._asker, self._depth)
            self._adopt(layout)
            await self.listeners.keep(self._wanted(), self._exists, self.doubts.stuck, self.doubts.covered)
            self._polled = [*self._polls(), *self._deaf()]
            reading: list[Awaitable[Any]] = [self._read(one) for one in (*self._polled, *self._unsure())]
            reading += [
                self._asker.ask(f"/live/{stem}/get/parameters/value", *ids)
                for stem, ids, device in layout.devices()
                if device.ranges
            ]
            await asyncio.gather(*reading)
        finally:
            self._full = False
        if self.session is not None:
            self.session.degraded(layout.problem)
            known = declared(layout, self.held)
            if known != self._declared:
                self._declared = known
                self.session.declare(known)

    def _adopt(self, layout: Layout) -> None:
        """Take a new layout: what moved is reported as moved, what it does not have any more as gone."""
        changes: list[Change] = []
        shift = Shift(self.layout, layout) if self._read_once else None
        self._objects.follow(layout)
        if shift is not None:
            changes += self._relocate(shift)
        self.layout, self._read_once = layout, True
        if self.wishes is not None:
            if shift is not None:
                self.wishes.relocate(shift)
            self.wishes.reject_gone(layout)
        gone = [path for path in self._held if (at := target_of(path)) is None or not self._exists(at)]
        for path in gone:
            del self._held[path]
        changes += [Change(path, None) for path in gone]
        for found, raw in _known(layout):
            self._take(found, raw, changes)
        if changes and self.session is not None:
            self.session.report(changes)

    def _relocate(self, shift: Shift) -> list[Change]:
        """Follow what moved, and return the changes that say so: first what is gone, then the moves."""
        steps = shift.steps()
        present = {root for path in self._held for root in _roots(path)}
        if len(steps) > MAX_MOVES:
            return []
        held: dict[str, Value] = {}
        for path, value in self._held.items():
            at = target_of(path)
            there = shift.where(at) if at is not None else None
            if there is not None:
                held[there.path] = value
        self._held = held
        self._silent.clear()
        self.doubts.follow(shift, self.listeners.targets())
        changes = [Change(root, None) for root in shift.gone() if root in present]
        return changes + [Change(step.target, None, moved_from=step.source) for step in steps if step.origin in present]

    def _exists(self, at: Target) -> bool:
        return self.layout.has(at.stem, at.verb, at.ids)

    def _objects_of(self) -> Iterator[tuple[str, tuple[Id, ...]]]:
        """Yield kind and indices of every object."""
        for stem in ("application", "song", "view"):
            yield stem, ()
        for scene in range(len(self.layout.scenes)):
            yield "scene", (scene,)
        for number, track in self.layout.every():
            yield "track", (number,)
            for at, device in enumerate(track.devices):
                yield "device", (number, at)
                for chain in range(len(device.chains)):
                    yield "chain", (number, at, chain)
        for number, scene in self.layout.slots():
            yield "clip_slot", (number, scene)
            if self.layout.tracks[number].clips[scene]:
                yield "clip", (number, scene)

    def _wanted(self) -> Iterator[Target]:
        """Yield all that is listened to for the mirror itself."""
        yield target("song", "beat")
        for stem, ids in self._objects_of():
            for name in followed(stem, ids[0] if ids else 0):
                found = target(stem, name, *ids)
                if self._exists(found):
                    yield found
            if stem == "track" and self._meters:
                yield target("track", "output_meter_level", *ids)
        for stem, ids, device in self.layout.devices():
            if stem == "device":
                for parameter in range(min(len(device.ranges), self._parameters)):
                    yield target("device", "parameter/value", *ids, parameter)

    def _polls(self) -> Iterator[Target]:
        """Yield all that can only be read."""
        for stem, ids in self._objects_of():
            for name in followed(stem, ids[0] if ids else 0, Follow.POLL):
                if self.layout.has(stem, name, ids):
                    yield target(stem, name, *ids)
        for track in range(len(self.layout.tracks)):
            for send in range(self.layout.sends):
                yield target("track", "send", track, send)
        for stem, ids, device in self.layout.devices():
            if stem != "device":
                for parameter in range(min(len(device.ranges), self._parameters)):
                    yield target(stem, "parameter/value", *ids, parameter)

    def _unsure(self) -> Iterator[Target]:
        """Yield what was not started again: while indices changed, an answer may have been taken for another one's."""
        for one in self.listeners.targets():
            if not self.doubts.stuck(one):
                continue
            if one.verb == "parameter/value":  # the values of all parameters are read anyway
                yield target(one.stem, "parameter/value_string", *one.ids)
            else:
                yield one

    def _deaf(self) -> Iterator[Target]:
        """Yield what should be listened to and cannot be."""
        for one in self.listeners.deaf:
            yield one
            if one.verb == "parameter/value":  # its listener would have told the text, too
                yield target(one.stem, "parameter/value_string", *one.ids)

    def polled(self) -> list[Target]:
        """Return what must be read again from time to time: it can change, and Live does not tell."""
        fixed = {"name", "class_name", "type", "version"}
        return [
            one
            for one in self._polled
            if one.stem not in ("device", "application") or one.verb not in fixed or one.path not in self._held
        ]

    async def read(self, targets: Sequence[Target]) -> None:
        """Read some properties; what Live tells comes in through `hear`."""
        await asyncio.gather(*(self._read(one) for one in targets))

    async def _read(self, one: Target) -> None:
        if self._silent[one] >= STRIKES:
            return
        try:
            await self._asker.ask(one.get, *one.ids, tries=2)
        except NoAnswerError as error:
            self._silent[one] += 1
            log.debug("property not readable", path=one.path, error=str(error))


def _roots(path: str) -> Iterator[str]:
    """Yield *path* and all it lies in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _known(layout: Layout) -> Iterator[tuple[Target, Any]]:
    """Yield what the layout itself says of parameters."""
    for stem, ids, device in layout.devices():
        for number, (low, high) in enumerate(device.ranges):
            for verb, raw in (("min", low), ("max", high)):
                yield target(stem, f"parameter/{verb}", *ids, number), raw
        for number, (name, steps) in enumerate(zip(device.names, device.quantized, strict=False)):
            if number < len(device.ranges):
                yield target(stem, "parameter/name", *ids, number), name
                yield target(stem, "parameter/is_quantized", *ids, number), steps
