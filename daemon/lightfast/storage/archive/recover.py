"""The manifest, made anew from the files alone."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from lightfast.core.checksum import crc32
from lightfast.core.ids import new_id
from lightfast.storage.archive import files, leftovers, manifest
from lightfast.storage.archive.manifest import Manifest
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.segment import SegmentInfo, Survey, describe

log = structlog.get_logger("lightfast.archive")


def recovered(root: Path, note: Callable[[Damage], None], *, write: bool) -> Manifest:
    """Return a manifest of all files of frames in *root*.

    A frame that is in two files was being moved from one to the other: the file with the higher number has it. Files
    all of whose frames are elsewhere are left out, and deleted as left over. Files without numbers are set aside for
    migration.
    """
    surveys: list[tuple[Path, Survey, int, int]] = []
    for path in sorted((root / "shards").glob("*/*/*.frames"), key=lambda path: path.name, reverse=True):
        survey = Survey(str(path.relative_to(root).as_posix()))
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                continue
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            for _ in survey.read(data):
                pass
            end = max([*_ends(survey), 0])
            surveys.append((path, survey, end, crc32(data[:end])))
    taken: set[int] = set()
    infos: list[SegmentInfo] = []
    held: dict[str, set[int]] = {}
    highest = 0
    for path, survey, end, crc in surveys:
        columns = survey.columns
        if path.stem.isdigit():
            highest = max(highest, int(path.stem))
        if not len(columns) or taken.issuperset(columns.ids):
            continue
        numbers = columns.numbers
        if any(numbers[at] >= numbers[at + 1] for at in range(len(numbers) - 1)) or not path.stem.isdigit():
            log.warning("a file of frames without numbers was found: 'lightfast archive migrate' takes it in",
                        file=survey.relative)  # fmt: skip
            if write:
                leftovers.set_aside(root, path, leftovers.INCOMING)
            continue
        mine = set(columns.ids)
        if taken & mine:  # a change was cut off when part of it was written: that part counts for nothing
            infos = [info for info in infos if not mine.issuperset(held[info.name])]
        held[path.stem] = mine
        taken |= mine
        for damage in survey.damage:
            note(damage)
        shard = f"{path.parent.parent.name}/{path.parent.name}"
        infos.append(describe(columns, path.stem, shard, end, crc, packed=bool(survey.dictionaries)))
        if write:
            header = {"length": end, "crc": crc, "dictionaries": survey.dictionaries}
            files.replace(path.with_suffix(".index"), columns.write(header))
    infos.sort(key=lambda info: info.first)
    last = max((info.last for info in infos), default=-1)
    return Manifest(manifest.FORMAT, new_id("archive"), last + 1, highest + 1, "", infos)


def _ends(survey: Survey) -> list[int]:
    columns = survey.columns
    ends = [columns.offsets[-1] + columns.lengths[-1]] if len(columns) else []
    ends += [offset + length for copies in survey.dictionaries.values() for offset, length in copies]
    return ends + [damage.offset + damage.length for damage in survey.damage]
