"""The records of the transport that other rooms see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

INTERNAL = "internal"
"""The leader that is the daemon's own clock."""


class Role(StrEnum):
    """What an application is to the timeline."""

    NONE = "NONE"
    LEADER = "LEADER"
    FOLLOWER = "FOLLOWER"


class Standing(StrEnum):
    """How an application keeps to the timeline; see `transport.proto`."""

    FREE = "FREE"
    AWAY = "AWAY"
    CATCHING_UP = "CATCHING_UP"
    IN_STEP = "IN_STEP"
    BY_HAND = "BY_HAND"
    DEGRADED = "DEGRADED"


class Hands(StrEnum):
    """What somebody who plays or stops a follower's own transport brings about.

    `REPORT`: it is left alone and shown, until the timeline next plays, stops or seeks. `LEAD`: everybody plays or
    stops with it. `IGNORE`: it is brought back in step.
    """

    REPORT = "report"
    LEAD = "lead"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Options:
    """How the followers are kept in step.

    *threshold_s* is the phase error from which a follower is located, *corrections_hz* how often at most,
    *chase_hz* how often one that cannot play by itself is moved along, *mirror_hz* how often the position is published
    while it plays.
    """

    hands: Hands = Hands.REPORT
    threshold_s: float = 0.08
    corrections_hz: float = 2.0
    chase_hz: float = 10.0
    mirror_hz: float = 10.0


@dataclass(frozen=True, slots=True)
class Follow:
    """That an application follows: *offset* seconds later than the timeline, with its tempo or without."""

    offset: float = 0.0
    tempo: bool = True


@dataclass(frozen=True, slots=True)
class AppTransport:
    """One application with a transport; see `transport.proto`."""

    mount: str
    role: Role
    standing: Standing
    reason: str = ""
    follow: Follow = Follow()
    phase_ms: float | None = None
    phase_p99_ms: float | None = None
    drift_ppm: float | None = None
    samples: int = 0
    corrections: int = 0
    has: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TransportRecord:
    """The timeline at *time* (ns since 1970); see `transport.proto`."""

    playing: bool
    position: float
    beats: float
    frames: int
    timecode: str
    tempo: float
    frame_rate: str
    frames_per_second: float
    time: int
    leader: str
    leading: str
    notice: str
    apps: tuple[AppTransport, ...] = ()
