"""What an application reports, judged against what was sent to it, and turned into writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from lightfast.context.entry import Delete, Entry, Move, Mutation, Report, Status
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.glides import Glides
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.resync import taken
from lightfast.engine.apps.volatile import Volatile
from lightfast.engine.apps.wishes import Flight, Verdict, Wishes, same
from lightfast.sdk import Change
from lightfast_link.path import check_path, is_under
from lightfast_link.value import Value, check_value


@dataclass(slots=True)
class _Deferred:
    """A report that looks like a late echo; it counts unless the value sent last is reported, too."""

    change: Change
    until: float


class Incoming:
    """Takes the reports of one application that is in step."""

    def __init__(
        self,
        desk: Desk,
        mount: str,
        wishes: Wishes,
        recorder: Recorder,
        volatile: Volatile,
        doubt: Doubt,
        *,
        echoed: Callable[[Flight, Value | None], None],
        unsent: Callable[[Entry], bool],
        group: Callable[[], str],
    ) -> None:
        """*echoed* is told of a wish that is answered by a report.

        *unsent* says whether an entry is a wish about to be sent, *group* what changes belong to now.
        """
        self._desk = desk
        self._mount = mount
        self._origin = "app:" + mount[1:]
        self._wishes = wishes
        self._recorder = recorder
        self._volatile = volatile
        self._echoed = echoed
        self._unsent = unsent
        self._doubt = doubt
        self._group = group
        self._deferred: dict[str, _Deferred] = {}
        self._queued: dict[str, Value | None] = {}
        self._vacated: set[str] = set()
        self._going: set[str] = set()
        self.glides = Glides()
        self.taken = 0
        wishes.follow(self._renamed)

    @property
    def waiting(self) -> bool:
        """Say whether a report waits to be judged."""
        return bool(self._deferred or self.glides)

    def take(self, changes: Sequence[tuple[str, Change]]) -> None:
        """Take the changes of one wake, each with its absolute path."""
        if not self._recorder.backlog:
            self._queued.clear()
            self._vacated.clear()
            self._going.clear()
        now = self._desk.clock.monotonic()
        for path, change in changes:
            if change.moved_from:
                self._moved(absolute(self._mount, change.moved_from), path)
            elif change.value is None:
                self._gone(path, now)
            else:
                self._value(self._lies_at(path, change), change, change.value, now)

    def sweep(self, now: float) -> None:
        """Accept what was held back as a late echo and turned out to be the last word."""
        due = [(path, held.change) for path, held in self._deferred.items() if held.until <= now]
        self.glides.sweep(now)
        for path, change in due:
            if self.glides.under_way(path):
                continue  # the end of the way is its answer
            del self._deferred[path]
            value = change.value
            if value is None or self._wishes.in_flight(path) is not None:
                continue
            if self._is_signal(path):
                self._own_signal(path, change, value)
            else:
                self._own(path, change, value)

    def forget(self, path: str) -> Value | None:
        """Drop what is held back for *path*, and return it: a new wish is on its way there."""
        held = self._deferred.pop(path, None)
        return held.change.value if held is not None else None

    def forget_below(self, root: str) -> None:
        """Drop what is held back at and below *root*, which goes."""
        for path in [path for path in self._deferred if is_under(path, root)]:
            del self._deferred[path]

    def recording(self, report: Report) -> None:
        """Note that *report* is queued: until it is committed, the tree does not show it."""
        if report.reported is not UNSET:
            self._queued[report.path] = report.reported
        elif report.path not in self._queued:
            entry = self._desk.store.get(report.path)
            self._queued[report.path] = entry.reported if entry is not None else None

    def holds(self, path: str, value: Value) -> bool:
        """Say whether *value* is what the application is known to hold, the queued news included."""
        if path in self._queued:
            return same(self._queued[path], value, self.tolerance(path))
        entry = self._desk.store.get(path)
        return entry is not None and same(entry.reported, value, self.tolerance(path))

    def goes(self, path: str) -> bool:
        """Say whether what lies at *path* may yet be deleted in the tree: the application said that what it was is."""
        return self._recorder.backlog > 0 and any(is_under(path, each) for each in self._going)

    def refused(self, mutation: Mutation) -> None:
        """Note that the store has left *mutation* out: where it was a rename, the tree does not follow it."""
        if isinstance(mutation, Move):
            self._wishes.has_moved(mutation.source, mutation.target)
            self._doubt.begin()

    def tolerance(self, path: str) -> float:
        """Return the declared tolerance of *path*; 0 means 1e-6 relative."""
        declared = self._desk.store.declaration(path)
        return declared.tolerance if declared is not None else 0.0

    def _is_signal(self, path: str) -> bool:
        declared = self._desk.store.declaration(path)
        return declared is not None and declared.signal

    def _lies_at(self, path: str, change: Change) -> str:
        """Return where a value belongs that is reported by a name from before a rename."""
        now_at, waiting = self._wishes.called_now(path)
        if now_at == path:
            return path
        if waiting and not change.object_id:
            self._doubt.begin()  # it may also be something new that has taken the name
        if self._desk.store.get(path) is not None:
            return path
        there = self._desk.store.get(now_at)
        if change.object_id:
            mine = there is None or there.object_id in {"", change.object_id}
            return now_at if mine else path  # else another object has taken the name
        return now_at if waiting else path

    def _value(self, path: str, change: Change, value: Value, now: float) -> None:
        if self._is_signal(path):
            self._signal(path, change, value, now)
        else:
            self._state(path, change, value, now)

    def _state(self, path: str, change: Change, value: Value, now: float) -> None:
        self._deferred.pop(path, None)
        if self._wishes.deleting(path) is not None:
            if not change.object_id:
                self._doubt.begin()  # it may also be something new that has taken the name
            return  # it is about to go; should the application refuse, it is read back
        verdict = self._wishes.judge(path, value, now, tolerance=self.tolerance(path))
        flight = self._wishes.in_flight(path)
        if verdict in {Verdict.DIFFERS, Verdict.OWN} and self.glides:
            if self.glides.answers(path, value, now, self.tolerance(path)):
                verdict = Verdict.LATE
            else:
                self.glides.take(path)
        if verdict is Verdict.ECHO and flight is not None:
            self._echoed(flight, value)
        elif verdict is Verdict.DIFFERS and flight is not None:
            flight.reported, flight.before = value, None
            self._write(Report(path, Status.PENDING, reported=value, event_time=change.event_time))
        elif verdict is Verdict.LATE:
            if flight is not None:
                flight.before = value  # what it holds unless it takes the wish
            else:
                self._deferred[path] = _Deferred(change, now + self._wishes.window)
        else:
            self._own(path, change, value)

    def _own(self, path: str, change: Change, value: Value) -> None:
        """Record a change of the application's own; one that changes nothing is dropped."""
        # What the tree still shows by a name that was given up is about to lie elsewhere.
        vacated = any(is_under(path, source) for source in self._vacated)
        entry = self._desk.store.get(path) if not vacated else None
        asked = self._desk.conflicts.asked(path)
        if asked is not None and (wished := asked.body.get("wished")) is not None:
            self._asked(path, wished, change, value)
            return
        if path in self._queued:
            if self.holds(path, value):
                return
        elif entry is not None:
            if self._unsent(entry):
                # The wish is committed and about to be sent: it is newer than this report.
                self._write(Report(path, Status.PENDING, reported=value, event_time=change.event_time))
                return
            tolerance = self.tolerance(path)
            if same(entry.value, value, tolerance):
                if entry.status is not Status.SETTLED:
                    self._write(Report(path, Status.SETTLED, reported=value))
                return
            if entry.status is Status.REJECTED and same(entry.reported, value, tolerance):
                return
        self._queued[path] = value
        self.taken += 1
        self._write(taken(path, change, value), every=change.every)

    def _asked(self, path: str, wished: Value, change: Change, value: Value) -> None:
        """Take a report of what the user was asked about: the question goes on, unless this is what was wished."""
        conflicts = self._desk.conflicts
        if same(wished, value, self.tolerance(path)):
            writes, status, reason = conflicts.answered(path), Status.SETTLED, ""
        else:
            writes, status = conflicts.reported(path, value), Status.PENDING
            asked = conflicts.asked(path)
            reason = asked.reason if asked is not None else ""
        self.taken += 1
        self._write(Report(path, status, reported=value, reason=reason, event_time=change.event_time))
        for mutation in writes:
            self._write(mutation)

    def _signal(self, path: str, change: Change, value: Value, now: float) -> None:
        self._deferred.pop(path, None)
        verdict = self._wishes.judge(path, value, now, tolerance=self.tolerance(path))
        if verdict is Verdict.LATE:
            self._deferred[path] = _Deferred(change, now + self._wishes.window)
        else:
            self._own_signal(path, change, value)

    def _own_signal(self, path: str, change: Change, value: Value) -> None:
        held = self._volatile.latest(path)
        entry = self._desk.store.get(path)
        if held is None and entry is not None and same(entry.reported, value, self.tolerance(path)):
            held = entry.value  # an echo that is the first word on what was sent is news: it has arrived
        if held is not None and same(held, value, self.tolerance(path)):
            return
        self.taken += 1
        self._volatile.put(taken(path, change, value))

    def _gone(self, path: str, now: float) -> None:
        flight = self._wishes.in_flight(path)
        if flight is not None and self._wishes.judge(path, None, now) is Verdict.ECHO:
            self._echoed(flight, None)
        below = self._below(path)
        self.forget_below(path)
        self._answered_below(path)
        self._overwritten(below, f"{path} was deleted in the application")
        if below or self._queued:
            self.taken += len(below)
            self._going.add(path)
            self._write(Delete(path, recursive=True))
            self._doubt.crossed(below)

    def _moved(self, source: str, target: str) -> None:
        """Follow a rename; what lies at the target in the tree is gone in the application."""
        wished = self._wishes.rename_of(source)
        if wished is not None and wished.path == target:
            self._echoed(wished, None)  # the answer to ours, in other words
            return
        called_now, _ = self._wishes.called_now(source)
        if called_now == target:
            return  # ours, which was answered already
        if wished is not None:
            wished.overtaken = True
            source = called_now
        # In a chain of renames the tree still shows what an earlier one has just moved away from the target.
        replaced = [] if target in self._vacated else self._below(target)
        self._overwritten(replaced, f"{target} was replaced by {source} in the application")
        if replaced:
            self._answered_below(target)
            self._write(Delete(target, recursive=True))
        self._vacated.discard(target)
        self._vacated.add(source)
        follows = bool(self._below(source) or self._queued)
        self._wishes.moved(source, target, self._desk.clock.monotonic(), follows=follows)
        if follows:
            self._write(Move(source, target))
            for mutation in self._desk.conflicts.moved(source, target):
                self._write(mutation)
        else:
            self._doubt.begin()  # it was deleted from outside by its old name, or never known
        self._queued[target] = None
        self.taken += 1
        self._doubt.crossed(self._below(source))

    def _renamed(self, source: str, target: str) -> None:
        """Follow a subtree that was renamed."""
        for path in [path for path in self._deferred if is_under(path, source)]:
            self._deferred[target + path[len(source) :]] = self._deferred.pop(path)

    def _below(self, path: str) -> list[Entry]:
        return self._desk.store.select(path + "//")

    def _answered_below(self, path: str) -> None:
        """Take the questions about what is gone from *path* back."""
        for asked in self._desk.conflicts.asked_below(path):
            for mutation in self._desk.conflicts.answered(asked):
                self._write(mutation)

    def _overwritten(self, entries: list[Entry], reason: str) -> None:
        for entry in entries:
            if entry.status is Status.PENDING and entry.value is not None:
                for mutation in self._desk.conflicts.record(
                    entry.path,
                    wished=entry.value,
                    reported=None,
                    origin=entry.origin,
                    revision=entry.revision,
                    reason=reason,
                ):
                    self._write(mutation)

    def _write(self, mutation: Mutation, *, every: bool = False) -> None:
        self._recorder.add(mutation, origin=self._origin, group=self._group(), every=every)


def absolute(mount: str, path: str) -> str:
    """Return the path below *mount* that the application calls *path*."""
    return mount + path if path.startswith("/") else f"{mount}/{path}"


def check_changes(mount: str, changes: Sequence[Change], left_out: Callable[[str], None]) -> list[tuple[str, Change]]:
    """Return *changes* with their absolute paths; *left_out* is told of each that is malformed."""
    checked: list[tuple[str, Change]] = []
    for change in changes:
        try:
            checked.append((check_change(mount, change), change))
        except ValueError as error:
            left_out(str(error))
    return checked


def check_change(mount: str, change: Change) -> str:
    """Return the absolute path of *change*; raise `ValueError` that says what is malformed in it."""
    path = check_path(absolute(mount, change.path))
    if change.moved_from:
        check_path(absolute(mount, change.moved_from))
    elif change.value is not None:
        check_value(change.value, path)
    return path
