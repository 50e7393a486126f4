"""An application's way from `hello` to being in step: its full report is compared with what the daemon had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import TypeVarTuple

import msgspec
from msgspec import UNSET

from lightfast.context.entry import Delete, Entry, Event, EventType, Move, Mutation, Report, Status
from lightfast.core.errors import Exhausted
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.health import NO_ANSWER
from lightfast.engine.apps.incoming import Incoming, absolute
from lightfast.engine.apps.matching import Renamed, keeps_name, match
from lightfast.engine.apps.mounts import claim_of
from lightfast.engine.apps.outgoing import Outgoing
from lightfast.engine.apps.presence import ORIGIN as DAEMON
from lightfast.engine.apps.put_back import PutBack
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.renames import CAPABILITY, Rename
from lightfast.engine.apps.resync import Mode, Plan, mode_of, plan
from lightfast.engine.apps.settings import AppSettings
from lightfast.engine.apps.wishes import Wishes
from lightfast.sdk import Change, Hello
from lightfast_link.path import is_under
from lightfast_link.value import Value

Args = TypeVarTuple("Args")
MAX_COLLECTED = 1_000_000
"""The most paths of one full report."""
MAX_LOOKED_UP = 1000
"""The most paths of a report that are looked up in the history; with more, it is another document in all but name."""
MAX_HELD = 200_000
"""The most reports and answers held back while the comparison is committed."""


class Join:
    """Collects the full report, decides what holds, writes it, and waits until what was put back is answered."""

    def __init__(
        self,
        desk: Desk,
        mount: str,
        hello: Hello,
        settings: AppSettings,
        wishes: Wishes,
        doubt: Doubt,
        recorder: Recorder,
        incoming: Incoming,
        outgoing: Outgoing,
        *,
        take: Callable[[Sequence[tuple[str, Change]]], None],
        progress: Callable[[str], None],
    ) -> None:
        """*take* gets the reports that were held back, *progress* is told in words what is being waited for."""
        self._desk = desk
        self._mount = mount
        self._origin = "app:" + mount[1:]
        self._hello = hello
        self._settings = settings
        self._recorder = recorder
        self._incoming = incoming
        self._outgoing = outgoing
        self._take = take
        self._progress = progress
        self._collected: dict[str, Change] = {}
        self._held: list[tuple[str, Change] | Callable[[], None]] = []
        self._news = asyncio.Event()
        self._report_ended = False
        self._put_back = PutBack(desk, mount, wishes, doubt, recorder)
        self._compared = -1
        self._meanwhile: list[Event] = []
        self._followed: list[tuple[str, str]] = []
        self._moved_away: set[str] = set()
        self.listening = False
        self.flowing = False
        self.answered = self._put_back.answered
        self.not_recorded = self._put_back.not_recorded
        self.lost = self._put_back.lost

    def report(self, changes: Sequence[tuple[str, Change]]) -> None:
        """Take reports that come before the application is in step."""
        self._news.set()
        if self.listening:
            self._held.extend(changes)
        else:
            for path, change in changes:
                self._collect(path, change)
        if len(self._collected) > MAX_COLLECTED or len(self._held) > MAX_HELD:
            raise Exhausted(f"{self._mount} reports more than can be compared", reason="REPORT_TOO_LARGE")

    def in_turn(self, answer: Callable[[*Args], None], *args: *Args) -> None:
        """Call *answer*, the end of a wish; after the reports that came before it, where those are held back.

        An application that tells an older value and then the one that was wished would else end at the older one.
        """
        if self.flowing:
            answer(*args)
        else:
            self._held.append(partial(answer, *args))

    def synced(self) -> None:
        """Take the end of the full report."""
        self._report_ended = True
        self._news.set()

    def renamed(self, source: str, target: str) -> None:
        """Follow a subtree that was renamed: what was put back is answered by its new name."""
        if not self.flowing:
            self._followed.append((source, target))
        self._put_back.renamed(source, target)

    def see(self, events: Sequence[Event]) -> None:
        """Take note of what others delete and rename before it is compared, and of what needs no answer any more."""
        if not self.listening:
            self._meanwhile += [each for each in events if each.type is not EventType.SET]
        elif not self.flowing:
            for each in [each for each in events if each.type is EventType.MOVE]:
                if each.entry.origin != self._origin:
                    self._moved_away.add(each.source)
                elif CAPABILITY not in self._hello.capabilities:
                    self.renamed(each.source, each.entry.path)  # what somebody renamed is taken back
        self._put_back.gone(events)

    async def run(self) -> str:
        """Return when the application is in step; or why it is not, where it does not answer what was put back."""
        await self._desk.store.cache.hold(self._mount)
        complete = await self._full_report()
        mounts = self._desk.mounts
        mode = mode_of(
            mounts.get(self._mount),
            self._hello,
            self._settings.resync_policy,
            witnessed=mounts.witnessed(self._mount),
        )
        back = await self._renamed(mode)
        deleted = await self._deleted() if mode is Mode.DAEMON else []
        self._desk.bus.flush()  # all that is in the tree has come by now, too
        moved = self._changed_meanwhile(deleted)
        self._compared = self._desk.store.revision
        entries = self._desk.store.select(self._mount + "//")
        made = plan(
            mode,
            entries,
            self._collected,
            complete=complete,
            tolerance=self._incoming.tolerance,
            writable=self._writable,
        )
        self.listening = True  # from here on wishes go out at once: those before are in the plan
        self._collected = {}
        self.lost.extend(made.lost)
        restored = [*[report.path for report in made.restored], *[rename.target for rename in back]]
        self._put_back.begin(restored, made.absent)
        await self._write(made, back, moved)
        again = self._gone_before(made.restored)
        await self._commit(again, DAEMON, f"put back into {self._mount}")
        self._put_back.forget([each.path for each in again if self._desk.store.get(each.path) is None])
        await self._desk.mounts.remember(claim_of(self._hello, self._mount))
        if signals := [each for each in made.signals if self._holds(*each)]:  # else a newer one went out meanwhile
            self._outgoing.signals(signals)
        self._outgoing.delete(deleted)
        self._take_held()
        if self._put_back:
            self._progress(f"putting back {len(self._put_back)} values")
        return "" if await self._put_back.all_answered() else NO_ANSWER

    def _holds(self, path: str, value: Value) -> bool:
        entry = self._desk.store.get(path)
        return entry is not None and entry.value == value

    def _take_held(self) -> None:
        """Take what came while the comparison was committed, in the order it came, and let all flow from then on."""
        while self._held:  # what is answered here may make some channels report at once, which is later than the rest
            held, self._held = self._held, []
            for answers, together in groupby(held, key=callable):
                if answers:
                    for answer in together:
                        answer()  # type: ignore[operator]
                else:
                    self._take(list(together))  # type: ignore[arg-type]
        self.flowing = True

    def _collect(self, path: str, change: Change) -> None:
        if change.moved_from:
            source = absolute(self._mount, change.moved_from)
            for old in [known for known in self._collected if is_under(known, source)]:
                self._collected[path + old[len(source) :]] = self._collected.pop(old)
        elif change.value is None:
            for old in [known for known in self._collected if is_under(known, path)]:
                del self._collected[old]
        else:
            self._collected[path] = change

    async def _full_report(self) -> bool:
        """Wait for the end of the full report; return false when the application fell silent before it."""
        while not self._report_ended:
            self._news.clear()
            try:
                async with asyncio.timeout(self._settings.resync_timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True

    async def _deleted(self) -> list[Entry]:
        """Take what was deleted from outside out of the report, and return it: it is to be deleted again."""
        unknown = [path for path in self._collected if self._desk.store.get(path) is None]
        if len(unknown) > MAX_LOOKED_UP:
            return []
        deleted: list[Entry] = []
        for path in unknown:
            page = await self._desk.store.history(path, page_size=1)
            for event in page.transactions[0].events if page.transactions else ():
                gone = event.type is EventType.DELETE and event.entry.path == path
                # It may have been deleted there meanwhile, too: reports still come.
                if gone and event.entry.origin not in {self._origin, DAEMON} and path in self._collected:
                    change = self._collected.pop(path)
                    deleted.append(msgspec.structs.replace(event.entry, value=change.value, reported=change.value))
        return deleted

    async def _renamed(self, mode: Mode) -> list[Rename]:
        """Bring the names together of what was renamed meanwhile; return what the application is to rename."""
        back: list[Rename] = []
        moves: list[Mutation] = []
        for renamed in match(self._desk.store.select(self._mount + "//"), self._collected):
            if not keeps_name(renamed, mode) or not self._outgoing.can_rename:
                moves += self._moved(renamed)
            else:
                back.append(Rename(renamed.there, renamed.here, renamed.revision, renamed.origin))
        back.reverse()  # in the application each has to make room for the one that took its name
        for rename in list(back):
            if any(is_under(path, rename.target) for path in self._collected):
                back.remove(rename)  # the name belongs to something else there
            else:
                self._collect(rename.target, Change("", None, moved_from=rename.source[len(self._mount) :]))
        await self._commit(moves, self._origin, f"renamed in {self._mount} meanwhile")
        return back

    def _moved(self, renamed: Renamed) -> list[Mutation]:
        """Return what lets the tree follow the application; a wished rename that this overrules goes on record."""
        writes: list[Mutation] = []
        if renamed.wished:
            writes += self._desk.conflicts.record(
                renamed.there,
                wished=None,
                reported=None,
                origin=renamed.origin,
                revision=renamed.revision,
                reason=f"not renamed to {renamed.here}: the application returned with another name, which holds",
            )
        return [*writes, Move(renamed.here, renamed.there)]

    def _changed_meanwhile(self, deleted: list[Entry]) -> list[Event]:
        """Bring the report in line with what others did since the application said hello: that is for it to do yet.

        Adds to *deleted*, and returns the renames.
        """
        moved: list[Event] = []
        meanwhile, self._meanwhile = self._meanwhile, []
        for event in meanwhile:
            path = event.source or event.entry.path
            if event.entry.origin in {self._origin, DAEMON} or path not in self._collected:
                continue
            if event.type is EventType.DELETE and self._desk.store.get(path) is None:
                value = self._collected.pop(path).value
                deleted.append(msgspec.structs.replace(event.entry, value=value, reported=value))
            elif event.type is EventType.MOVE and event.entry.path not in self._collected:
                moved.append(event)
        for rename in self._outgoing.renames_of(moved):
            self._collect(rename.target, Change("", None, moved_from=rename.source[len(self._mount) :]))
        return moved

    def _gone_before(self, restored: Sequence[Report]) -> list[Report]:
        """Return those of *restored* again that somebody renamed while they were committed, by their new names.

        And those by their old ones whose rename the application cannot carry out: it is taken back before them.
        """
        self._desk.bus.flush()  # all renames until now have come by
        again: list[Report] = []
        for report in restored:
            path = report.path
            for source, target in self._followed:
                if is_under(path, source):
                    path = target + path[len(source) :]
            if path in self._moved_away:
                again.append(msgspec.structs.replace(report, path=path))
            elif self._desk.store.get(path) is None:
                self._put_back.forget([path])  # deleted: nothing is left to be answered
            elif path != report.path:
                again.append(msgspec.structs.replace(report, path=path))
        return again

    async def _write(self, made: Plan, back: list[Rename], moved: list[Event]) -> None:
        taken: list[Mutation] = [*made.taken]
        taken += [Delete(path) for path in made.gone]
        for old in made.overwritten:
            taken += self._desk.conflicts.record(
                old.entry.path,
                wished=old.entry.value,
                reported=old.reported,
                origin=old.entry.origin,
                revision=old.entry.revision,
                reason="the application returned with another value, which holds",
            )
        taken += self._questions(made)
        await self._commit(taken, self._origin, f"{self._mount} reported everything")
        self._outgoing.wish(moved)
        self._outgoing.rename(back)  # before the values, which go by the new names
        await self._commit(list(made.restored), DAEMON, f"put back into {self._mount}")

    def _questions(self, made: Plan) -> list[Mutation]:
        """Return the writes that ask the user what holds, and take back the questions that answered themselves."""
        conflicts = self._desk.conflicts
        writes: list[Mutation] = []
        for question in made.asked:
            asked, records = conflicts.ask(question.entry, question.wished, question.reported)
            reported = UNSET if question.reported is None else question.reported
            shown = Report(question.entry.path, Status.PENDING, reported, question.wished, asked.reason)
            writes += [*records, shown]
        still = {question.entry.path for question in made.asked}
        for path in conflicts.asked_below(self._mount):
            if path not in still and (made.complete or path in made.agreed):
                writes += conflicts.answered(path)
        return writes

    async def _commit(self, mutations: Sequence[Mutation], origin: str, label: str) -> None:
        if not mutations:
            return
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def flushed(revision: int) -> None:
            if not done.done():  # the application may have left meanwhile
                done.set_result(revision)

        self._recorder.add_together(
            list(mutations), origin=origin, label=label, compared=self._compared, flushed=flushed
        )
        await done

    def _writable(self, path: str) -> bool:
        declared = self._desk.store.declaration(path)
        return declared is None or declared.access != "r"
