"""Identity: tracks and scenes keep an id for as long as the bridge runs, wherever they move."""

from __future__ import annotations

import itertools
import secrets

from lightfast_bridges.ableton.layout import Layout
from lightfast_bridges.ableton.paths import Id, Target
from lightfast_bridges.ableton.shift import Shift


class Objects:
    """The ids of one Live's objects; they outlive a restart of Live, not one of the daemon."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._layout: Layout | None = None
        self._tracks: dict[Id, str] = {}
        self._scenes: dict[Id, str] = {}

    def follow(self, layout: Layout) -> None:
        """Take a new layout."""
        shift = Shift(self._layout, layout) if self._layout is not None else None
        tracks, scenes = self._tracks, self._scenes
        before = shift.tracks if shift is not None else [None] * len(layout.tracks)
        self._tracks = {now: self._id("track", tracks, old) for now, old in enumerate(before)}
        for number in layout.extras:
            self._tracks[number] = tracks.get(number) or self._id("track", tracks, None)
        before = shift.scenes if shift is not None else [None] * len(layout.scenes)
        self._scenes = {now: self._id("scene", scenes, old) for now, old in enumerate(before)}
        self._layout = layout

    def _id(self, kind: str, known: dict[Id, str], old: int | None) -> str:
        if old is not None and old in known:
            return known[old]
        return f"{kind}-{self._prefix}-{next(self._numbers)}"

    def of(self, target: Target) -> str:
        """Return the id of the track or scene that *target* belongs to; empty for the song's own."""
        if not target.ids:
            return ""
        return (self._scenes if target.stem == "scene" else self._tracks).get(target.ids[0], "")
