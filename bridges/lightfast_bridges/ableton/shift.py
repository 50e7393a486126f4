"""From one layout of a set to the next: which object lies where now, and the moves that bring it there."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from lightfast_bridges.ableton.identity import TEMPORARY, moves, pair, removed
from lightfast_bridges.ableton.layout import Layout, Track
from lightfast_bridges.ableton.names import MAIN
from lightfast_bridges.ableton.paths import Id, Target, place

MAX_MOVES = 2000
"""The most moves of one change; beyond it every value is reported where it lies now."""


@dataclass(frozen=True, slots=True)
class Step:
    """One move of a subtree; *origin* is where it lay before the first of them."""

    source: str
    target: str
    origin: str


class Shift:
    """What became of the objects of *old* in *new*."""

    def __init__(self, old: Layout, new: Layout) -> None:
        self._old = old
        self.tracks = pair([track.look() for track in old.tracks], [track.look() for track in new.tracks])
        self.scenes = pair(*_rows(old, new, self.tracks))
        self.sends = pair([(name,) for name in old.send_names], [(name,) for name in new.send_names])
        self._track_now: dict[Id, Id] = {before: now for now, before in enumerate(self.tracks) if before is not None}
        self._send_now = {before: now for now, before in enumerate(self.sends) if before is not None}
        self._scene_now = {before: now for now, before in enumerate(self.scenes) if before is not None}
        if MAIN in old.extras and MAIN in new.extras:
            self._track_now[MAIN] = MAIN
        self._track_now |= {f"return_{before}": f"return_{now}" for before, now in self._send_now.items()}
        self._devices: dict[Id, list[int | None]] = {}
        for number, track in old.every():
            now = new.track(self._track_now[number]) if number in self._track_now else None
            if now is not None:
                self._devices[number] = pair(_devices(track), _devices(now))

    def where(self, target: Target) -> Target | None:
        """Return where a property lies now; `None` where its object is gone."""
        ids = target.ids
        if target.stem in ("song", "view", "application"):
            return target
        if target.stem == "scene":
            scene = self._scene_now.get(int(ids[0]))
            return None if scene is None else target.at(scene)
        track = self._track_now.get(ids[0])
        if track is None or len(ids) == 1:
            return None if track is None else target.at(track)
        inner: int | None = int(ids[1])
        if target.stem == "track":
            inner = self._send_now.get(int(ids[1])) if self._old.send_names else inner
        elif target.stem in ("clip", "clip_slot"):
            inner = self._scene_now.get(int(ids[1]))
        else:
            found = self._devices.get(ids[0], [])
            inner = found.index(int(ids[1])) if int(ids[1]) in found else None
        return None if inner is None else target.at(track, inner, *ids[2:])

    def gone(self) -> Iterator[str]:
        """Yield the paths of what is gone, as they were."""
        for track in removed(len(self._old.tracks), self.tracks):
            yield f"tracks/{track}"
        for scene in removed(len(self._old.scenes), self.scenes):
            yield f"scenes/{scene}"
            for number in range(len(self._old.tracks)):
                yield f"tracks/{number}/clip_slots/{scene}"
                yield f"tracks/{number}/clips/{scene}"
        for send in removed(len(self._old.send_names), self.sends):
            yield f"returns/{send}"
            for number in range(len(self._old.tracks)):
                yield f"tracks/{number}/sends/{send}"
        for track_id, paired in self._devices.items():
            before = self._old.track(track_id)
            for device in removed(len(before.devices) if before is not None else 0, paired):
                yield place("tracks/*/devices/*", (track_id, device))

    def steps(self) -> list[Step]:
        """Return the moves: what lies in a track first, then the tracks."""
        found: list[Step] = []
        for number, _ in self._old.every():
            if number not in self._track_now:
                continue
            root = place("tracks/*", (number,))
            found += _steps(f"{root}/devices", self._devices.get(number, []))
            if isinstance(number, int):
                found += _steps(f"{root}/clip_slots", self.scenes)
                found += _steps(f"{root}/clips", self.scenes)
                found += _steps(f"{root}/sends", self.sends)
        found += _steps("scenes", self.scenes) + _steps("returns", self.sends) + _steps("tracks", self.tracks)
        return found


def _steps(root: str, paired: list[int | None]) -> list[Step]:
    found = []
    origins: dict[int | str, int | str] = {}
    for source, target in moves(paired):
        origin = origins.pop(source, source)
        if target == TEMPORARY:
            origins[TEMPORARY] = origin
        found.append(Step(f"{root}/{source}", f"{root}/{target}", f"{root}/{origin}"))
    return found


def _devices(track: Track) -> list[tuple[Hashable, ...]]:
    return [(one.name, one.class_name, len(one.ranges)) for one in track.devices]


def _rows(
    old: Layout, new: Layout, tracks: list[int | None]
) -> tuple[list[tuple[Hashable, ...]], list[tuple[Hashable, ...]]]:
    """Return what scenes look like: their names, and those of their clips on tracks that both layouts have."""
    kept = [(before, now) for now, before in enumerate(tracks) if before is not None]

    def look(layout: Layout, scene: int, columns: list[int]) -> tuple[Hashable, ...]:
        names = (layout.tracks[column].clip_names for column in columns)
        return (layout.scenes[scene], tuple(row[scene] if scene < len(row) else "" for row in names))

    return (
        [look(old, scene, [before for before, _ in kept]) for scene in range(len(old.scenes))],
        [look(new, scene, [now for _, now in kept]) for scene in range(len(new.scenes))],
    )
