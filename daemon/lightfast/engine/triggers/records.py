"""What happened, what a trigger did about it, and how triggers stand. Times are ns since 1970."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that may fire a trigger: *names* is what its condition and its parameters know.

    *revision* is that of the change, 0 for signals and all else; *said* the values that decide, for the trace; *file*
    the file that appeared.
    """

    names: Mapping[str, Any]
    said: str
    origin: str = ""
    revision: int = 0
    group: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Firing:
    """One trace: a trigger fired, or did not. *times* is how often the same happened in a row, *time* the last one.

    *code* is a stable name: fired, false, still_true, cooldown, rate, busy, queued, loop, refused, …
    """

    trigger: str
    workflow: str
    time: int
    fired: bool
    code: str
    reason: str
    times: int = 1
    run_id: str = ""
    cause: int = 0


@dataclass(slots=True)
class Counts:
    """How often a trigger fired, and how often not; *due_time* is when a schedule is due next."""

    fired: int = 0
    held_back: int = 0
    last_time: int = 0
    due_time: int = 0


@dataclass(frozen=True, slots=True)
class TriggerStatus:
    """One trigger as it is listed."""

    name: str
    workflow: str
    kind: str
    summary: str
    counts: Counts = field(default_factory=Counts)
    disabled: str = ""


def shown(value: Any) -> str:
    """Return a value for a trace, cut where it is long."""
    text = repr(value)
    if "\\" in text:  # escapes of JSON are known to a purge, those of Python are not
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + "…"
