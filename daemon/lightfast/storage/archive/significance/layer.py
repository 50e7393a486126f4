"""The layer of significance: frames are scored after they were appended, in the background."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.storage.archive.layer import Layer
from lightfast.storage.archive.layer_port import FrameSource, slices
from lightfast.storage.archive.records import Frame
from lightfast.storage.archive.significance.records import DIMENSIONS, NEUTRAL, Scorer, Scores, Significance
from lightfast.storage.archive.significance.statistics import Statistics

if TYPE_CHECKING:
    import apsw

log = structlog.get_logger("lightfast.archive")

_ROW = struct.Struct(">6Bqq")
"""Six scores in steps of 1/255, the time of the frame and the time it speaks of, in ms since 1970."""
SAVED_EVERY = 50
"""What was learnt is written after so many slices; what a crash takes of it matters little."""
RETRY_S = (60.0, 600.0)
"""A scorer that failed is left alone for so long at first, and at most; statistics take its place meanwhile."""


class SignificanceLayer(Layer):
    """Keeps the significance of every text frame. Private frames are not looked at: they stay neutral."""

    NAME = "significance"
    VERSION = 1
    SCHEMA = "create table scores (frame_id text primary key, row blob not null, scorer text not null) without rowid"

    def __init__(
        self,
        archive: FrameSource,
        folder: Path,
        *,
        scorer: Scorer | None = None,
        clock: Clock = SYSTEM,
        slice_size: int = 64,
        rest: float = 1.0,
    ) -> None:
        """*scorer* is asked first, and statistics where it has no answer."""
        super().__init__(archive, folder, clock=clock, slice_size=slice_size, rest=rest)
        self.scorer = scorer
        self._statistics = Statistics()
        self._unsaved = 0
        self._mine = threading.local()
        self._not_before = 0.0
        self._patience = RETRY_S[0]

    # ---- asking

    async def significance(self, frame_id: str) -> Significance | None:
        """Return the significance of a frame, None when it is not scored (yet)."""
        return await self._in_worker(self._read, frame_id) if self.is_there else None

    async def rating(self, frame_id: str) -> float | None:
        """Return the whole of a frame, 0.0 to 1.0, None when it is not scored: what the collector asks."""
        found = await self.significance(frame_id)
        return None if found is None else found.overall(self._now_ms())

    async def overall(self, frame_ids: Sequence[str]) -> dict[str, float]:
        """Return the whole of each frame, 0.0 to 1.0; NEUTRAL for what is not scored."""
        return (
            await self._in_worker(self._overall, list(frame_ids))
            if self.is_there
            else dict.fromkeys(frame_ids, NEUTRAL)
        )

    def score(self, frame_id: str) -> float:
        """Return the whole of a frame, 0.0 to 1.0, NEUTRAL when it is not scored. Blocks; for any thread."""
        reader = self._reader()
        if reader is None:
            return NEUTRAL
        row = reader.execute("select row, scorer from scores where frame_id = ?", (frame_id,)).fetchone()
        return NEUTRAL if row is None else _unpacked(*row).overall(self._now_ms())

    def weigh(self, frame: Frame) -> float:
        """Return the factor of a frame's relevance in searches: 0.5 to 1.5, 1.0 for NEUTRAL. Blocks; for any thread."""
        return 0.5 + self.score(frame.frame_id)

    def _reader(self) -> apsw.Connection | None:
        """Return this thread's own connection, None as long as nothing is kept."""
        found: tuple[int, apsw.Connection] | None = getattr(self._mine, "reader", None)
        if found is not None and found[0] == self.edition:
            return found[1]
        if not self._opened:
            return None
        import apsw

        edition = self.edition
        reader = apsw.Connection(str(self._folder / f"{self.NAME}.db"), flags=apsw.SQLITE_OPEN_READONLY)
        reader.set_busy_timeout(5000)
        self._mine.reader = (edition, reader)
        return reader

    # ---- scoring

    async def _take(self, frames: Sequence[Frame], position: int) -> None:
        told: list[Scores | None] = [None] * len(frames)
        if frames and self.scorer is not None and self._clock.monotonic() >= self._not_before:
            told = await self._ask(self.scorer, frames)
        await self._in_worker(self._write, list(frames), told, position)

    async def _ask(self, scorer: Scorer, frames: Sequence[Frame]) -> list[Scores | None]:
        try:
            found = list(await scorer.score(frames))
            if len(found) != len(frames):
                raise ValueError(f"{len(found)} answers for {len(frames)} frames")  # noqa: TRY301 — handled alike
        except Exception as error:  # noqa: BLE001 — a model may fail in any way; statistics do not
            self._not_before = self._clock.monotonic() + self._patience
            log.warning(
                "a scorer failed; statistics take its place",
                scorer=scorer.name,
                error=type(error).__name__,
                again_in_s=self._patience,
            )
            self._patience = min(RETRY_S[1], self._patience * 2)
            return [None] * len(frames)
        self._patience = RETRY_S[0]
        return found

    def _write(self, frames: list[Frame], told: list[Scores | None], position: int) -> None:
        rows = []
        for frame, scores in zip(frames, told, strict=True):
            text = str(frame.content)
            found = self._statistics.score(text, frame.time_ms)
            self._statistics.learn(text)
            by = self._statistics.name
            if scores is not None and self.scorer is not None:
                by, found = self.scorer.name, msgspec.structs.replace(scores, due_ms=found.due_ms)
            rows.append((frame.frame_id, _packed(found, frame.time_ms), by))
        with self.db:
            self.db.executemany("insert or replace into scores values (?, ?, ?)", rows)
            self._write_position(position)
            self._unsaved += bool(rows)
            if self._unsaved >= SAVED_EVERY:
                self._save_learnt()

    def _forget(self, frame_ids: Sequence[str]) -> None:
        with self.db:
            for part in slices(frame_ids, 500):
                self.db.executemany("delete from scores where frame_id = ?", ((frame_id,) for frame_id in part))

    # ---- the file

    def _read(self, frame_id: str) -> Significance | None:
        row = self.db.execute("select row, scorer from scores where frame_id = ?", (frame_id,)).fetchone()
        return None if row is None else _unpacked(*row)

    def _overall(self, frame_ids: list[str]) -> dict[str, float]:
        now = self._now_ms()
        found = {frame_id: self._read(frame_id) for frame_id in frame_ids}
        return {key: NEUTRAL if one is None else one.overall(now) for key, one in found.items()}

    def _load(self) -> None:
        self._statistics = Statistics()
        row = self.db.execute("select value from meta where key = 'learnt'").fetchone()
        if row is not None:
            try:
                self._statistics.unpack(bytes(row[0]))
            except (ValueError, zlib.error):
                log.warning("what was learnt of the words is broken; it begins anew", layer=self.NAME)

    def _save(self) -> None:
        if self._unsaved:
            with self.db:
                self._save_learnt()

    def _save_learnt(self) -> None:
        self.db.execute("insert or replace into meta values ('learnt', ?)", (self._statistics.pack(),))
        self._unsaved = 0

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


def _packed(scores: Scores, time_ms: int) -> bytes:
    return _ROW.pack(*(round(255 * min(1.0, max(0.0, value))) for value in scores.values), time_ms, scores.due_ms)


def _unpacked(row: bytes, scorer: str) -> Significance:
    *steps, time_ms, due_ms = _ROW.unpack(row)
    values = dict(zip(DIMENSIONS, (step / 255 for step in steps), strict=True))
    return Significance(Scores(**values, due_ms=due_ms), time_ms, scorer)
