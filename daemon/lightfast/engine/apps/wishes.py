"""What was sent to an application and how its reports compare: the in-flight window.

Real applications round, stay silent when nothing changed, echo to the sender, and echo late. So a
report is judged by what was sent to that path: the answer to the wish in flight, an older value
that comes back late, or a change of the application's own.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from lightfast_link.path import is_under
from lightfast_link.value import Value, close

TIMEOUT = 5.0
"""Seconds an application has to answer a wish."""
WINDOW = 1.0
"""Seconds in which an earlier value that was sent may come back as a late echo."""
MAX_SENT = 32
"""The most earlier values remembered for one path."""
MAX_LATE = 4096
"""The most wishes remembered after their deadline, so that a late answer still counts."""
PACE = 0.002
"""Seconds added to the deadline for each wish already under way: an application works them off in turn."""


class Verdict(Enum):
    """What a report is."""

    ECHO = "the answer to what was sent last"
    DIFFERS = "something else, while a wish is in flight"
    LATE = "an older value that was sent, coming back"
    OWN = "a change of the application's own"


@dataclass(slots=True)
class Flight:
    """One wish under way, and who has it; *value* `None` wants the path gone, *deadline* is monotonic.

    *reported* is what the application reported meanwhile, *read_back* says that it was asked to report
    everything since, *echoed* that a report was taken for the answer. A rename has *moved_from*; *marked*
    are the paths below it that are shown as pending, and *overtaken* says that the application has
    renamed the same object otherwise meanwhile. *sent* is when it went out, monotonic. *superseded* says
    that a newer wish went to its path, *renamed* that the application gave its object another name, and
    *before* is what the application said of an older wish: should it refuse this one, it holds that.
    """

    wish_id: int
    path: str
    value: Value | None
    revision: int
    deadline: float
    origin: str = ""
    reported: Value | None = None
    read_back: bool = False
    echoed: bool = False
    moved_from: str = ""
    marked: list[str] = field(default_factory=list)
    overtaken: bool = False
    sent: float = 0.0
    superseded: bool = False
    renamed: bool = False
    before: Value | None = None


@dataclass(slots=True)
class _Sent:
    value: Value | None
    until: float


@dataclass(slots=True)
class _Renamed:
    """A rename that the application's reports may not know of yet; *until* then, at most."""

    source: str
    target: str
    until: float = math.inf
    revision: int = 0


