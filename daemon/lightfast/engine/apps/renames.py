"""Renames on their way to an application: found in the events of a move, sent as wishes, answered or taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from lightfast.context.entry import Delete, Entry, Event, EventType, Move, Mutation, Report, Status
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.wishes import Flight, Wishes
from lightfast.sdk import Wish
from lightfast_link.path import is_under

CAPABILITY = "rename"
"""What an application says in its hello that carries out a wish with a `moved_from`."""
MARK = "to be renamed from"
"""How the reason of a value begins that is shown as pending only until its rename is answered."""
NOT_ABLE = "its application cannot rename on request: rename it there, or by a command"
ACROSS = "what an application holds cannot be moved out of it, nor something else into it"


@dataclass(frozen=True, slots=True)
class Rename:
    """One subtree that a transaction moved, by absolute paths; *origin* and *revision* are the transaction's."""

    source: str
    target: str
    revision: int
    origin: str


def renames_of(events: Sequence[Event], remains: Callable[[str, int], bool]) -> list[Rename]:
    """Return the renames that MOVE *events* amount to: each as near the root as nothing else was left behind.

    *remains* says whether something lies under a path that was there before a revision.
    """
    found: dict[tuple[str, str, int], Rename] = {}
    for event in events:
        entry = event.entry
        for source, target in _roots(event.source, entry.path):
            if not remains(source, entry.revision):
                found.setdefault((source, target, entry.revision), Rename(source, target, entry.revision, entry.origin))
                break
    return list(found.values())


