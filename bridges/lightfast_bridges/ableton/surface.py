"""The mirror of one Live set: what Live tells becomes reports, and all of it is listened to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from lightfast.sdk import AppSession, Change, OscMessage, Value
from lightfast_bridges.ableton.asking import Asker, NoAnswerError, Send
from lightfast_bridges.ableton.layout import Layout, read_layout
from lightfast_bridges.ableton.listening import Listeners
from lightfast_bridges.ableton.names import KINDS, PARAMETER, Follow
from lightfast_bridges.ableton.paths import Target, followed, target, target_of, to_value
from lightfast_bridges.ableton.wishes import Wishes

log = structlog.get_logger("lightfast.bridges.ableton")

_BULK = {one.name: one for one in PARAMETER if one.follow is Follow.POLL}


class Surface:
    """What is known of one Live set, and the one client that listens to it."""

    def __init__(self, asker: Asker, send: Send, *, meters: bool, parameters: int) -> None:
        """*meters* listens to the tracks' meters; *parameters* is how many of each device are followed."""
        self.layout = Layout()
        self.listeners = Listeners(asker, send)
        self.wishes: Wishes | None = None
        self.session: AppSession | None = None
        self.stale = asyncio.Event()
        """Set when tracks, scenes, clips or devices are not what the layout says."""
        self._asker = asker
        self._meters = meters
        self._parameters = parameters
        self._held: dict[str, Value] = {}
        self._polled: list[Target] = []
        self._full = False

    def held(self, path: str) -> Value | None:
        """Return what Live holds at *path*, as far as it is known."""
        return self._held.get(path)

    # ------------------------------------------------------------------ from Live

    def hear(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up and report what they tell."""
        if self.session is None:
            return
        changes: list[Change] = []
        for address, _, args in messages:
            for found, raw in _told(address, tuple(args)):
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
        if found.verb == "has_clip" and bool(value) != self.layout.tracks[found.ids[0]].clips[found.ids[1]]:
            self.stale.set()
        known = self._held.get(path)
        self._held[path] = value
        settled = self.wishes is not None and self.wishes.hear(path, value)
        if self._full or (not settled and (found.prop.signal or value != known or type(value) is not type(known))):
            changes.append(Change(path, value))

    # ------------------------------------------------------------------ into step

    async def synchronize(self, *, full: bool, layout: Layout | None = None) -> None:
        """Read the set, listen to all of it, and report it: whole when *full*, else what has changed.

        *layout* is given where it has just been read. Raises `NoAnswerError` where Live does not answer.
        """
        self.stale.clear()
        self._full = self._full or full
        try:
            layout = layout or await read_layout(self._asker)
            self._adopt(layout)
            await self.listeners.keep(self._wanted(), self._exists)
            self._polled = [*self._polls(), *self.listeners.deaf]
            reading = [self._read(one) for one in self._polled]
            reading += [self._read_parameters(*ids) for ids in self._devices()]
            await asyncio.gather(*reading)
        finally:
            self._full = False
        if self.session is not None:
            self.session.degraded(layout.problem)

    def _adopt(self, layout: Layout) -> None:
        """Take a new layout; report what it does not have any more as gone."""
        self.layout = layout
        if self.wishes is not None:
            self.wishes.reject_gone(layout)
        gone = [path for path in self._held if (at := target_of(path)) is None or not self._exists(at)]
        for path in gone:
            del self._held[path]
        if gone and self.session is not None:
            self.session.report([Change(path, None) for path in gone])

    def _exists(self, at: Target) -> bool:
        return self.layout.has(at.stem, at.verb, at.ids)

    def _objects(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield kind and indices of every object."""
        yield "song", ()
        yield "view", ()
        for scene in range(len(self.layout.scenes)):
            yield "scene", (scene,)
        for index in range(len(self.layout.tracks)):
            yield "track", (index,)
        for track, scene in self.layout.slots():
            yield "clip_slot", (track, scene)
            if self.layout.tracks[track].clips[scene]:
                yield "clip", (track, scene)
        for track, device in self._devices():
            yield "device", (track, device)

    def _devices(self) -> Iterator[tuple[int, int]]:
        for index, track in enumerate(self.layout.tracks):
            for device in range(len(track.devices)):
                yield index, device

    def _wanted(self) -> Iterator[Target]:
        """Yield all that is listened to for the mirror itself."""
        yield target("song", "beat")
        for stem, ids in self._objects():
            for name in followed(stem):
                found = target(stem, name, *ids)
                if self._exists(found):
                    yield found
            if stem == "track" and self._meters:
                yield target("track", "output_meter_level", *ids)
            if stem == "device":
                ranges = self.layout.tracks[ids[0]].devices[ids[1]].ranges
                for parameter in range(min(len(ranges), self._parameters)):
                    yield target("device", "parameter/value", *ids, parameter)

    def _polls(self) -> Iterator[Target]:
        """Yield all that can only be read."""
        for stem, ids in self._objects():
            for name in followed(stem, Follow.POLL):
                yield target(stem, name, *ids)
        for track in range(len(self.layout.tracks)):
            for send in range(self.layout.sends):
                yield target("track", "send", track, send)

    def polled(self) -> list[Target]:
        """Return what must be read again from time to time: it can change, and Live does not tell."""
        fixed = {"name", "class_name", "type"}
        return [
            one for one in self._polled if one.stem != "device" or one.verb not in fixed or one.path not in self._held
        ]

    async def read(self, targets: Sequence[Target]) -> None:
        """Read some properties; what Live tells comes in through `hear`."""
        await asyncio.gather(*(self._read(one) for one in targets))

    async def _read(self, one: Target) -> None:
        try:
            await self._asker.ask(one.get, *one.ids, tries=2)
        except NoAnswerError as error:
            log.debug("property not readable", path=one.path, error=str(error))

    async def _read_parameters(self, track: int, device: int) -> None:
        """Read names, ranges and values of a device's parameters, all at once."""
        names = ("name", "min", "max", "is_quantized", "value")
        await asyncio.gather(*(self._asker.ask(f"/live/device/get/parameters/{name}", track, device) for name in names))


def _told(address: str, args: tuple[Any, ...]) -> Iterator[tuple[Target, Any]]:
    """Yield the properties one message tells, and their raw values."""
    _, _, rest = address.partition("/live/")
    stem, _, rest = rest.partition("/")
    verb, _, name = rest.partition("/")
    kind = KINDS.get(stem)
    if kind is None or verb != "get":
        return
    if stem == "device" and name.startswith("parameters/"):
        yield from _told_parameters(name[11:], args)
        return
    count = kind.ids
    if stem == "track" and name == "send":
        count = 2
    elif stem == "device" and name.startswith("parameter/"):
        count = 3
    if len(args) <= count or not all(_index(one) for one in args[:count]):
        return
    try:
        yield target(stem, name, *(int(one) for one in args[:count])), args[count]
    except KeyError:
        return


def _told_parameters(name: str, args: tuple[Any, ...]) -> Iterator[tuple[Target, Any]]:
    if (name in _BULK or name == "value") and len(args) > 2 and _index(args[0]) and _index(args[1]):
        for number, raw in enumerate(args[2:]):
            yield target("device", f"parameter/{name}", int(args[0]), int(args[1]), number), raw


def _index(raw: Any) -> bool:
    return isinstance(raw, (int, float)) and not isinstance(raw, bool) and raw >= 0 and float(raw).is_integer()
