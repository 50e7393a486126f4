"""Appending: the frames of all calls that wait, with one write and one sync; runs in the writer thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from lightfast.core.errors import Exhausted, LightfastError
from lightfast.core.ids import new_id
from lightfast.storage.archive import codec, files, manifest
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.frame import RawFrame
from lightfast.storage.archive.holdings import Holdings
from lightfast.storage.archive.manifest import Manifest
from lightfast.storage.archive.months import month_of
from lightfast.storage.archive.plain import encode_texts
from lightfast.storage.archive.reader import View
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.archive.rows import Appended, Rows
from lightfast.storage.archive.tail import Tail

log = structlog.get_logger("lightfast.archive")

MAX_TAIL_FRAMES = 16_384
MAX_TAIL_LENGTH = 16 << 20
"""An open segment is sealed when it has so many frames or bytes."""
QUOTA_EXCEEDED = "ARCHIVE_FULL"
MAX_DRAWS = 16
"""So often ids are drawn before it is given up."""


class Stock(Holdings):
    """The holdings, and how they grow."""

    def append(self, calls: Sequence[Sequence[NewFrame]]) -> list[Appended | Exception]:
        """Write the frames of several calls with one sync; each call succeeds or fails as a whole."""
        try:
            tail = self._ready_tail()
        except LightfastError as error:
            return [error for _ in calls]
        except OSError as error:
            return [files.fault(error, self.root) for _ in calls]
        for _ in range(MAX_DRAWS):
            outcomes, data, rows = self._encode_all(calls)
            keys = rows.keys
            if len(set(keys)) == len(keys) and tail.places.keys().isdisjoint(keys) and not self._taken(keys):
                break
            log.warning("an id was taken already: new ones are drawn")
        else:
            raise RuntimeError("random ids were taken again and again: the source of randomness is broken")
        if not rows:
            return outcomes
        block = b"".join(data)
        if self.size + len(block) > self.options.quota:
            full = self._full(len(block))
            return [full if isinstance(outcome, Appended) and outcome.ids else outcome for outcome in outcomes]
        try:
            at = tail.write(block)
        except OSError as error:
            return self._not_written(calls, outcomes, error)
        view = self.view
        number = view.next_number + len(rows)
        self.size += len(block)
        tail.add_rows(rows, view.next_number, at)
        self.view = View(
            view.segments, tail, len(tail.columns), number, view.count + len(rows), view.known
        )  # fmt: skip
        return outcomes

    def _not_written(
        self, calls: Sequence[Sequence[NewFrame]], outcomes: list[Appended | Exception], error: OSError
    ) -> list[Appended | Exception]:
        """Nothing of the group is on the disk; what is small may still find room alone."""
        asked = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, Appended)]
        if len(asked) > 1:
            for at in asked:
                outcomes[at] = self.append([calls[at]])[0]
        else:
            failure = files.fault(error, self.root)
            log.error("frames could not be written", folder=str(self.root), error=str(error))
            for at in asked:
                outcomes[at] = failure
        return outcomes

    def _full(self, more: int) -> Exhausted:
        return Exhausted(
            f"the archive holds {self.size:,} bytes and may hold {self.options.quota:,}: raise archive.quota, export "
            "and purge what is no longer needed, or let the collector delete more ('lightfast gc')",
            reason=QUOTA_EXCEEDED,
            metadata={"bytes": str(self.size), "quota": str(self.options.quota), "asked": str(more)},
        )

    def _encode_all(self, calls: Sequence[Sequence[NewFrame]]) -> tuple[list[Appended | Exception], list[bytes], Rows]:
        """Return what becomes of each call, and the bytes and the rows of all that can be written."""
        number = self.view.next_number
        together = calls[0] if len(calls) == 1 else [new for frames in calls for new in frames]
        plain = encode_texts(together, number, self._now_ms(), self._ids, list(map(len, calls)))
        if plain is not None:
            parts, rows, told = plain
            if len(calls) == 1:
                return [told], parts, rows
            return list(_shared(told, calls)), parts, rows
        outcomes: list[Appended | Exception] = []
        data: list[bytes] = []
        rows = Rows()
        for frames in calls:
            try:
                parts, fresh, told = self._encode(frames, number + len(rows))
            except LightfastError as error:
                outcomes.append(error)
            else:
                data += parts
                rows.extend(fresh)
                outcomes.append(told)
        return outcomes, data, rows

    def _encode(self, frames: Sequence[NewFrame], number: int) -> tuple[list[bytes], Rows, Appended]:
        now = self._now_ms()
        plain = encode_texts(frames, number, now, self._ids)
        if plain is not None:
            return plain
        parts: list[bytes] = []
        rows = Rows()
        told = Appended([], number, [])
        for at, new in enumerate(frames):
            codec.check(new)
            time_ms = new.time_ms or now
            frame_id = self._ids.new(new.content, time_ms)
            own: dict[str, Any] = {"_number": number + at}
            if not at and len(frames) > 1:
                own["_group"] = len(frames)
            data, size = codec.fresh(new, frame_id, time_ms, own, self.sealer)
            parts.append(data)
            rows.add(int(frame_id, 16), time_ms, len(data), size, new.kind, new.private)
            told.ids.append(frame_id)
            told.times.append(time_ms)
        return parts, rows, told

    def _now_ms(self) -> int:
        return self.clock.now_ns() // 1_000_000

    def _taken(self, keys: Sequence[int]) -> bool:
        """Say whether a sealed segment holds one of *keys*."""
        return self.view.known.any_of(keys)

    def has(self, key: int) -> bool:
        """Say whether there is a frame with the id *key*."""
        tail = self.view.tail
        return (tail is not None and key in tail.places) or self.view.known.holds(key)

    def _ready_tail(self) -> Tail:
        """Return the open segment, with room in it."""
        self.check_writable()
        tail = self.view.tail
        month = month_of(self._now_ms())
        if tail is not None:
            full = len(tail.columns) >= MAX_TAIL_FRAMES or tail.length >= MAX_TAIL_LENGTH
            if not full and (tail.shard == month or not len(tail.columns)):
                return tail
        if tail is None:
            self._found()
        self.seal(month)
        found = self.view.tail
        if found is None:
            raise RuntimeError("sealing leaves an open segment")
        return found

    def _found(self) -> None:
        """Make the archive's folder, where there is none."""
        if not self._manifest.archive_id:
            files.make_folder(self.root)
            self._take_hold()
            self._manifest = Manifest(manifest.FORMAT, new_id("archive"))

    def adopt(self, frames: Sequence[RawFrame]) -> list[str]:
        """Append frames that have their ids, all or none; their codings need no other frame."""
        tail = self._ready_tail()
        number = self.view.next_number
        parts: list[bytes] = []
        owns: list[dict[str, Any]] = []
        for at, raw in enumerate(frames):
            own = codec.load(raw.metadata)
            own["_number"] = number + at
            if not at and len(frames) > 1:
                own["_group"] = len(frames)
            owns.append(own)
            metadata = codec.dump(own)
            parts.append(layout.encode(raw.version, raw.frame_id.encode(), raw.time_ms, bytes(raw.content), metadata))
        block = b"".join(parts)
        if self.size + len(block) > self.options.quota:
            raise self._full(len(block))
        at = tail.write(block)
        self.size += len(block)
        for raw, own, part in zip(frames, owns, parts, strict=True):
            tail.take(raw, own, at, len(part))
            at += len(part)
        self.build(forced=True)
        self._publish(self.view.segments, tail, number + len(frames))
        return [raw.frame_id for raw in frames]


def _shared(told: Appended, calls: Sequence[Sequence[NewFrame]]) -> Iterator[Appended]:
    """Yield what each of *calls* is told of frames that were encoded together."""
    at = 0
    for frames in calls:
        end = at + len(frames)
        yield Appended(told.ids[at:end], told.number + at, told.times[at:end])
        at = end