def _roots(source: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of paths whose move explains that of an entry, the widest first, the entry itself last."""
    before, after = source.split("/"), target.split("/")
    shared = 0
    while shared < min(len(before), len(after)) - 2 and before[-1 - shared] == after[-1 - shared]:
        shared += 1
    for cut in range(shared, -1, -1):
        yield "/".join(before[: len(before) - cut]), "/".join(after[: len(after) - cut])


class Renames:
    """The renames of one application: *able* says whether it carries them out."""

    def __init__(
        self,
        desk: Desk,
        mount: str,
        wishes: Wishes,
        write: Callable[[Mutation, int], None],
        *,
        able: bool,
        doubt: Doubt,
    ) -> None:
        """*write* records a mutation with its cause."""
        self._desk = desk
        self._mount = mount
        self._wishes = wishes
        self._write = write
        self.able = able
        self._doubt = doubt

    def wishes_of(self, events: Sequence[Event]) -> list[Wish]:
        """Return the wishes that carry the moves of *events* out; what cannot be carried out is taken back."""
        wishes: list[Wish] = []
        for rename in self.of(events):
            here = is_under(rename.source, self._mount), is_under(rename.target, self._mount)
            if all(here) and self.able and self._mount not in {rename.source, rename.target}:
                wishes.append(self.wish(rename))
            elif here[0] or not self._desk.store.mount_of(rename.source):
                reason = NOT_ABLE if all(here) else ACROSS
                self._take_back(rename.source, rename.target, rename.origin, rename.revision, reason)
        return wishes

    def expect(self, events: Sequence[Event]) -> None:
        """Note the renames among *events*, which are held back: what is reported by the old name belongs to the new."""
        moves = [event for event in events if event.type is EventType.MOVE] if self.able else []
        for rename in self.of(moves):
            if is_under(rename.source, self._mount) and is_under(rename.target, self._mount):
                self._wishes.expect(rename.source, rename.target, rename.revision)
                self._asked_follow(rename.source, rename.target, rename.revision)

    def of(self, events: Sequence[Event]) -> list[Rename]:
        """Return the renames that MOVE *events* amount to."""
        return renames_of(events, self._remains)

    def wish(self, rename: Rename) -> Wish:
        """Return the wish that carries *rename* out, and show what it moved as pending."""
        self._doubt.crossed(self._below(rename.target), rename.revision)
        self._wishes.rename(rename.source, rename.target)
        now = self._desk.clock.monotonic()
        flight = self._wishes.send_rename(rename.source, rename.target, rename.revision, now, origin=rename.origin)
        self._wishes.hand_marks_on(flight)
        for entry in self._below(rename.source):
            if entry.origin == self._origin:
                self.straggler(entry)  # reported by the old name while the wish was held back
        self._asked_follow(rename.source, rename.target, rename.revision)
        for entry in self._below(rename.target):
            if entry.status in {Status.SETTLED, Status.STALE} and not entry.signal:
                flight.marked.append(entry.path[len(rename.target) :])
                reason = f"{MARK} {rename.source}"
                self._write(Report(entry.path, Status.PENDING, reason=reason), rename.revision)
            elif entry.status is Status.PENDING and entry.status_reason.startswith(MARK):
                flight.marked.append(entry.path[len(rename.target) :])  # by an earlier one that was answered meanwhile
        return Wish(
            flight.wish_id,
            self._relative(rename.target),
            None,
            rename.revision,
            moved_from=self._relative(rename.source),
        )

    def settled(self, flight: Flight) -> None:
        """Record that the application carried a rename out."""
        self._wishes.renamed(flight, self._desk.clock.monotonic())
        self._doubt.crossed(self._below(flight.path), flight.revision)
        self._answered(flight, "")

    def refused(self, flight: Flight, reason: str) -> None:
        """Record that the application refused a rename: the subtree goes back to the name it has there."""
        self._wishes.not_renamed(flight)
        if flight.overtaken:
            self._conflict(flight.path, flight.origin, flight.revision, reason)
            self._answered(flight, "")
            return
        if any(entry.status is Status.PENDING for entry in self._below(flight.moved_from)):
            self._conflict(flight.moved_from, flight.origin, flight.revision, f"not renamed to {flight.path}: {reason}")
            self._answered(flight, "")
            self._doubt.begin()  # somebody wishes for something new by the old name
            return
        self._wishes.rename(flight.path, flight.moved_from)
        self._take_back(flight.moved_from, flight.path, flight.origin, flight.revision, reason)
        self._answered(flight, reason, at=flight.moved_from)
        self._doubt.begin()

    def _answered(self, flight: Flight, reason: str, *, at: str = "") -> None:
        """Show what waited for the answer as settled; what waits for something else goes on waiting."""
        for below in flight.marked:
            path, entry = (at or flight.path) + below, self._desk.store.get(flight.path + below)
            pending = entry is not None and entry.status is Status.PENDING and entry.origin != self._origin
            wished = pending and entry is not None and not entry.status_reason.startswith(MARK)
            waits = self._wishes.in_flight(path) is not None or self._wishes.renaming(path)
            if not wished and not waits:
                self._write(Report(path, Status.SETTLED, reason=reason), flight.revision)

    def straggler(self, entry: Entry) -> bool:
        """Put right what was recorded by a name that had just gone; return false where *entry* is no such thing.

        A report and a rename from outside may reach the store in either order.
        """
        path, waiting = self._wishes.called_now(entry.path)
        there = self._desk.store.get(path)
        if path == entry.path or there is None:
            return False
        before = 0 < entry.cause < self._wishes.renamed_at(entry.path)  # the answer to an older wish
        if not (waiting or before or (there.object_id and entry.object_id in {"", there.object_id})):
            if not entry.object_id:
                self._doubt.begin()  # it may have been queued before the rename, or another object has taken the name
            return False
        self._write(Delete(entry.path), entry.cause)
        reported = UNSET if entry.reported is None else entry.reported
        wished = self._wishes.in_flight(path) is not None or (
            there.origin != self._origin and not 0 < self._wishes.newest(path) <= entry.cause
        )
        kept = entry.status is not Status.SETTLED or (wished and there.status is Status.PENDING)
        value = UNSET if kept or entry.value is None else entry.value
        answered = not wished and (before or not self._wishes.renaming(path))
        status = Status.SETTLED if there.status is Status.PENDING and answered else there.status
        self._write(Report(path, status, reported=reported, value=value), entry.cause)
        return True

    @property
    def _origin(self) -> str:
        return "app:" + self._mount[1:]

    def _take_back(self, source: str, target: str, origin: str, revision: int, reason: str) -> None:
        """Move a subtree back to *source*, on the record."""
        self._conflict(source, origin, revision, f"not renamed to {target}: {reason}")
        self._write(Move(target, source), revision)
        self._asked_follow(target, source, revision)

    def _asked_follow(self, source: str, target: str, revision: int) -> None:
        """Let the questions about a subtree follow its rename."""
        for mutation in self._desk.conflicts.moved(source, target):
            self._write(mutation, revision)

    def _conflict(self, path: str, origin: str, revision: int, reason: str) -> None:
        for mutation in self._desk.conflicts.record(
            path, wished=None, reported=None, origin=origin, revision=revision, reason=reason
        ):
            self._write(mutation, revision)

    def _remains(self, path: str, revision: int) -> bool:
        return any(0 < entry.revision < revision for entry in self._below(path))

    def _below(self, path: str) -> list[Entry]:
        return self._desk.store.select(path + "//")

    def _relative(self, path: str) -> str:
        return path[len(self._mount) + 1 :]
