"""What long work on the archive tells while it goes on, and what the archive tells of itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import msgspec

from lightfast.storage.archive.records import Damage


class Progress(msgspec.Struct, frozen=True):
    """How far a verification, a repair or a migration has come; *damage* is what was found since the last one."""

    done_bytes: int = 0
    total_bytes: int = 0
    frames: int = 0
    """Frames checked, kept or looked at."""
    total_frames: int = 0
    changed: int = 0
    """Frames written anew."""
    lost: int = 0
    damage: tuple[Damage, ...] = ()
    done: bool = False


class Piece(msgspec.Struct, frozen=True):
    """A piece of an export: whole frames; *frames* so far, of *total_frames*."""

    data: bytes
    frames: int
    total_frames: int


class Imported(msgspec.Struct, frozen=True):
    """What became of an import."""

    imported: int = 0
    skipped: int = 0
    damage: tuple[Damage, ...] = ()


class Share(msgspec.Struct, frozen=True):
    """A month, or a kind: its frames, their bytes as they came and as they lie on the disk."""

    name: str
    frames: int
    raw_bytes: int
    bytes: int


class Stats(msgspec.Struct, frozen=True):
    """What the archive holds. *chunks* are the sealed ones, *waiting* the frames that are in none yet."""

    frames: int = 0
    chunks: int = 0
    waiting: int = 0
    bytes: int = 0
    """On the disk, indexes included."""
    private_frames: int = 0
    shards: tuple[Share, ...] = ()
    kinds: tuple[Share, ...] = ()
    damage: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    """What repairs could not save: known, and no damage any more."""
    incoming: tuple[str, ...] = ()
    """Files of frames that the archive does not know yet: migration takes them in."""
    tombstones: int = 0
    quota: int = 0


S = TypeVar("S")
R = TypeVar("R")


def told(steps: Generator[S, None, R], tell: Callable[[S], Progress]) -> Generator[Progress, None, R]:
    """Run the steps of another job as steps of this one, and tell of each; returns what it returns."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            found: R = end.value
            return found
        yield tell(step)


def quietly(steps: Generator[S, None, R]) -> Generator[Progress, None, R]:
    """Run the steps of another job as steps of this one."""
    return told(steps, lambda _: Progress())
