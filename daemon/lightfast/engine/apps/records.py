"""The records of joined applications: what the registry shows, and what a command yields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lightfast_link.value import Value


class AppState(StrEnum):
    """How an application stands."""

    ABSENT = "absent"
    CONNECTING = "connecting"
    RESYNCING = "resyncing"
    LIVE = "live"
    DEGRADED = "degraded"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class AppRecord:
    """One application instance as it stands now; *connect_time* in ns since 1970, *recovery_s* in seconds.

    *recovery_s* is how long it took from `hello` to being in step the last time, `None` before that.
    *lost_paths* are what could not be put back when it returned, *pending* the wishes that wait for it,
    *since* (ns since 1970) when its state began.
    """

    mount: str
    kind: str
    state: AppState
    state_reason: str = ""
    app_version: str = ""
    instance_id: str = ""
    document_id: str = ""
    pid: int = 0
    transport: str = ""
    connect_time: int = 0
    recovery_s: float | None = None
    simulator: bool = False
    lost_paths: tuple[str, ...] = ()
    pending: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is known of a joined application's health; times in seconds.

    *silent_s* is how long nothing came from it, *under_way* the wishes it has not answered and *oldest_s* for how
    long the first of them waits, *calls* the commands it runs, *backlog* its reports that wait for the store.
    *malformed* reports and *bad_frames* were left out, *refused* ones the store would not have,
    *dropped_signals* did not fit on the way to it.
    """

    silent_s: float = 0.0
    under_way: int = 0
    oldest_s: float = 0.0
    calls: int = 0
    backlog: int = 0
    malformed: int = 0
    refused: int = 0
    bad_frames: int = 0
    dropped_signals: int = 0


@dataclass(frozen=True, slots=True)
class ResyncReport:
    """What a resync did: values *taken* over from the application, wishes *restored* to it, paths lost."""

    app: AppRecord
    taken: int
    restored: int
    lost_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a command is; *fraction* from 0 to 1, -1 where it is not known."""

    fraction: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of a command; `None` where it returns nothing."""

    value: Value | None = None
