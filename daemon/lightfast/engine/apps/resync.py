"""What happens when an application returns: whose values hold, and what was lost.

All of it is decided here, on plain data: the entries the daemon had, the values the application
reported, and the mode that the documents and the user's policy give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lightfast.context.entry import Entry, Report, Status
from lightfast.engine.apps.mounts import Claim
from lightfast.engine.apps.wishes import same
from lightfast.sdk import Change, Hello
from lightfast_link.value import Value


class Mode(StrEnum):
    """Whose values hold."""

    DAEMON = "daemon"
    """What the daemon had is put back: the application crashed and is back with an older state."""
    NEWEST = "newest"
    """The application's settled values hold, wishes that wait are put back unless it changed later."""
    ASK = "ask"
    """Nobody's: each difference becomes a question to the user."""
    APP = "app"
    """The application's values hold; wishes that wait are overwritten, with a conflict record."""


def mode_of(before: Claim | None, hello: Hello, policy: str = "", *, witnessed: bool = True) -> Mode:
    """Return whose values hold when *hello* comes after *before*; *policy* is the user's word, or empty.

    *witnessed* says that this daemon saw the application leave. Where it did not, it may well have been the
    daemon that was away, and one that does not count its changes must not find its faders thrown back.
    """
    if policy:
        return Mode(policy)
    if before is None:
        return Mode.NEWEST
    if before.document_id != hello.document_id:
        return Mode.APP
    if hello.generation < 0 and not witnessed:
        return Mode.NEWEST
    return Mode.NEWEST if hello.generation > before.generation else Mode.DAEMON


@dataclass(slots=True)
class Overwritten:
    """A wish that gave way to the application's value."""

    entry: Entry
    reported: Value | None


@dataclass(slots=True)
class Question:
    """A difference that the user decides; *reported* is `None` where the application does not have the path."""

    entry: Entry
    wished: Value
    reported: Value | None


@dataclass(slots=True)
class Plan:
    """What is to be written and wished.

    *taken* are the application's values, *restored* what is put back (still to be wished),
    *signals* what is put back without an answer, *gone* entries to delete, *absent* the
    paths among *restored* that the application does not have now, *lost* what it cannot take back,
    *asked* what the user decides, *agreed* the paths on which both sides have come to agree.
    *complete* says that the application reported everything.
    """

    taken: list[Report] = field(default_factory=list)
    restored: list[Report] = field(default_factory=list)
    signals: list[tuple[str, Value]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    overwritten: list[Overwritten] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    asked: list[Question] = field(default_factory=list)
    agreed: set[str] = field(default_factory=set)
    complete: bool = True


_WAITING = frozenset({Status.PENDING, Status.NONE})

Tolerance = Callable[[str], float]
Writable = Callable[[str], bool]


def plan(
    mode: Mode,
    entries: Iterable[Entry],
    reports: Mapping[str, Change],
    *,
    complete: bool = True,
    tolerance: Tolerance = lambda _: 0.0,
    writable: Writable = lambda _: True,
) -> Plan:
    """Return what to do with *entries* of a mount after its application reported *reports* by path.

    An incomplete report (*complete* false) says nothing of what is missing in it.
    """
    made = Plan(complete=complete)
    known = set()
    waiting: dict[str, int] = {}
    for entry in entries:
        if entry.status in _WAITING:
            waiting[entry.path] = entry.revision
        known.add(entry.path)
        change = reports.get(entry.path)
        if change is None or change.value is None:
            if complete:
                _missing(made, mode, entry, writable(entry.path))
        else:
            _present(made, mode, entry, change, tolerance(entry.path), writable(entry.path))
    for path, change in reports.items():
        if path not in known and change.value is not None:
            made.taken.append(taken(path, change, change.value))
    # What was wished meanwhile comes last, as it was wished: where two paths are one thing in the application
    # (a fader as a position and in dB), what was settled once must not undo it.
    made.restored.sort(key=lambda report: waiting.get(report.path, 0))
    return made


def _present(made: Plan, mode: Mode, entry: Entry, change: Change, tolerance: float, writable: bool) -> None:
    value = change.value
    assert value is not None  # noqa: S101  # the caller looked
    waiting = entry.status in _WAITING
    held = entry.reported if entry.status is Status.REJECTED and entry.reported is not None else entry.value
    if same(held, value, tolerance):
        made.agreed.add(entry.path)
        _agreed(made, entry, change, value, waiting)
    elif not writable:
        made.taken.append(taken(entry.path, change, value))
    elif mode is Mode.ASK and held is not None:
        made.asked.append(Question(entry, held, value))
    elif held is not None and _daemons(mode, entry, change, waiting):
        if waiting and not entry.signal:
            made.restored.append(Report(entry.path, Status.PENDING, reported=value))
        else:
            _put_back(made, entry, value, held)
    else:
        made.taken.append(taken(entry.path, change, value))
        if waiting:
            made.overwritten.append(Overwritten(entry, value))


def _daemons(mode: Mode, entry: Entry, change: Change, waiting: bool) -> bool:
    """Say whether the value in the tree holds, and not the one in the report."""
    return mode is Mode.DAEMON or (waiting and mode is Mode.NEWEST and not _later(change, entry))


def _agreed(made: Plan, entry: Entry, change: Change, value: Value, waiting: bool) -> None:
    if entry.status is Status.REJECTED and entry.reported is not None:
        return
    if entry.status is not Status.SETTLED or waiting or entry.reported is None:
        made.taken.append(Report(entry.path, Status.SETTLED, reported=value, object_id=change.object_id or None))


def _put_back(made: Plan, entry: Entry, reported: Value, held: Value) -> None:
    """Put a settled value back, or a signal: nobody would answer that, whatever it waits for."""
    if entry.signal:
        made.signals.append((entry.path, held))
        made.taken.append(Report(entry.path, Status.SETTLED))
        return
    made.restored.append(Report(entry.path, Status.PENDING, reported=reported, value=held))


def _missing(made: Plan, mode: Mode, entry: Entry, writable: bool) -> None:
    waiting = entry.status in _WAITING
    if entry.value is None:
        made.gone.append(entry.path)
    elif mode is Mode.APP or (mode is Mode.NEWEST and not waiting):
        made.gone.append(entry.path)
        if waiting:
            made.overwritten.append(Overwritten(entry, None))
    elif not writable or entry.signal or entry.status is Status.REJECTED:
        made.gone.append(entry.path)
        made.lost.append(entry.path)
    elif mode is Mode.ASK:
        made.asked.append(Question(entry, entry.value, None))
    else:
        made.restored.append(Report(entry.path, Status.PENDING))
        made.absent.add(entry.path)


def taken(path: str, change: Change, value: Value) -> Report:
    """Return what records that the application holds *value* at *path*, as it says in *change*."""
    return Report(
        path,
        Status.SETTLED,
        reported=value,
        value=value,
        event_time=change.event_time,
        object_id=change.object_id or None,
    )


def _later(change: Change, entry: Entry) -> bool:
    """Say whether the application says that it changed the value after it was wished."""
    return change.event_time > max(entry.event_time, 0) > 0
