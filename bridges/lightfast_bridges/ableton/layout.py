"""What a Live set consists of: how many tracks, scenes, clips, devices, sends, and their names."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from lightfast_bridges.ableton.asking import Asker, NoAnswerError
from lightfast_bridges.ableton.names import MAIN, NOT_OF_EXTRAS, NOT_OF_MAIN
from lightfast_bridges.ableton.paths import Id

SLOTS_AT_ONCE = 256
"""Clip slots per `track_data` question, at least one track: an answer must fit one datagram."""
TRACKS_AT_ONCE = 8
MAX_TRACKS = 256
MAX_SCENES = 512
MAX_SENDS = 12
"""Live has at most 12 return tracks."""
MAX_CHAINS = 32
"""The most chains of one rack that are followed."""
COLUMNS = ("track.name", "track.can_be_armed", "track.color", "track.has_midi_input")


class Depth(IntEnum):
    """How much of a set is followed: each step takes in the ones before it."""

    SONG = 0
    TRACKS = 1
    CLIPS = 2
    PARAMETERS = 3
    CHAINS = 4


@dataclass(slots=True)
class Device:
    """One device: its name and class, and name, range and steps of each parameter."""

    name: str
    class_name: str = ""
    names: list[str] = field(default_factory=list)
    ranges: list[tuple[float, float]] = field(default_factory=list)
    quantized: list[bool] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)


@dataclass(slots=True)
class Chain:
    """One chain of a rack."""

    name: str
    devices: list[Device] = field(default_factory=list)


@dataclass(slots=True)
class Track:
    """One track; *clips* says for each slot whether it holds a clip, *clip_names* how it is called."""

    name: str
    can_be_armed: bool
    clips: list[bool]
    devices: list[Device] = field(default_factory=list)
    color: int = 0
    midi: bool = False
    clip_names: list[str] = field(default_factory=list)

    def look(self) -> tuple[Hashable, ...]:
        """Return what it can be told by."""
        devices = tuple((device.name, device.class_name) for device in self.devices)
        return (self.name, self.color, self.can_be_armed, self.midi, devices)


@dataclass(slots=True)
class Layout:
    """The set. *problem* is not empty where it is larger than what is followed.

    *extras* are the return tracks and the main track by AbletonOSC's names for them, where it is a fork that has them.
    """

    tracks: list[Track] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    sends: int = 0
    problem: str = ""
    extras: dict[str, Track] = field(default_factory=dict)
    send_names: list[str] = field(default_factory=list)
    depth: Depth = Depth.PARAMETERS

    def fingerprint(self) -> str:
        """Return what tells this set from another one: Live does not tell AbletonOSC its name."""
        named = ["\0".join(["track", track.name, *(device.name for device in track.devices)]) for track in self.tracks]
        named += ["\0".join(["scenes", *self.scenes])]
        return "set-" + hashlib.sha256("\1".join(named).encode("utf-8", "replace")).hexdigest()[:16]

    def every(self) -> Iterator[tuple[Id, Track]]:
        """Yield all tracks: those with an index, then the others."""
        yield from enumerate(self.tracks)
        yield from self.extras.items()

    def track(self, number: Id) -> Track | None:
        """Return one track."""
        if isinstance(number, str):
            return self.extras.get(number)
        return self.tracks[number] if number < len(self.tracks) else None

    def device(self, stem: str, ids: tuple[Id, ...]) -> Device | None:
        """Return the device that the first of *ids* name."""
        track = self.track(ids[0])
        devices = track.devices if track is not None else []
        at = [int(one) for one in ids[1:]]
        if stem == "chain/device":
            if at[0] >= len(devices) or at[1] >= len(devices[at[0]].chains):
                return None
            devices, at = devices[at[0]].chains[at[1]].devices, at[2:]
        return devices[at[0]] if at[0] < len(devices) else None

    def has(self, stem: str, verb: str, ids: tuple[Id, ...]) -> bool:
        """Say whether the object that *ids* name exists, and has such a property."""
        if stem in ("song", "view", "application"):
            return not ids
        if stem == "scene":
            return int(ids[0]) < len(self.scenes)
        track = self.track(ids[0]) if ids else None
        if track is None:
            return False
        if stem == "track":
            return self._track_has(track, verb, ids)
        if stem in ("device", "chain/device"):
            device, count = self.device(stem, ids), 2 if stem == "device" else 4
            return device is not None and (len(ids) == count or int(ids[count]) < len(device.ranges))
        at = [int(one) for one in ids[1:]]
        if stem == "chain":
            return at[0] < len(track.devices) and at[1] < len(track.devices[at[0]].chains)
        return at[0] < len(track.clips) and (stem == "clip_slot" or track.clips[at[0]])

    def _track_has(self, track: Track, verb: str, ids: tuple[Id, ...]) -> bool:
        if isinstance(ids[0], str):
            return verb != "send" and verb not in NOT_OF_EXTRAS and (ids[0] != MAIN or verb not in NOT_OF_MAIN)
        if verb == "send":
            return int(ids[1]) < self.sends
        return verb != "arm" or track.can_be_armed

    def slots(self) -> Iterator[tuple[int, int]]:
        """Yield track and scene of each slot."""
        for index, track in enumerate(self.tracks):
            for scene in range(len(track.clips)):
                yield index, scene

    def devices(self) -> Iterator[tuple[str, tuple[Id, ...], Device]]:
        """Yield how the addresses of each device begin, its indices, and itself."""
        for number, track in self.every():
            for at, device in enumerate(track.devices):
                yield "device", (number, at), device
                for chain_at, chain in enumerate(device.chains):
                    for inner_at, inner in enumerate(chain.devices):
                        yield "chain/device", (number, at, chain_at, inner_at), inner


async def read_layout(asker: Asker, depth: Depth = Depth.PARAMETERS) -> Layout:
    """Ask Live for its set; raise `NoAnswerError`."""
    counts = await asyncio.gather(asker.ask("/live/song/get/num_tracks"), asker.ask("/live/song/get/num_scenes"))
    tracks, scenes = (int(count[0]) for count in counts)
    layout = Layout(depth=depth)
    if tracks > MAX_TRACKS or scenes > MAX_SCENES:
        layout.problem = (
            f"the set has {tracks} tracks and {scenes} scenes; "
            f"only the first {MAX_TRACKS} and {MAX_SCENES} are followed"
        )
    names = await asker.ask("/live/song/get/scenes/name", begins=()) if scenes else ()
    layout.scenes = [str(name) for name in names[:scenes]][:MAX_SCENES]
    if depth is Depth.SONG:
        return layout
    step = max(1, min(TRACKS_AT_ONCE, SLOTS_AT_ONCE // max(1, scenes)))
    for first in range(0, min(tracks, MAX_TRACKS), step):
        last = min(first + step, tracks, MAX_TRACKS)
        layout.tracks += await _tracks(asker, first, last, scenes, depth)
    if depth >= Depth.CLIPS:
        await asyncio.gather(*(_clip_names(asker, index, track) for index, track in enumerate(layout.tracks)))
    await _extras(asker, layout)
    if depth >= Depth.PARAMETERS:
        unread = sum(await asyncio.gather(*(_devices(asker, *one, depth) for one in layout.every())))
        if unread and not layout.problem:
            layout.problem = f"{unread} devices have more parameters than fit one datagram, and are not followed"
    if not layout.send_names:
        layout.sends = await _sends(asker) if layout.tracks else 0
    return layout


async def _extras(asker: Asker, layout: Layout) -> None:
    """Look for the main track and the return tracks, which only forks of AbletonOSC have.

    As its pull requests #197 and #205 do it: `master` and `return_0` take the place of a track's index.
    """
    main = await asker.offers("/live/track/get/name", MAIN)
    if main is None or len(main) < 2 or main[0] != MAIN:
        return
    layout.extras[MAIN] = Track(str(main[1]), can_be_armed=False, clips=[])
    names = await asker.offers("/live/song/get/return_track_names")
    if names is not None:
        layout.send_names = [str(name) for name in names[:MAX_SENDS]]
        layout.sends = len(layout.send_names)
        for number, name in enumerate(layout.send_names):
            layout.extras[f"return_{number}"] = Track(name, can_be_armed=False, clips=[])


async def _sends(asker: Asker) -> int:
    """Return how many sends there are; one after the other: an error holds up what was sent after it."""
    for number in range(MAX_SENDS):
        if await asker.probe("/live/track/get/send", 0, number) is None:
            return number
    return MAX_SENDS


async def _tracks(asker: Asker, first: int, last: int, scenes: int, depth: Depth) -> list[Track]:
    wanted = (*COLUMNS, "clip_slot.has_clip") if depth >= Depth.CLIPS else COLUMNS
    for _ in range(3):
        size = len(COLUMNS) + (scenes if depth >= Depth.CLIPS else 0)
        data = await asker.ask("/live/song/get/track_data", first, last, *wanted, begins=())
        if len(data) == (last - first) * size:  # else it answers an earlier question, or the set has changed
            return [_track(data[at : at + size]) for at in range(0, len(data), size)]
        scenes = int((await asker.ask("/live/song/get/num_scenes"))[0])
    raise NoAnswerError("the set keeps changing while it is read")


def _track(data: tuple[Any, ...]) -> Track:
    name, can_be_armed, color, midi, *clips = data
    return Track(
        str(name),
        bool(can_be_armed),
        [bool(held) for held in clips][:MAX_SCENES],
        color=color if isinstance(color, int) else 0,
        midi=bool(midi),
    )


async def _clip_names(asker: Asker, index: int, track: Track) -> None:
    """Read what the clips are called, which tells scenes from each other; without it they are told by their names."""
    if not any(track.clips):
        return
    try:
        names = await asker.ask("/live/track/get/clips/name", index, tries=1)
    except NoAnswerError:
        return
    track.clip_names = [str(name) if name is not None else "" for name in names[1:]]


async def _devices(asker: Asker, number: Id, track: Track, depth: Depth) -> int:
    """Read the devices of a track; return how many could not be read."""
    names, classes = await asyncio.gather(
        asker.ask("/live/track/get/devices/name", number), asker.ask("/live/track/get/devices/class_name", number)
    )
    track.devices = [
        Device(str(name), str(class_name)) for name, class_name in zip(names[1:], classes[1:], strict=False)
    ]
    found = await asyncio.gather(
        *(_parameters(asker, "device", (number, at), device) for at, device in enumerate(track.devices))
    )
    unread = found.count(False)
    if depth >= Depth.CHAINS:
        for at, device in enumerate(track.devices):
            unread += await _chains(asker, (number, at), device)
    return unread


async def _chains(asker: Asker, ids: tuple[Id, ...], rack: Device) -> int:
    """Read the chains of a rack, where AbletonOSC has them; return how many devices could not be read."""
    if not await asker.knows("/live/device/get/num_chains", *ids):
        return 0
    count = (await asker.ask("/live/device/get/num_chains", *ids))[2]
    unread = 0
    for at in range(min(int(count), MAX_CHAINS)):
        name = (await asker.ask("/live/chain/get/name", *ids, at))[3]
        chain = Chain(str(name))
        names = (await asker.ask("/live/chain/device/get/devices/name", *ids, at))[3:]
        for inner_at, inner_name in enumerate(names):
            inner = Device(str(inner_name))
            unread += not await _parameters(asker, "chain/device", (*ids, at, inner_at), inner)
            chain.devices.append(inner)
        rack.chains.append(chain)
    return unread


async def _parameters(asker: Asker, stem: str, ids: tuple[Id, ...], device: Device) -> bool:
    """Read what is fixed of a device's parameters; false where Live cannot tell it in one datagram."""
    asked = (asker.ask(f"/live/{stem}/get/parameters/{one}", *ids) for one in ("name", "min", "max", "is_quantized"))
    try:
        names, low, high, steps = await asyncio.gather(*asked)
    except NoAnswerError:
        return False
    first = len(ids)
    device.names = [str(name) for name in names[first:]]
    device.ranges = [(float(a), float(b)) for a, b in zip(low[first:], high[first:], strict=False)]
    device.quantized = [bool(one) for one in steps[first:]]
    return True
