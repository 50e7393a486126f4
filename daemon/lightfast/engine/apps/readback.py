"""Reading back: what becomes of wishes that nobody answers, and a full comparison on demand.

Many applications say nothing when nothing changed. So a wish without an answer is not a failure
until the application was asked for everything it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from lightfast.context.entry import Delete, Entry, Report, Status
from lightfast.core.errors import DeadlineExceeded
from lightfast.engine.apps.conflicts import shown
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.incoming import Incoming, absolute
from lightfast.engine.apps.outgoing import Outgoing
from lightfast.engine.apps.presence import ORIGIN as DAEMON
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.wishes import Flight, Wishes
from lightfast.sdk import AppChannel, Change
from lightfast_link.path import is_under
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Compared:
    """What a full comparison did."""

    taken: int
    restored: int
    lost: tuple[str, ...]


@dataclass(slots=True)
class _Reading:
    """One full report that was asked for, at the monotonic time *asked*; *asking* wait for its comparison.

    It is compared with the tree, where *compare* says so, once the tree shows all that was reported: what has changed
    there since the revision *since* is not judged by it. *ended* says that the application has told everything, *again*
    that something became unsure meanwhile, of which it may have spoken already.
    """

    taken_before: int
    asked: float
    since: int
    compare: bool
    seen: dict[str, Value] = field(default_factory=dict)
    ended: bool = False
    again: bool = False
    asking: list[asyncio.Future[Compared]] = field(default_factory=list)


class ReadBack:
    """Watches the deadlines of one application's wishes."""

    def __init__(
        self,
        desk: Desk,
        mount: str,
        channel: AppChannel,
        wishes: Wishes,
        recorder: Recorder,
        incoming: Incoming,
        outgoing: Outgoing,
        doubt: Doubt,
    ) -> None:
        self._desk = desk
        self._mount = mount
        self._origin = "app:" + mount[1:]
        self._timeout = wishes.timeout
        self._channel = channel
        self._wishes = wishes
        self._recorder = recorder
        self._incoming = incoming
        self._outgoing = outgoing
        self._doubt = doubt
        self._reading: _Reading | None = None
        self._gone: BaseException | None = None

    def tick(self, now: float, *, busy: bool) -> bool:
        """Look after wishes whose deadline is over; return false when the application does not answer at all.

        A *busy* application runs a command: its wishes wait for their turn.
        """
        if busy:
            self._wishes.postpone(now + self._timeout)
            return True
        if self._doubt.due(now, self._timeout, calm=not (len(self._wishes) or self._recorder.backlog)):
            self.begin(compare=True)
        due = self._wishes.due(now)
        for flight in due:
            if flight.read_back:
                self._outgoing.refused(flight, f"no answer within {self._timeout:g} s, nor to being read back")
        fresh = [flight for flight in due if not flight.read_back]
        for flight in fresh:
            flight.read_back = True
            flight.deadline = now + self._timeout
        if fresh:
            self.begin()
        return len(fresh) == len(due)

    def see(self, changes: Sequence[tuple[str, Change]]) -> None:
        """Note what is reported while everything is read back."""
        if self._reading is None:
            return
        for path, change in changes:
            if change.value is not None:
                self._reading.seen[path] = change.value
            else:
                self._restructured(path, absolute(self._mount, change.moved_from) if change.moved_from else "")

    def took(self, flight: Flight) -> None:
        """Note that the application has carried *flight* out: what it said before does not show that."""
        if self._reading is None:
            return
        if flight.value is not None:
            self._reading.seen.setdefault(flight.path, flight.value)
        else:
            self._restructured(flight.path, flight.moved_from)

    def _restructured(self, path: str, source: str) -> None:
        """Let what was seen follow: *source* is called *path* now, or, without one, *path* is gone."""
        assert self._reading is not None  # noqa: S101  # the caller looked
        seen = self._reading.seen
        for old in [known for known in seen if is_under(known, source or path)]:
            value = seen.pop(old)
            if source:
                seen[path + old[len(source) :]] = value

    def synced(self) -> None:
        """Take the end of the full report: every wish that was read back has its answer now."""
        reading = self._reading
        if reading is None or reading.ended:
            return
        for flight in [flight for flight in self._wishes.all() if flight.read_back]:
            held = reading.seen.get(flight.path)
            if flight.moved_from:
                self._renamed(flight, reading)
                continue
            if flight.value is None and not any(is_under(path, flight.path) for path in reading.seen):
                self._wishes.expire(flight)
                self._outgoing.settled(flight, None)
                continue
            where = "the application does not report it" if held is None else f"the application holds {shown(held)}"
            where = "the application still has it" if flight.value is None else where
            self._outgoing.refused(flight, f"no answer within {self._timeout:g} s; {where}", held)
        reading.ended = True
        if reading.compare:
            self._desk.tasks.start(self._in_step(reading), f"compare {self._mount}")
        else:
            self._over(reading)

    async def _in_step(self, reading: _Reading) -> None:
        """Compare *reading* with the tree, as soon as that shows everything the application has said."""
        self._desk.bus.flush()  # all that is in the tree has come by then, too
        while self._recorder.backlog:
            await self._recorder.drained()
            self._desk.bus.flush()
        if self._reading is not reading:
            return  # the application is gone
        try:
            compared = self._compare(reading)
            for asking in reading.asking:
                if not asking.done():
                    asking.set_result(compared)
        finally:
            self._over(reading)

    def _over(self, reading: _Reading) -> None:
        self._reading = None
        if reading.again:
            self.begin(compare=reading.compare)

    def _renamed(self, flight: Flight, reading: _Reading) -> None:
        """Judge a rename by the names that the application reports."""
        if any(is_under(path, flight.path) for path in reading.seen):
            self._wishes.expire(flight)
            self._outgoing.settled(flight, None)
        else:
            self._outgoing.refused(flight, f"no answer within {self._timeout:g} s; the application kept the name")

    def give_up(self, error: BaseException) -> None:
        """End what waits for a comparison, now and later: the application is gone."""
        self._gone = error
        reading, self._reading = self._reading, None
        for asking in reading.asking if reading is not None else ():
            if not asking.done():
                asking.set_exception(error)

    async def compare(self, timeout: float) -> Compared:
        """Ask for a full report, and bring the tree in step with it."""
        asking: asyncio.Future[Compared] = asyncio.get_running_loop().create_future()
        self.begin(asking)
        try:
            async with asyncio.timeout(timeout):
                compared = await asking
                await self._recorder.drained()
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._mount} did not report everything within {timeout:g} s; it may be busy: try again later",
                metadata={"mount": self._mount},
            ) from None
        return compared

    def begin(self, asking: asyncio.Future[Compared] | None = None, *, compare: bool = False) -> None:
        """Ask for a full report, unless one is under way, and *compare* it; *asking* gets the comparison."""
        if self._gone is not None:
            if asking is not None:
                asking.set_exception(self._gone)
            return
        now = self._desk.clock.monotonic()
        fresh = self._reading is None
        compare = compare or asking is not None
        if self._reading is None:
            self._reading = _Reading(self._incoming.taken, now, self._desk.store.revision, compare)
        elif now - self._reading.asked >= self._timeout and not self._reading.ended:
            self._reading.asked = now  # the question, or its answer, got lost: ask again
            fresh = True
        elif asking is None:
            self._reading.again = True
        self._reading.compare = self._reading.compare or compare
        if asking is not None:
            self._reading.asking.append(asking)
        if fresh:
            self._channel.resync()  # some channels report everything before this returns

    def _compare(self, reading: _Reading) -> Compared:
        lost: list[str] = []
        pending: list[Entry] = []
        for entry in self._desk.store.select(self._mount + "//"):
            if self._wishes.in_flight(entry.path) is not None or self._wishes.renaming(entry.path):
                continue
            if self._desk.conflicts.asked(entry.path) is not None:
                continue  # the user decides, not we
            if entry.status is Status.PENDING:
                if not self._outgoing.unsent(entry):
                    pending.append(entry)
            elif entry.path in reading.seen or entry.signal:
                continue
            elif entry.status is Status.REJECTED and entry.reported is None:
                continue  # what was refused, and was never there, stays visible
            elif entry.revision > reading.since:
                reading.again = True
            else:
                lost.append(entry.path)
                self._recorder.add(Delete(entry.path), origin=self._origin, label="not in the application any more")
        for entry in sorted(pending, key=lambda entry: entry.revision):
            self._recorder.add(Report(entry.path, Status.PENDING), origin=DAEMON, label="wished again")
        found = [(path, Change("", value)) for path, value in reading.seen.items() if self._unknown(path)]
        self._incoming.take(found)
        return Compared(self._incoming.taken - reading.taken_before, len(pending), tuple(lost))

    def _unknown(self, path: str) -> bool:
        """Say whether the tree lacks what the application holds at *path*, and nobody wants it so."""
        if self._desk.store.get(path) is not None or self._wishes.deleting(path) is not None:
            return False
        return not self._wishes.called_now(path)[1]
