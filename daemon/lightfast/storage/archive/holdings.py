"""What the archive holds, and every change of it but an append; the writer thread alone changes it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection, Generator, Sequence
from pathlib import Path

import msgspec
import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import FailedPrecondition
from lightfast.storage.archive import files, known, leftovers, manifest, pack, purge
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.caches import Cache
from lightfast.storage.archive.ids import Ids
from lightfast.storage.archive.known import Known
from lightfast.storage.archive.manifest import Manifest
from lightfast.storage.archive.months import month_of
from lightfast.storage.archive.newer import newer
from lightfast.storage.archive.opened import Shelf
from lightfast.storage.archive.purge import Tombstones
from lightfast.storage.archive.reader import Reader, View
from lightfast.storage.archive.records import Damage, Options, Sealer
from lightfast.storage.archive.segment import Segment, SegmentInfo, describe
from lightfast.storage.archive.tail import RESTORE, Tail

log = structlog.get_logger("lightfast.archive")

MAX_DAMAGE = 1000
"""So many damaged places are remembered."""
MAX_LOGGED = 50


class Holdings:
    """What there is; `load` reads it at the first use, and makes nothing."""

    def __init__(self, root: Path, options: Options, clock: Clock, sealer: Sealer | None) -> None:
        self.root = root
        self.options = options
        self.clock = clock
        self.sealer = sealer
        self.view = View()
        self.damage: dict[tuple[str, int], Damage] = {}
        self.gone: list[Damage] = []
        """What was missing at the start and is nowhere else: kept in the manifest, told until it was repaired."""
        self.read_only = False
        self.loaded = False
        self.chunks = 0
        """Sealed chunks of the open segment."""
        self.unpacked: list[str] = []
        """Segments to be packed when there is time."""
        self.size = 0
        """Bytes of all files of frames."""
        self.tombstones = Tombstones(root)
        self._ids = Ids()
        self._hold = files.Hold(root)
        self._shelf = Shelf()
        self._manifest = Manifest(manifest.FORMAT, "")
        self._next_segment = 1
        self._runs: list[known.Run] = []

    @property
    def archive_id(self) -> str:
        """Return the identity of the archive; empty while there is none."""
        return self._manifest.archive_id

    def keep_chunks(self, chunks: Cache[tuple[int, int], tuple[int, bytes]]) -> None:
        """Keep chunks of sealed segments there while frames are read."""
        self._shelf.chunks = chunks

    def reader(self) -> Reader:
        """Return a reader of what there is now; from any thread."""
        return Reader(self.view, lambda: self.view, self.sealer, self.note_damage)

    def why_gone(self, frame_id: str) -> str:
        """Return why there is no frame of this id; from any thread."""
        found = self.tombstones.get(int(frame_id, 16)) if layout.is_id(frame_id) else None
        if found is not None:
            when = f" at {found.time_ms} ms since 1970"
            return f"purged{when}: {found.reason}" if found.reason else f"purged{when}"
        return "unknown: there is no frame of this id"

    def note_damage(self, damage: Damage) -> None:
        """Remember a damaged place, and tell of it once; from any thread."""
        key = (damage.file, damage.offset)
        if key in self.damage or len(self.damage) >= MAX_DAMAGE:
            return
        self.damage[key] = damage
        if len(self.damage) <= MAX_LOGGED:
            log.error("the archive is damaged", file=damage.file, offset=damage.offset, length=damage.length,
                      frame=damage.frame_id, reason=damage.reason)  # fmt: skip
        if len(self.damage) == MAX_LOGGED:
            log.error("more damage is not logged one by one: see 'lightfast archive verify'")

    # ---- start and end

    def reserve(self) -> None:
        """Keep other processes away from now on, if there is an archive; if one has it, `load` says so."""
        if self.root.is_dir():
            with contextlib.suppress(FailedPrecondition):
                self._take_hold()

    def load(self) -> None:
        """Read what is there; nothing is created."""
        if self.loaded:
            return
        if self.root.is_dir():
            self._take_hold()
            found = manifest.read(self.root)
            if found is None and any((self.root / "shards").glob("*/*/*.frames")):
                from lightfast.storage.archive.recover import recovered

                found = recovered(self.root, self.note_damage, write=not self.read_only)
                log.warning("the archive's list of segments was lost and made anew", segments=len(found.segments))
                if not self.read_only:
                    manifest.write(self.root, found)
            if found is not None:
                self._manifest = found
                self._next_segment = found.next_segment
                self._open_all()
                self._clean()
                purge.finish(self)
        self.loaded = True

    def _take_hold(self) -> None:
        try:
            self._hold.take()
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise files.fault(error, self.root) from error
            self.read_only = True
            log.warning("the archive cannot be written: it is only read", folder=str(self.root))

    def _clean(self) -> None:
        """Delete what a change that was cut off left behind; what is open by now says which frames are known."""
        if self.read_only:
            return
        reader = self.reader()

        def is_known(key: int) -> bool:
            return self.tombstones.get(key) is not None or reader.holds(f"{key:016x}")

        wanted = {f"{one.shard}/{one.name}" for one in self._manifest.segments}
        tail = self._manifest.tail
        for path in sorted((self.root / "shards").glob("*/*/*")):
            stem = f"{path.parent.parent.name}/{path.parent.name}/{path.name.split('.')[0]}"
            if stem == tail and path.suffix != ".index":
                continue
            if stem in wanted and path.suffix in {".frames", ".index"}:
                continue
            leftovers.clear(self.root, path, is_known)

    def _open_all(self) -> None:
        held = self._manifest
        for info in held.segments:
            if not (info.packed or self.read_only):
                leftovers.trim(self.root, info)
        segments = [Segment(self.root, info, self._shelf) for info in held.segments]
        self.unpacked = [info.name for info in held.segments if not info.packed]
        tail = None
        if held.tail:
            shard, _, name = held.tail.rpartition("/")
            tail = Tail(self.root, shard, name, self.options.frames_per_chunk)
            try:
                tail.load(read_only=self.read_only)
            except FileNotFoundError:
                self._note_gone(Damage(tail.relative, 0, 0, "the file is missing", "", RESTORE))
                tail = None
            else:
                self.chunks = tail.built // self.options.frames_per_chunk
                if tail.short is not None:
                    self._note_gone(tail.short)
                for damage in tail.damage:
                    self.note_damage(damage)
        self.size = sum(info.length for info in held.segments) + (tail.length if tail else 0)
        last = tail.columns.numbers[-1] + 1 + len(tail.damage) if tail is not None and len(tail.columns) else 0
        last = max([last, held.next_number, *(info.last + 1 for info in held.segments)])
        self._runs = known.load(self.root, clean=not self.read_only)
        self._publish(segments, tail, last)

    def close(self) -> None:
        """Give up all files; a reader that is still at work ends with what it has open."""
        tail = self.view.tail
        if tail is not None:
            tail.close()
        self._shelf.clear()
        self._hold.release()

    def _publish(self, segments: Sequence[Segment], tail: Tail | None, next_number: int) -> None:
        """Show readers what there is."""
        ordered = tuple(sorted(segments, key=lambda segment: segment.info.first))
        tail_count = len(tail.columns) if tail is not None else 0
        count = sum(segment.info.frames for segment in ordered) + tail_count
        self.view = View(ordered, tail, tail_count, next_number, count, Known(ordered, self._runs))

    # ---- sealing, chunks

    def seal(self, month: str = "") -> None:
        """Seal the open segment, if it has frames, and open another."""
        view = self.view
        old = view.tail
        held = self._manifest
        segments = list(view.segments)
        name = self.new_name()
        shard = month or month_of(self.clock.now_ns() // 1_000_000)
        fresh = Tail(self.root, shard, name, self.options.frames_per_chunk)
        fresh.create()
        infos = list(held.segments)
        if old is not None and len(old.columns):
            old.build()
            info = self._sealed(old)
            segments.append(Segment(self.root, info, self._shelf))
            infos.append(info)
        self._commit(infos, f"{shard}/{name}")
        self.chunks = 0
        known.warm()
        self._extend_runs(segments)
        self._publish(segments, fresh, view.next_number)
        if old is not None:
            self._put_away(old)

    def _put_away(self, old: Tail) -> None:
        """Clean up behind an open segment that was sealed; what is left the next start deletes."""
        try:
            old.trim()
            old.chunks_path.unlink(missing_ok=True)
            if len(old.columns):
                self.unpacked.append(old.name)
            else:
                old.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("files of the archive could not be cleaned up", file=old.relative, error=str(error))

    def _extend_runs(self, segments: Sequence[Segment]) -> None:
        """Keep the runs of ids up with the segments; they only save time, so that a full disk does no harm."""
        try:
            self._runs = known.extend(self.root, segments, self._runs)
        except OSError as error:
            log.warning("the ids of the archive could not be put in order", error=str(error))
            self._runs = known.load(self.root, clean=False)

    def _sealed(self, tail: Tail) -> SegmentInfo:
        """Write the sidecar of a tail, and return what the manifest says of it."""
        crc = tail.checksum()
        header = {"length": tail.length, "crc": crc, "dictionaries": {}}
        # Not synced: if it is lost with the power, it is made again from the frames.
        tail.path.with_suffix(".index").write_bytes(tail.columns.write(header))
        return describe(tail.columns, tail.name, tail.shard, tail.length, crc, packed=False)

    def _commit(self, infos: list[SegmentInfo], tail: str) -> None:
        held = self._manifest
        number, segment = self.view.next_number, self._next_segment
        fresh = msgspec.structs.replace(held, next_number=number, next_segment=segment, tail=tail, segments=infos)
        manifest.write(self.root, fresh)
        self._manifest = fresh

    # ---- chunks

    def build(self, *, forced: bool) -> bool:
        """Build waiting frames into chunks if there are enough; return whether it did.

        `batch_threshold` of them are enough when nothing else is to be done, `max_queue_size` always (*forced*).
        """
        tail = self.view.tail
        if tail is None:
            return False
        enough = self.options.max_queue_size if forced else self.options.batch_threshold
        if tail.waiting < enough:
            return False
        try:
            self.chunks += tail.build()
        except OSError as error:  # the frames are safe, and the next start reads them one by one
            log.warning("a chunk could not be built", folder=str(self.root), error=str(error))
            return False
        return True

    # ---- changes of sealed segments

    @property
    def has_upkeep(self) -> bool:
        """Say whether there is anything that can wait, and waits."""
        return bool(self.unpacked) and not self.read_only

    def upkeep(self) -> Generator[None, None, None]:
        """Do what can wait, in small steps."""
        while self.unpacked:
            name = self.unpacked[0]
            for segment in self.view.segments:
                if segment.name == name:
                    for _ in pack.rewrite(self, [segment]):
                        yield
            if name in self.unpacked:  # it is damaged, and stays as it is
                self.unpacked.remove(name)

    def new_name(self) -> str:
        """Return a name for a segment that none has had."""
        self._next_segment += 1
        return f"{self._next_segment - 1:08d}"

    @property
    def missing(self) -> list[str]:
        """Return what was missing at a start and no repair has told of yet, one line each."""
        return self._manifest.damage

    @property
    def lost(self) -> list[str]:
        """Return what repairs could not save, one line each."""
        return self._manifest.lost

    def check_writable(self) -> None:
        """Raise `Unavailable` (ARCHIVE_READ_ONLY) if nothing can be changed."""
        if self.read_only:
            raise files.fault(OSError(errno.EROFS, "it is on a medium that is only read"), self.root)

    def note_lost(self, lines: Sequence[str]) -> None:
        """Remember what is lost for good, as a repair tells; at most `MAX_DAMAGE` lines."""
        held = self._manifest
        lost = list(dict.fromkeys([*held.lost, *lines]))[-MAX_DAMAGE:]
        self._manifest = msgspec.structs.replace(held, lost=lost)
        self._commit(list(held.segments), held.tail)

    def repaired(self) -> None:
        """Note that all damage was told of and dealt with: what is gone is a known loss from now on."""
        self.damage.clear()
        self.gone.clear()
        if gone := self._manifest.damage:
            self._manifest = msgspec.structs.replace(self._manifest, damage=[])
            self.note_lost(gone)

    def _note_gone(self, damage: Damage) -> None:
        """Remember what the open segment lacks: what is appended next takes its place, and hides it."""
        self.gone.append(damage)
        line = f"{damage.file} at {damage.offset}: {damage.reason}"
        log.error("the archive is damaged", file=damage.file, offset=damage.offset, reason=damage.reason)
        if line in self._manifest.damage:
            return
        lines = [*self._manifest.damage, line][-MAX_DAMAGE:]
        self._manifest = msgspec.structs.replace(self._manifest, damage=lines)
        if self.read_only:
            return
        try:
            manifest.write(self.root, self._manifest)
        except OSError as error:
            log.warning("the archive's list of segments could not be written", error=str(error))

    def refuse_newer(self, segment: Segment) -> None:
        """Raise `FailedPrecondition` (ARCHIVE_NEWER) if a segment holds frames of a newer layout."""
        opened = segment.open()
        data = opened.map()
        for offset in opened.sidecar.offsets:
            try:
                layout.parse(data, offset)
            except layout.BrokenFrame as error:
                if error.version > layout.NEWEST:
                    raise newer(self.root) from None

    def exchange(self, old: Sequence[SegmentInfo], new: Sequence[SegmentInfo]) -> None:
        """Put *new* in the place of *old*, durably, and delete the old files."""
        gone = {info.name for info in old}
        infos = [info for info in self._manifest.segments if info.name not in gone]
        self._commit([*infos, *new], self._manifest.tail)
        view = self.view
        segments = [segment for segment in view.segments if segment.name not in gone]
        segments += [Segment(self.root, info, self._shelf) for info in new]
        self.size += sum(info.length for info in new) - sum(info.length for info in old)
        self.unpacked = [name for name in self.unpacked if name not in gone]
        self._extend_runs(segments)
        self._publish(segments, view.tail, view.next_number)
        for info in old:
            self._shelf.drop(info.name)
            for suffix in (".frames", ".index"):
                path = self.root / "shards" / info.shard / f"{info.name}{suffix}"
                path.unlink(missing_ok=True)

    def exchange_tail(self, gone: Collection[int]) -> None:
        """Write the open segment anew without some frames."""
        view = self.view
        old = view.tail
        if old is None:
            return
        fresh = old.without(self.new_name(), gone)
        self._commit(list(self._manifest.segments), f"{fresh.shard}/{fresh.name}")
        self.size += fresh.length - old.length
        self.chunks = fresh.built // self.options.frames_per_chunk
        self._publish(view.segments, fresh, view.next_number)
        old.path.unlink(missing_ok=True)
        old.chunks_path.unlink(missing_ok=True)
