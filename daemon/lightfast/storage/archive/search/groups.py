"""The sealed groups of an archive: their files, and the spans that searches go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from lightfast.storage.archive import files
from lightfast.storage.archive.search import layout
from lightfast.storage.archive.search.fresh import Fresh
from lightfast.storage.archive.search.group import Group, GroupDamaged
from lightfast.storage.archive.search.parts import Span, runs_of

if TYPE_CHECKING:
    from pyroaring import BitMap64

    from lightfast.storage.archive.caches import Postings

log = structlog.get_logger("lightfast.archive")

SUFFIX = ".words"
_LOST = "words of the archive are lost: they are made anew from the frames"
_MANY = 64
"""From so many ids on, numpy finds them faster."""


class Groups:
    """All groups below *folder*: `words/2026/11/00000001.words`. Not thread-safe: its owner locks."""

    def __init__(self, folder: Path, cache: Postings) -> None:
        self.folder = folder
        self._cache = cache
        self._groups: dict[str, list[Group]] = {}
        self._spans: dict[tuple[Group, ...], Span] = {}
        self.spans: tuple[Span, ...] = ()
        """What there is to search."""

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def load(self) -> BitMap64:
        """Open what is there and return the numbers of all frames in it; what is damaged or doubled is deleted."""
        from pyroaring import BitMap64

        self._groups.clear()
        held = BitMap64()
        for path in sorted(self.folder.rglob(f"*{SUFFIX}*")) if self.folder.is_dir() else ():
            if path.suffix != SUFFIX:
                path.unlink(missing_ok=True)  # it was being written when the process died
                continue
            try:
                group = self._open(path, held)
                held |= group.held()
            except GroupDamaged as error:
                log.warning(_LOST, why=str(error))
                path.unlink(missing_ok=True)
            else:
                self._groups.setdefault(group.head.shard, []).append(group)
        self._arrange()
        return held

    def _open(self, path: Path, held: BitMap64) -> Group:
        group = Group(path)
        numbers = group.held()
        if len(numbers) != group.count or path != self._path(group.head.shard, group.head.sequence):
            raise GroupDamaged(path, "it is not the group its name says")
        if not held.isdisjoint(numbers):
            raise GroupDamaged(path, "its frames are in another group, too")
        return group

    def bytes_on_disk(self) -> int:
        """Return the size of all files."""
        return sum(group.size for groups in self._groups.values() for group in groups)

    def sequence(self, shard: str) -> int:
        """Return the sequence number of the next group of a shard."""
        return max((group.head.sequence for group in self._groups.get(shard, ())), default=0) + 1

    def write(self, fresh: Fresh, sequence: int, rest: Callable[[], None] | None = None) -> Group:
        """Write frames as a group, durably; it is not searched before `take`. Needs no lock. *rest* is called often."""
        path = self._path(fresh.shard, sequence)
        files.make_folder(path.parent)
        files.replace(path, fresh.sealed(sequence, rest))
        return Group(path)

    def take(self, group: Group) -> None:
        """Search a group that was written from now on."""
        self._groups.setdefault(group.head.shard, []).append(group)
        self._arrange()

    def drop(self, path: Path) -> None:
        """Delete a group; its frames have to be taken in again."""
        for groups in self._groups.values():
            for group in [group for group in groups if group.path == path]:
                groups.remove(group)
                group.release()
        path.unlink(missing_ok=True)
        self._arrange()

    def drop_with(self, ghosts: BitMap64) -> BitMap64:
        """Delete the groups that hold one of *ghosts*, and return the numbers of all frames in the others."""
        from pyroaring import BitMap64

        held = BitMap64()
        for group in [group for groups in self._groups.values() for group in groups]:
            numbers = group.held()
            if ghosts.isdisjoint(numbers):
                held |= numbers
            else:
                self.drop(group.path)
        return held

    def private(self) -> list[str]:
        """Return the ids of the private frames."""
        found = []
        for groups in self._groups.values():
            for group in groups:
                found += [group.hex_id(place) for place in group.places(layout.PRIVATE)]
        return found

    def remove(self, frame_ids: Sequence[str]) -> list[int]:
        """Take frames out and return their numbers; the files are written anew, nothing is left in them."""
        numbers: list[int] = []
        for groups in list(self._groups.values()):
            for group in list(groups):
                try:
                    places = _places_of(group, frame_ids)
                    if places:
                        numbers += [group.number(place) for place in places]
                        self._rewrite(group, groups, places)
                except GroupDamaged as error:
                    log.warning(_LOST, why=str(error))
                    self.drop(group.path)
        self._arrange()
        return numbers

    def _rewrite(self, group: Group, groups: list[Group], places: Sequence[int]) -> None:
        from pyroaring import BitMap

        rows = group.rows()
        gone = BitMap(places)
        moved = [0] * len(rows)
        kept: list[layout.Row] = []
        for place, row in enumerate(rows):
            moved[place] = len(kept)
            if place not in gone:
                kept.append(row)
        postings = {}
        for word, found in group.all_words():
            if left := found - gone:
                postings[word] = [moved[place] for place in left]
        groups.remove(group)
        group.release()
        if kept:
            files.replace(group.path, layout.encode(group.head.shard, group.head.sequence, kept, postings))
            groups.append(Group(group.path))
        else:
            group.path.unlink(missing_ok=True)
            files.sync_folder(group.path.parent)

    def close(self) -> None:
        """Let go of all files."""
        self._groups.clear()
        self._spans.clear()
        self.spans = ()

    def _arrange(self) -> None:
        spans: dict[tuple[Group, ...], Span] = {}
        for groups in self._groups.values():
            for run in runs_of(groups):
                spans[run] = self._spans.get(run) or Span(run, self._cache)
        self._spans = spans
        self.spans = tuple(spans.values())

    def _path(self, shard: str, sequence: int) -> Path:
        return self.folder / shard / f"{sequence:08d}{SUFFIX}"


def _places_of(group: Group, frame_ids: Sequence[str]) -> Sequence[int]:
    if len(frame_ids) < _MANY:
        return group.places_of(frame_ids)
    import numpy as np

    there = np.frombuffer(group.id_bytes(), dtype=">u8")
    wanted = np.fromiter((int(frame_id, 16) for frame_id in frame_ids), dtype=np.uint64, count=len(frame_ids))
    return [int(place) for place in np.flatnonzero(np.isin(there, wanted))]
