"""Finds what changed in Blender by comparing values: its own flags tell too much and too little."""

from __future__ import annotations

import time
from typing import Any, Dict, Iterable, List, Set, Tuple

import bpy
from lightfast_link.messages import Change
from lightfast_link.path import decode_segment

from . import identity, properties


class Scanner:
    """Knows what was last reported, and finds the difference."""

    def __init__(self) -> None:
        self.known: Dict[str, Dict[str, Any]] = {}
        """What was reported: values by path below a prefix, by prefix (`objects/Cube`, `scene`)."""
        self.ids: Dict[str, Dict[str, str]] = {family: {} for family in properties.FAMILIES}
        """Object ids by name, by family."""
        self.times: Dict[str, int] = {}
        """When a value was seen to change, by path; what was there when first looked at has no time."""
        self._first = True
        self.undone = False
        """An undo or a load came since the last full scan."""

    def again(self) -> List[Change]:
        """Return everything, each value with the time it was last seen to change."""
        if not self._first:
            self.full()
        self.known = {}
        self._first = True
        changes = self.full()
        present = {change.path for change in changes}
        self.times = {path: when for path, when in self.times.items() if path in present}
        return changes

    def names_changed(self) -> bool:
        """Say whether data-blocks came, went or were renamed: a cheap test."""
        return any(self.ids[family].keys() != dict(properties.blocks(family)).keys() for family in properties.FAMILIES)

    def full(self) -> List[Change]:
        """Compare everything."""
        now = time.time_ns()
        changes: List[Change] = []
        seen: Set[str] = set()
        for family in properties.FAMILIES:
            items = properties.blocks(family)
            before = self.ids[family]
            after = identity.assign(items, before, undone=self.undone)
            moves = self._moves(family, before, after, now)
            moved = {move.path for move in moves}
            changes += moves
            self.ids[family] = after
            for name, block in items:
                prefix = prefix_of(family, name)
                seen.add(prefix)
                other = name in before and before[name] != after[name] and prefix not in moved
                self._compare(prefix, properties.read_block(family, block), after[name], now, changes, anew=other)
        seen.update(("scene", "screen"))
        self._scene(now, changes)
        for prefix in [prefix for prefix in self.known if prefix not in seen]:
            self._compare(prefix, {}, "", now, changes)
            del self.known[prefix]
        self._first = self.undone = False
        return changes

    def some(self, touched: Iterable[Tuple[str, str]]) -> List[Change]:
        """Compare the scene and the *touched* (family, name) that are known."""
        now = time.time_ns()
        changes: List[Change] = []
        for family, name in touched:
            block = getattr(bpy.data, family).get(name)
            object_id = self.ids[family].get(name)
            if block is not None and object_id is not None:
                self._compare(prefix_of(family, name), properties.read_block(family, block), object_id, now, changes)
        self._scene(now, changes)
        return changes

    def frame(self, since: int) -> List[Change]:
        """Compare the current frame only, for playback; it is there *since* (ns since 1970)."""
        changes: List[Change] = []
        self._compare("screen", properties.read_screen(), "", since, changes)
        frame = properties.active_scene().frame_current
        known = self.known.setdefault("scene", {})
        if known.get("frame_current") != frame:
            known["frame_current"] = frame
            changes.append(Change("scene/frame_current", frame, since))
        return changes

    def remember(self, path: str, value: Any) -> None:
        """Take note of a value that was settled, so that it is not reported as well.

        It is no change of the user's and has no time: a newer wish on its way must not look older than it.
        """
        self.times.pop(path, None)
        prefix, rest = _split(path)
        values = self.known.setdefault(prefix, {})
        if value is None:
            values.pop(rest, None)
        else:
            values[rest] = value

    def renamed(self, source: str, target: str) -> None:
        """Take note of a rename that was asked for, so that it is not reported as one."""
        for old in [path for path in self.times if path == source or path.startswith(source + "/")]:
            self.times[target + old[len(source) :]] = self.times.pop(old)
        if source in self.known:
            self.known[target] = self.known.pop(source)
            family, _, old_name = source.partition("/")
            names = self.ids[family]
            if decode_segment(old_name) in names:
                names[decode_segment(target.partition("/")[2])] = names.pop(decode_segment(old_name))
        else:
            old_prefix, old_rest = _split(source)
            new_prefix, new_rest = _split(target)
            value = self.known.get(old_prefix, {}).pop(old_rest, None)
            if value is not None:
                self.known.setdefault(new_prefix, {})[new_rest] = value

    def _scene(self, now: int, changes: List[Change]) -> None:
        self._compare("scene", properties.read_scene(properties.active_scene()), "", now, changes)
        self._compare("screen", properties.read_screen(), "", now, changes)

    def _compare(
        self,
        prefix: str,
        values: Dict[str, Any],
        object_id: str,
        now: int,
        changes: List[Change],
        *,
        anew: bool = False,
    ) -> None:
        """Add what differs from before to *changes*; where another object has the name (*anew*), all of it."""
        before = self.known.get(prefix)
        if before == values and before is not None and not anew:
            return
        before = before or {}
        for rest, value in values.items():
            old = before.get(rest)
            if anew or type(old) is not type(value) or (old != value and not (old != old and value != value)):
                path = prefix + "/" + rest
                if not self._first:
                    self.times[path] = now
                changes.append(Change(path, value, self.times.get(path, 0), object_id))
        for rest in before:
            if rest not in values:
                changes.append(Change(prefix + "/" + rest, None, now, object_id))
        self.known[prefix] = values

    def _moves(self, family: str, before: Dict[str, str], after: Dict[str, str], now: int) -> List[Change]:
        names = {object_id: name for name, object_id in after.items()}
        waiting = [
            (name, names[object_id], object_id)
            for name, object_id in before.items()
            if object_id in names and names[object_id] != name
        ]
        moves: List[Change] = []
        progress = True
        while waiting and progress:
            progress = False
            for move in list(waiting):
                old, new, object_id = move
                source, target = prefix_of(family, old), prefix_of(family, new)
                if target in self.known or source not in self.known:
                    continue
                self.known[target] = self.known.pop(source)
                moves.append(Change(target, None, now, object_id, moved_from=source))
                waiting.remove(move)
                progress = True
        return moves


def _split(path: str) -> Tuple[str, str]:
    """Return the prefix of what holds the property at *path*, and the path below it."""
    first, _, rest = path.partition("/")
    if first in ("scene", "screen"):
        return first, rest
    name, _, rest = rest.partition("/")
    return first + "/" + name, rest


def prefix_of(family: str, name: str) -> str:
    """Return the path of a data-block, relative to the mount."""
    return family + "/" + properties.segment(name)
