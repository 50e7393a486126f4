"""What is noted of frames that are appended, column by column: a tuple for each would keep the collector busy."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Rows:
    """Frames ready to be written; their numbers follow one another. Lengths are in bytes: of the frame, its content."""

    keys: list[int] = field(default_factory=list)
    """The ids, as numbers."""
    times: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    private: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: int, time_ms: int, length: int, size: int, kind: str, private: bool) -> None:
        """Add a frame."""
        self.keys.append(key)
        self.times.append(time_ms)
        self.lengths.append(length)
        self.sizes.append(size)
        self.kinds.append(kind)
        self.private.append(private)

    def extend(self, more: Rows) -> None:
        """Add the frames of *more*."""
        self.keys += more.keys
        self.times += more.times
        self.lengths += more.lengths
        self.sizes += more.sizes
        self.kinds += more.kinds
        self.private += more.private


@dataclass(slots=True)
class Appended:
    """What became of the frames of a call: their ids, the number of the first, their times in ms."""

    ids: list[str]
    number: int
    times: list[int]
