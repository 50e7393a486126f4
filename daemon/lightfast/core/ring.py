"""The newest errors, kept in memory for whoever asks what went wrong."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from lightfast.core.clock import SYSTEM, Clock

_LONGEST = 8192  # a traceback longer than this is cut: the ring is for people


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error as it was logged; *record_time* is in ns since 1970, *fields* are plain values."""

    record_time: int
    logger: str
    event: str
    fields: Mapping[str, Any]


class ErrorRing:
    """A bounded list of errors; the oldest go first. *hide* makes secrets in tracebacks unreadable.

    `total` counts all errors that were ever added, `unwritten` the lines that could not be written down.
    """

    def __init__(self, size: int, clock: Clock = SYSTEM, *, hide: Callable[[str], str] = str) -> None:
        self._kept: deque[ErrorEntry] = deque(maxlen=size)
        self._clock = clock
        self._hide = hide
        self.total = 0
        self.unwritten = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Keep one log event, which is already free of secrets."""
        self.total += 1
        fields = {name: value for name, value in event.items() if name not in {"event", "logger", "level", "exc_info"}}
        if event.get("exc_info"):
            fields["exception"] = self._hide(_text(event["exc_info"]))[-_LONGEST:]
        self._kept.append(
            ErrorEntry(self._clock.now_ns(), str(event.get("logger", "")), str(event.get("event", "")), fields)
        )

    def forget(self, holds: Callable[[Any], bool]) -> None:
        """Let go of the errors of which *holds* says that they hold what is purged."""
        kept = [one for one in self._kept if not holds([one.logger, one.event, dict(one.fields)])]
        self._kept = deque(kept, maxlen=self._kept.maxlen)

    def newest(self, limit: int) -> list[ErrorEntry]:
        """Return at most *limit* errors, newest first."""
        return list(islice(reversed(self._kept), limit))


def _text(info: BaseException | tuple[Any, ...] | bool) -> str:
    error: BaseException | None = None
    trace: TracebackType | None = None
    if isinstance(info, BaseException):
        error, trace = info, info.__traceback__
    elif isinstance(info, tuple):
        _, error, trace = info
    else:
        import sys

        _, error, trace = sys.exc_info()
    return "".join(traceback.format_exception(type(error), error, trace)) if error else ""
