"""What layers see of the archive, and small things that they share."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from lightfast.storage.archive.purge import NAME as TOMBSTONES
from lightfast.storage.archive.records import OWN_KINDS, Frame

T = TypeVar("T")


class FrameReader(Protocol):
    """What a layer reads of the archive."""

    @property
    def count(self) -> int:
        """Return how many frames there are."""
        ...

    @property
    def next_number(self) -> int:
        """Return the number that the next frame will get."""
        ...

    def scan(self, *, after_number: int = -1, private: bool = True) -> Iterator[Frame]:
        """Yield the frames in the order of their numbers; *private* False leaves the sealed ones out, unopened."""
        ...

    def get(self, frame_id: str) -> Frame | None:
        """Return a frame, or `None`."""
        ...


class FrameSource(Protocol):
    """The archive, as a layer sees it."""

    on_appended: list[Callable[[Sequence[Frame]], None]]
    on_removed: list[Callable[[Sequence[str]], None]]
    forgetting: list[Callable[[], Awaitable[None]]]

    async def run(self, function: Callable[[FrameReader], T]) -> T:
        """Call *function* with a reader, in a thread."""
        ...


def is_text(frame: Frame) -> bool:
    """Say whether a frame holds what somebody wrote: the daemon's own blocks and what is private are no layer's."""
    return isinstance(frame.content, str) and not frame.private and frame.kind not in OWN_KINDS


def removals(folder: Path, begin: int) -> tuple[list[str], int]:
    """Return the frames that the archive in *folder* notes as removed behind byte *begin* of its notes, and the end."""
    try:
        with (folder / TOMBSTONES).open("rb") as file:
            if file.seek(0, 2) < begin:
                begin = 0  # another archive lies here now
            file.seek(begin)
            notes = file.read()
    except FileNotFoundError:
        return [], 0
    whole = notes[: notes.rfind(b"\n") + 1]
    found: list[str] = []
    for line in whole.splitlines():
        with contextlib.suppress(msgspec.DecodeError):  # a line that was torn; nothing was removed by it
            found += msgspec.json.decode(line).get("purge", ())
    return found, begin + len(whole)


def slices(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Yield *items* in parts of at most *size*."""
    for at in range(0, len(items), size):
        yield items[at : at + size]
