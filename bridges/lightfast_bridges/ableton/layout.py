"""What a Live set consists of: how many tracks, scenes, clips, devices, sends, and their names."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lightfast_bridges.ableton.asking import Asker, NoAnswerError

TRACKS_AT_ONCE = 8
"""Tracks per `track_data` question: an answer must fit one datagram."""
MAX_TRACKS = 256
MAX_SCENES = 512
MAX_SENDS = 12
"""Live has at most 12 return tracks."""


@dataclass(slots=True)
class Device:
    """One device: its name, and the range of each parameter."""

    name: str
    ranges: list[tuple[float, float]] = field(default_factory=list)


@dataclass(slots=True)
class Track:
    """One track; *clips* says for each slot whether it holds a clip."""

    name: str
    can_be_armed: bool
    clips: list[bool]
    devices: list[Device] = field(default_factory=list)


@dataclass(slots=True)
class Layout:
    """The set. *problem* is not empty where it is larger than what is followed."""

    tracks: list[Track] = field(default_factory=list)
    scenes: list[str] = field(default_factory=list)
    sends: int = 0
    problem: str = ""

    def fingerprint(self) -> str:
        """Return what tells this set from another one: Live does not tell AbletonOSC its name."""
        named = ["\0".join(["track", track.name, *(device.name for device in track.devices)]) for track in self.tracks]
        named += ["\0".join(["scenes", *self.scenes])]
        return "set-" + hashlib.sha256("\1".join(named).encode("utf-8", "replace")).hexdigest()[:16]

    def has(self, stem: str, verb: str, ids: tuple[int, ...]) -> bool:
        """Say whether the object that *ids* name exists."""
        if stem in ("song", "view"):
            return not ids
        if stem == "scene":
            return ids[0] < len(self.scenes)
        if not ids or ids[0] >= len(self.tracks):
            return False
        track = self.tracks[ids[0]]
        if stem == "track":
            if verb == "send":
                return ids[1] < self.sends
            return verb != "arm" or track.can_be_armed
        if stem == "device":
            return ids[1] < len(track.devices) and (len(ids) < 3 or ids[2] < len(track.devices[ids[1]].ranges))
        return ids[1] < len(track.clips) and (stem == "clip_slot" or track.clips[ids[1]])

    def slots(self) -> Iterator[tuple[int, int]]:
        """Yield track and scene of each slot."""
        for index, track in enumerate(self.tracks):
            for scene in range(len(track.clips)):
                yield index, scene


async def read_layout(asker: Asker) -> Layout:
    """Ask Live for its set; raise `NoAnswerError`."""
    counts = await asyncio.gather(asker.ask("/live/song/get/num_tracks"), asker.ask("/live/song/get/num_scenes"))
    tracks, scenes = (int(count[0]) for count in counts)
    layout = Layout()
    if tracks > MAX_TRACKS or scenes > MAX_SCENES:
        layout.problem = (
            f"the set has {tracks} tracks and {scenes} scenes; "
            f"only the first {MAX_TRACKS} and {MAX_SCENES} are followed"
        )
    names = await asker.ask("/live/song/get/scenes/name", begins=()) if scenes else ()
    layout.scenes = [str(name) for name in names[:scenes]][:MAX_SCENES]
    for first in range(0, min(tracks, MAX_TRACKS), TRACKS_AT_ONCE):
        last = min(first + TRACKS_AT_ONCE, tracks, MAX_TRACKS)
        layout.tracks += await _tracks(asker, first, last, scenes)
    await asyncio.gather(*(_devices(asker, index, track) for index, track in enumerate(layout.tracks)))
    layout.sends = await _sends(asker) if layout.tracks else 0
    return layout


async def _sends(asker: Asker) -> int:
    """Return how many sends there are; one after the other: an error holds up what was sent after it."""
    for number in range(MAX_SENDS):
        if await asker.probe("/live/track/get/send", 0, number) is None:
            return number
    return MAX_SENDS


async def _tracks(asker: Asker, first: int, last: int, scenes: int) -> list[Track]:
    wanted = ("track.name", "track.can_be_armed", "clip_slot.has_clip")
    size = 2 + scenes
    for _ in range(3):
        data = await asker.ask("/live/song/get/track_data", first, last, *wanted, begins=())
        if len(data) == (last - first) * size:  # else it answers an earlier question, or the set has changed
            return [_track(data[at : at + size]) for at in range(0, len(data), size)]
        scenes = int((await asker.ask("/live/song/get/num_scenes"))[0])
        size = 2 + scenes
    raise NoAnswerError("the set keeps changing while it is read")


def _track(data: tuple[Any, ...]) -> Track:
    return Track(str(data[0]), bool(data[1]), [bool(held) for held in data[2:]][:MAX_SCENES])


async def _devices(asker: Asker, index: int, track: Track) -> None:
    names = (await asker.ask("/live/track/get/devices/name", index))[1:]
    ranges = await asyncio.gather(*(_ranges(asker, index, number) for number in range(len(names))))
    track.devices = [Device(str(name), found) for name, found in zip(names, ranges, strict=True)]


async def _ranges(asker: Asker, track: int, device: int) -> list[tuple[float, float]]:
    low, high = await asyncio.gather(
        asker.ask("/live/device/get/parameters/min", track, device),
        asker.ask("/live/device/get/parameters/max", track, device),
    )
    return [(float(a), float(b)) for a, b in zip(low[2:], high[2:], strict=False)]
