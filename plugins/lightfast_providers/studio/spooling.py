"""Runs frames into a film, some at a time, so that it can be watched and ended."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from lightfast.sdk import Preview, Progress, ProviderError, Step, Workbench

if TYPE_CHECKING:
    from lightfast_providers.studio.film import Cutter, Frame

TURN = 0.25
"""How long one turn on the bench may take, in seconds."""
PREVIEW_EVERY = 8
"""Every so many turns the newest frame is shown."""


class Spool:
    """Runs *frames* into *cutter*."""

    def __init__(self, frames: Iterator[Frame], cutter: Cutter) -> None:
        self._frames = frames
        self.cutter = cutter
        self.ended = False
        self._last: Frame | None = None

    def turn(self) -> None:
        """Take frames for a while."""
        end = time.monotonic() + TURN
        while time.monotonic() < end:
            frame = next(self._frames, None)
            if frame is None:
                self.ended = True
                return
            self._last = frame
            self.cutter.add(frame)

    def preview(self) -> bytes:
        """Return the newest frame, at most 320 pixels wide, as JPEG."""
        from PIL import Image

        if self._last is None:
            return b""
        image = Image.fromarray(self._last)
        image.thumbnail((320, 320))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        return buffer.getvalue()


async def spooled(
    spool: Spool, total: int, bench: Workbench, what: str, *, start: float = 0.1, end: float = 0.9
) -> AsyncIterator[Step]:
    """Run *spool* to its end; yields progress from *start* to *end* of all, and previews. *total* is about how many."""
    turns = 0
    while not spool.ended:
        await bench.run(spool.turn)
        done = min(1.0, spool.cutter.count / max(1, total))
        yield Progress(start + (end - start) * done, f"{what}: frame {spool.cutter.count} of {total}")
        if turns % PREVIEW_EVERY == 0 and spool.cutter.count:
            yield Preview("image/jpeg", await bench.run(spool.preview))
        turns += 1
    if not spool.cutter.count:
        raise ProviderError("there is no frame in what was asked for", kind="invalid")
