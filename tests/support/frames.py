"""An archive in memory, with the interface that the tiers use, for tests that need many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.storage.archive.records import Frame, NewFrame


@dataclass
class Figures:
    """What the archive takes."""

    bytes: int


class Frames:
    """Frames by id, in the order of appending. *lost* are ids that cannot be read."""

    def __init__(self, kept: dict[str, Frame] | None = None) -> None:
        self.kept = dict(kept or {})
        self.lost: dict[str, str] = {}
        self.reads = 0
        self.number = max((frame.number for frame in self.kept.values()), default=-1) + 1

    def copy(self) -> Frames:
        """Return it as a crash would leave it now."""
        return Frames(self.kept)

    async def append(self, frames: Sequence[NewFrame]) -> list[str]:
        """Append."""
        ids = []
        for new in frames:
            frame_id = f"{self.number:016x}"
            self.kept[frame_id] = Frame(frame_id, self.number, new.content, new.kind, new.time_ms, new.metadata)
            self.number += 1
            ids.append(frame_id)
        return ids

    async def get(self, frame_ids: Sequence[str]) -> dict[str, Frame]:
        """Return what can be read."""
        self.reads += len(frame_ids)
        return {each: self.kept[each] for each in frame_ids if each in self.kept and each not in self.lost}

    async def why(self, frame_ids: Sequence[str]) -> dict[str, str]:
        """Return why the others cannot."""
        found = {each: "unknown: there is no frame of this id" for each in frame_ids if each not in self.kept}
        return found | {each: self.lost[each] for each in frame_ids if each in self.lost}

    async def run(self, function: Callable[[Any], Any]) -> Any:
        """Run *function* with a reader."""
        return function(_Reader(self))

    async def remove(self, frame_ids: Sequence[str], *, reason: str) -> int:
        """Remove."""
        assert reason
        return sum([self.kept.pop(each, None) is not None for each in frame_ids])

    async def stats(self) -> Figures:
        """Return figures."""
        return Figures(sum([len(frame.content) for frame in self.kept.values()]))


class _Reader:
    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self.next_number = frames.number

    def get(self, frame_id: str) -> Frame | None:
        return None if frame_id in self._frames.lost else self._frames.kept.get(frame_id)

    def scan(self, *, kinds: Sequence[str] = (), after_number: int = -1) -> Iterator[Frame]:
        for frame in list(self._frames.kept.values()):
            if frame.kind in kinds and frame.number > after_number and frame.frame_id not in self._frames.lost:
                yield frame
