"""Files of frames that the list of segments does not name: what a change that was cut off left, or frames it lost."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from lightfast.storage.archive import files
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.segment import SegmentInfo, Survey

log = structlog.get_logger("lightfast.archive")

INCOMING = "incoming"
"""Where files of frames go that this archive does not know: migration takes them in."""
DAMAGED = "damaged"


def clear(root: Path, path: Path, is_known: Callable[[int], bool]) -> None:
    """Delete *path*, unless it holds frames that are nowhere else: then set it aside, for migration.

    *is_known* says whether a frame of that id can be read in the archive, or was purged. Such frames come from an older
    list of segments that was put back by hand, or from another archive. What is damaged in the middle of a file, and
    so was not cut off while it was written, is kept among the damaged bytes.
    """
    relative = path.relative_to(root).as_posix()
    if path.suffix == ".frames":
        survey, size = _read(path, relative)
        if strangers := sum(not is_known(key) for key in survey.columns.ids):
            kept = set_aside(root, path, INCOMING)
            log.error(
                "frames were found that the archive does not know: 'lightfast archive migrate' takes them in",
                file=kept,
                frames=strangers,
            )
            return
        if any(_is_inside(one, size) for one in survey.damage):
            kept = set_aside(root, path, DAMAGED)
            log.error("a file of frames that the archive does not know is damaged: it was set aside", file=kept)
            return
    path.unlink()
    log.info("left over from a change that was cut off: removed", file=relative)


def trim(root: Path, info: SegmentInfo) -> None:
    """Give back the room that was reserved in a segment, where its sealing was cut off before that."""
    path = root / "shards" / info.shard / f"{info.name}.frames"
    with contextlib.suppress(OSError), path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size > info.length:
            file.seek(info.length)
            if not file.read().strip(b"\0"):
                file.truncate(info.length)


def set_aside(root: Path, path: Path, folder: str) -> str:
    """Move *path* to a folder of *root*, under a name that nothing has there; return where it is now."""
    files.make_folder(root / folder)
    target = root / folder / path.name
    number = 1
    while target.exists():
        number += 1
        target = root / folder / f"{path.stem}-{number}{path.suffix}"
    path.rename(target)
    return target.relative_to(root).as_posix()


def incoming(root: Path) -> list[str]:
    """Return the names of the files that wait for a migration."""
    return sorted(path.relative_to(root).as_posix() for path in (root / INCOMING).glob("*.frames"))


def _read(path: Path, relative: str) -> tuple[Survey, int]:
    """Return what is in a file, and its size."""
    survey = Survey(relative)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            for _ in survey.read(data):
                pass
    return survey, size


def _is_inside(damage: Damage, size: int) -> bool:
    return damage.offset + damage.length < size
