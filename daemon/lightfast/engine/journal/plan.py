"""What a replay is asked for, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from lightfast.engine.journal.compare import Difference
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Plan:
    """What to replay, and how; *start* and *end* in seconds since the recording began, *end* 0 is its end.

    *speed* may be `inf`: as fast as the daemon takes it. *apps* are mounts (none: everything). *everything* writes
    also what links and applications caused. *dry* writes nothing. *check* compares. *set_up* makes the recorded
    declarations and links first, for a daemon that has none.
    """

    name: str
    speed: float = 1.0
    start: float = 0.0
    end: float = 0.0
    apps: tuple[str, ...] = ()
    everything: bool = False
    dry: bool = False
    check: bool = False
    set_up: bool = False


class Planned(NamedTuple):
    """A write of a dry run: *at* in seconds since the recording began, *what* is set, delete, move or publish."""

    at: float
    what: str
    path: str
    value: Value | None
    source: str = ""


class Progress(NamedTuple):
    """How far it is; times in seconds."""

    at: float
    end: float
    transactions: int
    samples: int
    worst_lateness: float


class Outcome(NamedTuple):
    """How it ended; times in seconds. *note* says what could not be compared."""

    transactions: int
    samples: int
    refused: int
    skipped: int
    differences: int
    worst_lateness: float
    seconds: float
    group: str
    revision: int
    checked: bool
    note: str


Step = Planned | Progress | Difference | Outcome
