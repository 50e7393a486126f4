"""What the context wants of an application: wishes sent, answered, given up, and what is recorded of each."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Sequence
from itertools import groupby

from msgspec import UNSET

from lightfast.context.entry import Delete, Entry, Event, EventType, Mutation, Report, Status
from lightfast.engine.apps.conflicts import ROOT as CONFLICTS
from lightfast.engine.apps.conflicts import shown
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.hold import Waiting, settles
from lightfast.engine.apps.incoming import Incoming
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.renames import MARK, Rename, Renames
from lightfast.engine.apps.wishes import Flight, Wishes, same
from lightfast.sdk import AppChannel, Wish
from lightfast_link.path import is_under
from lightfast_link.value import Value

Answered = Callable[[Flight, bool, str], None]
"""Told of each state wish that came to an end: whether the application took it, why not."""


class Outgoing:
    """Sends the wishes of one application, and records how each ended."""

    def __init__(
        self,
        desk: Desk,
        mount: str,
        channel: AppChannel,
        wishes: Wishes,
        recorder: Recorder,
        incoming: Incoming,
        doubt: Doubt,
        *,
        answered: Answered,
        unsure: Callable[[], None],
        renames: bool = False,
    ) -> None:
        """*unsure* reads everything back; *renames* says that the application carries renames out."""
        self._desk = desk
        self._mount = mount
        self._origin = "app:" + mount[1:]
        self._channel = channel
        self._wishes = wishes
        self._recorder = recorder
        self._incoming = incoming
        self._doubt = doubt
        self._answered = answered
        self._unsure = unsure
        self._deleted: dict[int, list[Entry]] = {}
        self._renames = Renames(desk, mount, wishes, self._write_for, able=renames, doubt=doubt)
        self._seen = 0
        self._waiting = Waiting() if desk.hold.reason else None

    def wish(self, events: Sequence[Event]) -> None:
        """Turn the events of one tick into wishes, in one batch and in their order; a hold keeps them back."""
        if self._waiting is not None:
            self._waiting.take(events, self._origin)
            self._renames.expect([event for event in events if event.entry.origin != self._origin])
            events = [event for event in events if event.entry.origin == self._origin]
        wishes: list[Wish] = []
        together: list[Event] = []  # neighbors of one type, so that an object goes or moves as a whole
        for event in events:
            own = event.entry.origin == self._origin
            if together and (own or together[0].type is not event.type):
                wishes += self._wishes_of_structure(together)
                together = []
            if own:
                if event.type is not EventType.SET:
                    self._doubt.crossed([event.entry])
                if event.type is EventType.MOVE:
                    self._wishes.has_moved(event.source, event.entry.path)
                elif event.type is EventType.DELETE:
                    for mutation in self._desk.conflicts.went(event.previous, self._records):
                        self._write_for(mutation, event.entry.revision)
                self._keep_pending(event)
            elif event.type is EventType.SET:
                if is_under(event.entry.path, self._mount) and not settles(event):
                    wishes += self._wishes_of(event.entry)
            elif event.type is EventType.MOVE or is_under(event.entry.path, self._mount):
                together.append(event)
        wishes += self._wishes_of_structure(together)
        if wishes:
            self._channel.apply(wishes)

    def rename(self, renames: Sequence[Rename]) -> None:
        """Wish that the application call its objects again what they are called in the tree."""
        if renames:
            self._channel.apply([self._renames.wish(rename) for rename in renames])

    def renames_of(self, events: Sequence[Event]) -> list[Rename]:
        """Return the renames that MOVE *events* amount to."""
        return self._renames.of(events)

    @property
    def can_rename(self) -> bool:
        """Say whether the application carries renames out; while it is held, it cannot be asked to."""
        return self._renames.able and self._waiting is None

    def hold(self) -> None:
        """Send nothing from now on: wishes stay pending."""
        self._waiting = self._waiting or Waiting()

    def release(self, *, send: bool) -> bool:
        """End a hold and, with *send*, send what has waited; return false where only a comparison can tell what has."""
        self._desk.bus.flush()  # what was committed or renamed at this very moment has waited, too
        waiting, self._waiting = self._waiting, None
        if waiting is None or not send:
            return True
        self._wishes.expect_nothing()
        for later in waiting.later:
            later()
        wishes = []
        for _, together in groupby(waiting.structure, key=lambda event: event.type):
            wishes += self._wishes_of_structure(list(together))
        pending = [entry for entry in self._desk.store.select(self._mount + "//") if entry.status is Status.PENDING]
        for entry in waiting.in_order(pending):
            # A question is answered by what was wished since it was asked.
            asked = self._desk.conflicts.asked(entry.path) is not None and not waiting.revision(entry.path)
            flight = self._wishes.in_flight(entry.path)
            sent = flight is not None and flight.revision >= waiting.revision(entry.path)
            # What is shown as pending only until its rename is answered is no wish for a value.
            marked = self._wishes.renaming(entry.path) and not waiting.revision(entry.path)
            if not (asked or sent or marked):
                wishes += self._wishes_of(entry)
        now = self._desk.clock.monotonic()
        for path, value in waiting.signals.items():
            if value is not None and self._desk.store.get(path) is not None:
                wishes.append(self._signal(self._wishes.moving(path, now), value, now))
        if wishes:
            self._channel.apply(wishes)
        return not waiting.overflowed

    def newer(self, entry: Entry, revision: int) -> bool:
        """Say whether *entry* is a wish from after *revision*: one sent, one that waits, or one yet to come by."""
        if entry.status is not Status.PENDING or entry.status_reason.startswith(MARK):
            return False
        held = self._waiting.revision(entry.path) if self._waiting is not None else 0
        coming = entry.origin != self._origin and entry.revision > max(revision, self._seen)
        called_now = self._wishes.moving(entry.path, self._desk.clock.monotonic())  # its wishes go by that already
        return coming or max(held, self._wishes.newest(entry.path), self._wishes.newest(called_now)) > revision

    def _records(self) -> list[Entry]:
        return self._desk.store.select(CONFLICTS + "//")

    def signals(self, values: Sequence[tuple[str, Value]]) -> None:
        """Send signal values, which nobody answers."""
        if self._waiting is not None:
            self._waiting.signals.update(values)
            return
        now = self._desk.clock.monotonic()
        self._channel.apply([self._signal(path, value, now) for path, value in values])

    def on_the_way(self, values: Sequence[tuple[str, Value]]) -> bool:
        """Send values that nobody answers on the way to others; return false while it is held.

        A parameter that still waits for the answer to a wish is left out this time.
        """
        if self._waiting is not None:
            return False
        busy = self._wishes
        free = [each for each in values if busy.in_flight(each[0]) is None and not busy.renaming(each[0])]
        if free:
            self.signals(free)
        return True

    def unsent(self, entry: Entry) -> bool:
        """Say whether *entry* is a wish that was committed, but whose event has not come by yet."""
        if entry.status is not Status.PENDING:
            return False
        if self._waiting is not None and self._waiting.revision(entry.path):
            return True
        return entry.origin != self._origin and entry.revision > self._seen

    def seen(self, revision: int) -> None:
        """Note that all events up to *revision* have come by."""
        self._seen = revision

    def delete(self, entries: Sequence[Entry]) -> None:
        """Wish *entries* gone that are not in the tree any more, but still in the application."""
        if entries and self._waiting is not None:
            self._waiting.later.append(lambda: self.delete(entries))
        elif entries:
            revision, origin = max((entry.revision, entry.origin) for entry in entries)
            self._channel.apply(self._deletions(entries, revision, origin))

    def settle(self, wish_id: int, value: Value | None) -> None:
        """Record that a wish was taken; *value* is what the application holds, where it was read back."""
        flight = self._wishes.answer(wish_id)
        if flight is not None and flight.moved_from:
            self.settled(flight, None)
            return
        if flight is None:
            return
        newer = self._wishes.in_flight(flight.path)
        if newer is not None:
            newer.before = flight.value if value is None else value
        if newer is not None or flight.superseded:
            return  # or late, and a newer one is on its way
        self._incoming.forget(flight.path)  # what was reported before is older than this answer
        if not flight.echoed:
            self.settled(flight, flight.reported if value is None else value)
            if flight.renamed:
                self._doubt.begin()  # it may have been carried out by a name that the application had given up
            elif value is None and flight.reported is not None:
                self._unsure()  # it may have been reported before the wish arrived
        elif value is None:
            if flight.value is None and self._desk.store.select(flight.path + "//", 1):
                self._doubt.begin()  # it was deleted there before, and this has deleted what took its name since
            elif flight.value is not None and not self._incoming.holds(flight.path, flight.value):
                self._unsure()
        elif not self._incoming.holds(flight.path, value):
            # What was taken for the echo was a change of the application's own, made before the wish reached it.
            self._write(Report(flight.path, Status.SETTLED, reported=value, value=value), flight)

    def echoed(self, flight: Flight, held: Value | None) -> None:
        """Record that *flight* is answered by a report of *held*; should an answer follow, it is recognized."""
        self._wishes.expire(flight)
        flight.echoed = True
        self.settled(flight, held)

    def settled(self, flight: Flight, held: Value | None) -> None:
        """Record that *flight* is answered; *held* is what the application holds, `None` where nobody said."""
        self._deleted.pop(flight.wish_id, None)
        if flight.moved_from:
            self._renames.settled(flight)
            self._answered(flight, True, "")
            return
        if flight.value is None:
            self._gone(flight)
            self._answered(flight, True, "")
            return
        reported = flight.value if held is None else held
        entry = self._desk.store.get(flight.path)
        if entry is not None and self.unsent(entry):
            # A newer wish is committed and about to be sent: only the report counts.
            self._write(Report(flight.path, Status.PENDING, reported=reported), flight)
        elif same(flight.value, reported, self._incoming.tolerance(flight.path)):
            self._write(Report(flight.path, Status.SETTLED, reported=reported, value=flight.value), flight)
        else:
            self._changed(flight, reported)
        self._answered(flight, True, "")

    def reject(self, wish_id: int, reason: str) -> None:
        """Record that the application refused a wish."""
        flight = self._wishes.answer(wish_id)
        if flight is None or flight.echoed or flight.superseded:
            return
        if flight.moved_from or self._wishes.in_flight(flight.path) is None:
            self.refused(flight, reason or "the application refused it and gave no reason")

    def refused(self, flight: Flight, reason: str, held: Value | None = None) -> None:
        """Record that *flight* failed; the wish stays visible, *held* is what the application has instead."""
        self._wishes.expire(flight)
        held = flight.before if held is None else held
        if flight.moved_from:
            self._answered(flight, False, reason)
            self._renames.refused(flight, reason)
            return
        deleted = self._deleted.pop(flight.wish_id, [])
        entry = self._desk.store.get(flight.path)
        if flight.value is None:
            self._bring_back(flight, deleted, reason)
        elif entry is None and not (flight.renamed and self._recorder.backlog):  # else it is about to lie there
            self._conflict(flight, held, reason)
        elif entry is None or not self.unsent(entry):
            reported = UNSET if held is None else held
            self._write(
                Report(flight.path, Status.REJECTED, value=flight.value, reported=reported, reason=reason), flight
            )
        self._answered(flight, False, reason)

    def _wishes_of(self, entry: Entry) -> list[Wish]:
        now = self._desk.clock.monotonic()
        path, value = self._wishes.moving(entry.path, now), entry.value
        if value is None:
            return []
        if entry.signal:
            if entry.status is Status.PENDING:  # an undo: nobody will answer it
                self._recorder.add(Report(path, Status.SETTLED), origin=self._origin, cause=entry.revision)
            return [self._signal(path, value, now)]
        if entry.status is not Status.PENDING:
            return []
        for mutation in self._desk.conflicts.answered(path):  # a newer wish says what the user wants
            self._recorder.add(mutation, origin=self._origin, cause=entry.revision)
        said = self._incoming.forget(path)
        flight = self._wishes.send(path, value, entry.revision, now, origin=entry.origin)
        flight.before = flight.before if said is None else said
        flight.renamed = path != entry.path
        return [Wish(flight.wish_id, self._relative(path), value, entry.revision)]

    def _signal(self, path: str, value: Value, now: float) -> Wish:
        self._incoming.forget(path)
        wish_id = self._wishes.send_signal(path, value, now)
        return Wish(wish_id, self._relative(path), value, 0, signal=True)

    def _wishes_of_structure(self, events: list[Event]) -> list[Wish]:
        if events and events[0].type is EventType.MOVE:
            names = {path for each in events for path in (each.source, each.entry.path)}
            if any(self._wishes.deleting(path) or self._incoming.goes(path) for path in names):
                self._doubt.begin()  # what is still to be deleted is missed, or what took its name goes along with it
            return self._renames.wishes_of(events)
        return self._gone_events(events)

    def _gone_events(self, events: list[Event]) -> list[Wish]:
        wishes: list[Wish] = []
        for revision in dict.fromkeys([event.entry.revision for event in events]):
            gone = [event for event in events if event.entry.revision == revision]
            there = [event for event in gone if not self._desk.conflicts.never_there(event.entry)]
            entries = [event.previous or event.entry for event in there]
            for mutation in [each for entry in entries for each in self._desk.conflicts.answered(entry.path)]:
                self._write_for(mutation, revision)
            wishes += self._deletions(entries, revision, gone[0].entry.origin)
        return wishes

    def _deletions(self, entries: Sequence[Entry], revision: int, origin: str) -> list[Wish]:
        """Wish the deleted paths gone: an object whose entries are all gone as a whole, the rest one by one."""
        self._doubt.crossed(entries, revision)
        objects: dict[str, list[Entry]] = {}
        for entry in entries:
            objects.setdefault(entry.object_id or entry.path, []).append(entry)
        now = self._desk.clock.monotonic()
        wishes = []
        for together in objects.values():
            for root, gone in self._roots(together):
                self._incoming.forget_below(root)
                flight = self._wishes.send(root, None, revision, now, origin=origin)
                self._deleted[flight.wish_id] = gone
                wishes.append(Wish(flight.wish_id, self._relative(root), None, revision))
        return wishes

    def _roots(self, entries: list[Entry]) -> list[tuple[str, list[Entry]]]:
        if len(entries) > 1:
            root = os.path.commonpath([entry.path for entry in entries])
            if root.count("/") > self._mount.count("/") + 1 and not self._desk.store.select(root + "//", 1):
                return [(root, entries)]
        return [(entry.path, [entry]) for entry in entries]

    def _gone(self, flight: Flight) -> None:
        """Delete what a report put back into the tree while the deletion was on its way."""
        there = self._desk.store.select(flight.path + "//")
        if (there or self._recorder.backlog) and not any(self.unsent(entry) for entry in there):
            self._write(Delete(flight.path, recursive=True), flight)

    def _keep_pending(self, event: Event) -> None:
        """Put a wish back into view that a report overtook: both were on their way at the same time."""
        entry, previous = event.entry, event.previous
        if event.type is not EventType.SET or (previous is None and self._renames.straggler(entry)):
            return
        if entry.status is not Status.SETTLED:
            return
        flight = self._wishes.in_flight(entry.path)
        if flight is None or flight.value is None or previous is None or previous.status is not Status.PENDING:
            return  # the usual case: it is the answer
        self._write(Report(flight.path, Status.PENDING, value=flight.value), flight)

    def _changed(self, flight: Flight, held: Value) -> None:
        reason = f"the application holds {shown(held)}, not {shown(flight.value)}"
        self._write(Report(flight.path, Status.SETTLED, reported=held, value=held, reason=reason), flight)
        self._conflict(flight, held, reason)

    def _conflict(self, flight: Flight, held: Value | None, reason: str) -> None:
        for mutation in self._desk.conflicts.record(
            flight.path,
            wished=flight.value,
            reported=held,
            origin=flight.origin,
            revision=flight.revision,
            reason=reason,
        ):
            self._write(mutation, flight)

    def _bring_back(self, flight: Flight, deleted: list[Entry], reason: str) -> None:
        """Let the entries return: the application keeps what was to be deleted."""
        for entry in deleted if not flight.renamed else ():
            held = entry.value if entry.reported is None else entry.reported
            if held is not None and self._desk.store.get(entry.path) is None:
                back = Report(entry.path, Status.SETTLED, reported=held, value=held, reason=reason)
                self._write(back, flight)
        self._conflict(flight, None, f"not deleted: {reason}")
        self._doubt.begin()  # what was reported meanwhile did not count, and some of it may be gone or lie elsewhere

    def _relative(self, path: str) -> str:
        return path[len(self._mount) + 1 :]

    def _write(self, mutation: Mutation, flight: Flight) -> None:
        self._write_for(mutation, flight.revision)

    def _write_for(self, mutation: Mutation, cause: int) -> None:
        if isinstance(mutation, Report):
            self._incoming.recording(mutation)
        self._recorder.add(mutation, origin=self._origin, cause=cause)