@dataclass(slots=True)
class Wishes:
    """The wishes of one application; times are monotonic seconds, given by the caller."""

    timeout: float = TIMEOUT
    window: float = WINDOW
    _next_id: int = 1
    _flights: dict[int, Flight] = field(default_factory=dict)
    _by_path: dict[str, Flight] = field(default_factory=dict)
    _late: OrderedDict[int, Flight] = field(default_factory=OrderedDict)
    _deletions: dict[int, Flight] = field(default_factory=dict)
    _sent: dict[str, deque[_Sent]] = field(default_factory=dict)
    _renames: dict[int, _Renamed] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)
    _moving: list[_Renamed] = field(default_factory=list)
    _followers: list[Callable[[str, str], None]] = field(default_factory=list)

    def follow(self, renamed: Callable[[str, str], None]) -> None:
        """Tell *renamed* of each subtree that gets another name: its source and its target."""
        self._followers.append(renamed)

    def __len__(self) -> int:
        return len(self._flights)

    def send(self, path: str, value: Value | None, revision: int, now: float, *, origin: str = "") -> Flight:
        """Note that a wish is sent, and return it; an older one for the path is superseded by it."""
        older = self._by_path.get(path)
        if older is not None:
            older.superseded = True
            self.expire(older)
        deadline = now + self.timeout + PACE * len(self._flights)
        flight = Flight(self._take_id(), path, value, revision, deadline, origin, sent=now)
        flight.before = older.before if older is not None else None
        self._flights[flight.wish_id] = self._by_path[path] = flight
        if value is None:
            self._deletions[flight.wish_id] = flight
        self._newest[path] = revision
        self._remember(path, value, now)
        return flight

    def newest(self, path: str) -> int:
        """Return the revision of the last wish sent for *path*, answered or not; 0 where there was none."""
        return self._newest.get(path, 0)

    def send_signal(self, path: str, value: Value | None, now: float) -> int:
        """Note that a signal is sent, which nobody answers; return its wish id."""
        self._remember(path, value, now)
        return self._take_id()

    def send_rename(self, source: str, target: str, revision: int, now: float, *, origin: str = "") -> Flight:
        """Note that the wish is sent that the subtree at *source* be called *target*, and return it."""
        deadline = now + self.timeout + PACE * len(self._flights)
        flight = Flight(self._take_id(), target, None, revision, deadline, origin, moved_from=source, sent=now)
        self._flights[flight.wish_id] = flight
        self._renames[flight.wish_id] = _Renamed(source, target, revision=revision)
        return flight

    def hand_marks_on(self, flight: Flight) -> None:
        """Let the rename *flight* answer for what earlier ones of the same subtree show as pending."""
        for other in self._flights.values():
            if other is not flight and other.moved_from and is_under(other.path, flight.path):
                flight.marked += [other.path[len(flight.path) :] + below for below in other.marked]
                other.marked = []

    def renamed(self, flight: Flight, now: float) -> None:
        """Note that a rename was carried out; reports by the old name may still be on their way."""
        self._drop(flight)
        if rename := self._renames.get(flight.wish_id):
            rename.until = now + self.window

    def not_renamed(self, flight: Flight) -> None:
        """Note that a rename was refused, and with it those that build on it."""
        self._drop(flight)
        self._renames.pop(flight.wish_id, None)
        for other in self._flights.values():
            if other.moved_from and is_under(other.path, flight.path):
                other.overtaken = True

    def renaming(self, path: str) -> bool:
        """Say whether a rename that *path* lies in is under way, or held back."""
        expected = any(wish_id < 0 and is_under(path, rename.target) for wish_id, rename in self._renames.items())
        return expected or any(each.moved_from and is_under(path, each.path) for each in self._flights.values())

    def expect(self, source: str, target: str, revision: int) -> None:
        """Note that the subtree at *source* is called *target* in the tree, which the application is to be told yet."""
        self.rename(source, target)
        self._renames[-self._take_id()] = _Renamed(source, target, revision=revision)

    def expect_nothing(self) -> None:
        """Forget what was expected: it is about to be sent."""
        self._renames = {wish_id: rename for wish_id, rename in self._renames.items() if wish_id > 0}

    def rename_of(self, source: str) -> Flight | None:
        """Return the rename under way of what the application calls *source*."""
        return next((flight for flight in self._flights.values() if flight.moved_from == source), None)

    def called_now(self, path: str) -> tuple[str, bool]:
        """Return where what the application calls *path* lies now, and whether its rename is still unanswered."""
        waiting = False
        for rename in self._renames.values():
            if is_under(path, rename.source):
                path = rename.target + path[len(rename.source) :]
                waiting = waiting or rename.until == math.inf
        return path, waiting

    def renamed_at(self, path: str) -> int:
        """Return the revision of the last rename of what the application calls *path*; 0 where none is remembered."""
        return max([rename.revision for rename in self._renames.values() if is_under(path, rename.source)], default=0)

    def in_flight(self, path: str) -> Flight | None:
        """Return the wish under way for *path*."""
        return self._by_path.get(path)

    def deleting(self, path: str) -> Flight | None:
        """Return the wish under way that wants *path*, or what it lies in, gone."""
        for flight in self._deletions.values():
            if is_under(path, flight.path):
                return flight
        return None

    def others(self, revision: int) -> bool:
        """Say whether wishes of another transaction than *revision* are under way."""
        return any(flight.revision != revision for flight in self._flights.values())

    def all(self) -> list[Flight]:
        """Return the wishes under way."""
        return list(self._flights.values())

    @property
    def outstanding(self) -> bool:
        """Say whether anything is under way or remembered, so that time matters."""
        return bool(self._flights or self._sent or self._renames)

    def judge(self, path: str, value: Value | None, now: float, *, tolerance: float = 0.0) -> Verdict:
        """Say what a report of *value* is; an echo or a late one is used up by it."""
        flight = self._by_path.get(path)
        if flight is not None and same(flight.value, value, tolerance):
            return Verdict.ECHO
        sent = self._sent.get(path)
        if sent and self._use_up(sent, value, now, tolerance):
            return Verdict.LATE
        return Verdict.DIFFERS if flight is not None else Verdict.OWN

    def answer(self, wish_id: int) -> Flight | None:
        """Take the wish that is answered, also after its deadline; `None` for one superseded or unknown."""
        flight = self._flights.get(wish_id)
        if flight is None:
            return self._late.pop(wish_id, None)
        self._remove(flight)
        return flight

    def expire(self, flight: Flight) -> None:
        """Give a wish up; a late answer is still recognized, but to a rename."""
        if flight.wish_id not in self._flights:
            return
        self._remove(flight)
        if flight.moved_from:
            return
        self._late[flight.wish_id] = flight
        while len(self._late) > MAX_LATE:
            self._late.popitem(last=False)

    def due(self, now: float) -> list[Flight]:
        """Return the wishes whose deadline is over."""
        return [flight for flight in self._flights.values() if flight.deadline <= now]

    def postpone(self, until: float) -> None:
        """Move deadlines that lie before *until* there: the application is busy with something known."""
        for flight in self._flights.values():
            flight.deadline = max(flight.deadline, until)

    def rename(self, source: str, target: str) -> None:
        """Follow a subtree that was renamed."""
        for wish_id in [wish_id for wish_id, old in self._renames.items() if old.source == target]:
            if self._renames[wish_id].until < math.inf:
                del self._renames[wish_id]  # the name is in use again
        for path in _below(self._by_path, source):
            flight = self._by_path.pop(path)
            flight.path = target + path[len(source) :]
            self._by_path[flight.path] = flight
        for flight in (*[each for each in self._flights.values() if each.moved_from], *self._late.values()):
            if is_under(flight.path, source):
                flight.path = target + flight.path[len(source) :]
        for path in _below(self._sent, source):
            self._sent[target + path[len(source) :]] = self._sent.pop(path)
        for path in _below(self._newest, source):
            self._newest[target + path[len(source) :]] = self._newest.pop(path)
        for follower in self._followers:
            follower(source, target)

    def moved(self, source: str, target: str, now: float, *, follows: bool) -> None:
        """Note that the application called *source* anew, which the tree, where it *follows*, is about to show."""
        self.rename(source, target)
        for flight in self._flights.values():
            flight.renamed = flight.renamed or is_under(flight.path, target)
        if follows:
            self._moving.append(_Renamed(source, target, now + self.window))

    def has_moved(self, source: str, target: str) -> None:
        """Note that the tree has followed with the entry at *source*, which lies at *target* now."""
        self._moving = [
            move for move in self._moving if not (is_under(source, move.source) and is_under(target, move.target))
        ]

    def moving(self, path: str, now: float) -> str:
        """Return what the application calls *path* by now, which somebody wished before the tree followed a rename."""
        for move in self._moving:
            if is_under(path, move.source) and now < move.until:
                path = move.target + path[len(move.source) :]
        return path

    def sweep(self, now: float) -> None:
        """Forget what was sent too long ago to come back."""
        for path in [path for path, sent in self._sent.items() if sent[-1].until <= now]:
            del self._sent[path]
        for wish_id in [wish_id for wish_id, rename in self._renames.items() if rename.until <= now]:
            del self._renames[wish_id]
        self._moving = [move for move in self._moving if now < move.until]

    def _drop(self, flight: Flight) -> None:
        if flight.wish_id in self._flights:
            self._remove(flight)

    def _remove(self, flight: Flight) -> None:
        del self._flights[flight.wish_id]
        self._deletions.pop(flight.wish_id, None)
        if self._by_path.get(flight.path) is flight:
            del self._by_path[flight.path]

    def _take_id(self) -> int:
        taken = self._next_id
        self._next_id += 1
        return taken

    def _remember(self, path: str, value: Value | None, now: float) -> None:
        sent = self._sent.setdefault(path, deque(maxlen=MAX_SENT))
        sent.append(_Sent(value, now + self.window))

    def _use_up(self, sent: deque[_Sent], value: Value | None, now: float, tolerance: float) -> bool:
        """Find *value* among the earlier ones, and forget it and all before it."""
        while sent and sent[0].until <= now and len(sent) > 1:
            sent.popleft()
        for index in range(len(sent) - 1):
            if same(sent[index].value, value, tolerance):
                for _ in range(index + 1):
                    sent.popleft()
                return True
        return False


def _below(paths: Iterable[str], source: str) -> list[str]:
    """Return *source*, and what lies below it, of *paths*: `is_under`, for very many of them."""
    below = source + "/"
    return [path for path in paths if path.startswith(below) or path == source]


def same(left: Value | None, right: Value | None, tolerance: float = 0.0) -> bool:
    """Say whether two values, or two absences, are the same within *tolerance*."""
    if left is None or right is None:
        return left is right
    return close(left, right, tolerance)
