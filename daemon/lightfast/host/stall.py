"""Notices that the event loop does not move, and finds the plugin that holds it.

A thread looks whether the loop has ticked. When it has not for longer than the limit, the
stack of the loop's thread is read; the innermost frame that belongs to a plugin names it.
Nothing can be done about the block itself: Python cannot stop a function from outside.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import structlog

log = structlog.get_logger("lightfast.host")

LIMIT = 5.0
"""After how many seconds without a tick the loop counts as blocked."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The loop stood for *seconds* so far; *plugin* is empty where no plugin's frame is on the stack."""

    plugin: str
    seconds: float
    stack: str


class StallWatch:
    """Watches the running loop. *owner* says whose a frame is (file, module); *report* runs in the thread."""

    def __init__(
        self,
        owner: Callable[[str, str], str],
        report: Callable[[Stall], None],
        *,
        limit: float = LIMIT,
    ) -> None:
        self._owner = owner
        self._report = report
        self._limit = limit
        self._ended = threading.Event()
        self._last_tick = time.monotonic()
        self._thread: threading.Thread | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._loop_thread = 0

    def start(self) -> None:
        """Begin; call it on the loop."""
        self._loop_thread = threading.get_ident()
        self._tick()
        self._thread = threading.Thread(target=self._look, name="lightfast-stall", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; call it on the loop."""
        self._ended.set()
        if self._handle is not None:
            self._handle.cancel()
        if self._thread is not None:
            self._thread.join(1.0)

    def _tick(self) -> None:
        self._last_tick = time.monotonic()
        self._handle = asyncio.get_running_loop().call_later(self._limit / 4, self._tick)

    def _look(self) -> None:
        pause = self._limit / 4
        told = 0.0
        looked = time.monotonic()
        while not self._ended.wait(pause):
            now = time.monotonic()
            frozen = now - looked > 3 * pause  # the whole process stood still: nobody's fault
            looked = now
            last = self._last_tick
            if frozen or now - last <= self._limit or told == last:
                continue
            told = last  # one report for one block
            stall = self._examine(now - last)
            try:
                self._report(stall)
            except Exception:
                log.exception("a stall could not be reported")

    def _examine(self, seconds: float) -> Stall:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 — the one way to another thread's stack
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        return Stall(self._culprit(frame), seconds, stack)

    def _culprit(self, frame: FrameType | None) -> str:
        while frame is not None:
            owner = self._owner(frame.f_code.co_filename, frame.f_globals.get("__name__", ""))
            if owner:
                return owner
            frame = frame.f_back
        return ""
