"""The archive takes part in a purge: frames that are named, or hold the text, go with all that was derived of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.core.errors import InvalidArgument, NotFound
from lightfast.storage.archive.records import Frame
from lightfast.storage.scrub import holds

HISTORY = "history"
"""The kind of frames that the tiers own: they are written anew, row by row, not removed."""
_SLICE = 20_000
"""Frames looked at in one call of a reader."""


class Reader(Protocol):
    """The part of the archive's reader that is used."""

    def scan(self, *, after_number: int = -1, private: bool = True) -> Iterator[Frame]:
        """Yield frames in the order of their numbers."""
        ...


class Frames(Protocol):
    """The part of the archive that is used."""

    async def run(self, function: Callable[[Any], Any]) -> Any:
        """Run *function* with a reader in a thread."""
        ...

    async def why(self, frame_ids: Sequence[str]) -> dict[str, str]:
        """Return why frames cannot be read."""
        ...

    async def remove(self, frame_ids: Sequence[str], *, reason: str) -> int:
        """Remove frames for ever, from every file, index and cache."""
        ...


class FrameRoom:
    """The frames of the archive; an item is the id of one. *locked* says how many cannot be looked into now.

    *folder* is that of the archive: what it has set aside there, it cannot look into either.
    """

    name = "frames"

    def __init__(self, archive: Frames, locked: Callable[[], Awaitable[int]], folder: Path | None = None) -> None:
        self._archive = archive
        self._locked = locked
        self._folder = folder

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the ids of frames."""
        if target.frame_ids:
            why = await self._archive.why(target.frame_ids)
            if unknown := [frame_id for frame_id, reason in why.items() if reason.startswith("unknown")]:
                raise NotFound(f"there is no frame {unknown[0]}", reason="FRAME_NOT_FOUND", field="frame_ids")
            kinds = {frame.kind for frame in (await self._archive.run(partial(_named, target.frame_ids))).values()}
            if HISTORY in kinds:
                raise InvalidArgument(
                    "a frame of kind history holds a part of the history: purge its paths, or a text", field="frame_ids"
                )
            for start in range(0, len(target.frame_ids), BATCH):
                yield target.frame_ids[start : start + BATCH]
        if target.needles is None:
            return
        after = -1
        while True:
            found, after, more = await self._archive.run(partial(_look, target, after))
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]
            if not more:
                return

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Remove the frames."""
        return await self._archive.remove([str(item) for item in items], reason=f"purged by {purge_id}")

    async def remaining(self, target: Target) -> list[str]:
        """Name what cannot be looked into: private frames that are locked, and files that were set aside."""
        found: list[str] = []
        if target.needles is not None and (count := await self._locked()):
            told = f"{count} private frames of the archive, which are locked"
            found.append(f"{told}: unlock them with 'lightfast archive unlock', then purge again")
        if self._folder is not None and (target.needles or target.patterns or target.memories):
            found += await asyncio.to_thread(_set_aside, self._folder)
        elif self._folder is not None and target.frame_ids:
            found += await asyncio.to_thread(_set_aside, self._folder, target.frame_ids)
        return found


def _set_aside(folder: Path, frame_ids: Sequence[str] = ()) -> list[str]:
    """Name the files that are not part of the archive: packed as they are, no search for bytes finds anything there.

    With *frame_ids* only those that hold one of them: ids can be seen.
    """
    needles = [frame_id.encode() for frame_id in frame_ids]
    incoming = [path for path in sorted((folder / "incoming").glob("*")) if path.is_file()]
    damaged = [path for path in sorted((folder / "damaged").glob("*")) if path.is_file()]
    if needles:
        incoming, damaged = ([path for path in paths if holds(path, needles)] for paths in (incoming, damaged))
    return [
        *(f"the file {path}: take it in with 'lightfast archive migrate', then purge again" for path in incoming),
        *(f"the file {path}, which was set aside as damaged: delete it" for path in damaged),
    ]


def _named(frame_ids: Sequence[str], reader: Any) -> dict[str, Frame]:
    found = ((frame_id, reader.get(frame_id)) for frame_id in frame_ids)
    return {frame_id: frame for frame_id, frame in found if frame is not None}


def _look(target: Target, after: int, reader: Reader) -> tuple[list[str], int, bool]:
    needles = target.needles
    found: list[str] = []
    if needles is None:
        return found, after, False
    for seen, frame in enumerate(reader.scan(after_number=after), 1):
        after = frame.number
        held = (frame.content, frame.metadata, frame.kind)
        if frame.kind != HISTORY and any(needles.in_value(part) for part in held):
            found.append(frame.frame_id)
        if seen >= _SLICE:
            return found, after, True
    return found, after, False
