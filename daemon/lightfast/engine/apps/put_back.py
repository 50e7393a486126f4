"""What an application that returns is given back: which of it is unanswered, and how long that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from lightfast.context.entry import Delete, Event, EventType, Move, Mutation, Report
from lightfast.engine.apps.desk import Desk
from lightfast.engine.apps.doubt import Doubt
from lightfast.engine.apps.recorder import Recorder
from lightfast.engine.apps.wishes import Flight, Wishes
from lightfast_link.path import is_under

log = structlog.get_logger("lightfast.apps")

UNANSWERED_S = 5.0
"""Seconds that an answer is waited for although no wish is under way that would bring it: those end by themselves."""
_LOOK_S = 0.5


class PutBack:
    """The paths that are put back, by the names that their wishes go by, and what was *lost* of them."""

    def __init__(self, desk: Desk, mount: str, wishes: Wishes, doubt: Doubt, recorder: Recorder) -> None:
        self._desk = desk
        self._mount = mount
        self._origin = "app:" + mount[1:]
        self._wishes = wishes
        self._doubt = doubt
        self._recorder = recorder
        self._waiting: set[str] = set()
        self._absent: set[str] = set()
        self._over = asyncio.Event()
        self.lost: list[str] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, paths: Iterable[str], absent: Iterable[str]) -> None:
        """Expect an answer for each of *paths*; those that are *absent* too the application did not have before."""
        self._waiting, self._absent = set(paths), set(absent)
        self._over.clear()

    def answered(self, flight: Flight, took: bool, reason: str) -> None:
        """Take the end of a wish; one that was put back and is refused is lost."""
        path = flight.path
        if path not in self._waiting:
            return
        if not took:
            self.lost.append(path)
            if path in self._absent and flight.reported is None:  # else it has it by now, with another value
                self._recorder.add(Delete(path), origin=self._origin, label=f"lost: {reason}")
        self.forget([path])

    def renamed(self, source: str, target: str) -> None:
        """Follow a subtree that was renamed: what was put back is answered by its new name."""
        self._absent = {path for path in self._absent if not is_under(path, target)}
        for paths in (self._waiting, self._absent):
            for path in [path for path in paths if is_under(path, source)]:
                paths.discard(path)
                paths.add(target + path[len(source) :])

    def gone(self, events: Sequence[Event]) -> None:
        """Take note of what was deleted: it needs no answer any more."""
        if self._waiting:
            now = self._desk.clock.monotonic()
            paths = [each.entry.path for each in events if each.type is EventType.DELETE]
            # The application may have renamed it at the same time: it is waited for by that name then.
            anew = [self._wishes.moving(path, now) for path in paths]
            self.forget([*paths, *[path for path in anew if self._wishes.in_flight(path) is None]])

    def not_recorded(self, mutation: Mutation) -> None:
        """Take note that the store has left *mutation* out: a value that is not put back, or a rename that is not."""
        if isinstance(mutation, Move):
            for path in [path for path in self._waiting if is_under(path, mutation.target)]:
                if self._wishes.in_flight(path) is None:  # what is yet to go out goes by the name in the tree
                    source = mutation.source + path[len(mutation.target) :]
                    self._waiting |= {source} if self._desk.store.get(source) is not None else set()
                    self.forget([path])
        elif isinstance(mutation, Report) and self._wishes.in_flight(mutation.path) is None:
            self.lost += [mutation.path] if mutation.path in self._waiting else []
            self.forget([mutation.path])

    def forget(self, paths: Sequence[str]) -> None:
        """Wait for no answer for *paths*."""
        self._waiting.difference_update(paths)
        if not self._waiting:
            self._over.set()

    async def all_answered(self) -> bool:
        """Wait for all answers; false where some are missing, and no wish is under way any more that may bring them.

        Wishes have deadlines of their own. The time is counted by looks: what came while this process stood still is
        read before it counts.
        """
        missing_s = 0.0
        while self._waiting and missing_s < UNANSWERED_S:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._over.wait()
            except TimeoutError:
                coming = self._desk.hold.reason or any(self._under_way(path) for path in self._waiting)
                missing_s = 0.0 if coming else missing_s + _LOOK_S
        unanswered, self._waiting = self._waiting, set()
        self._absent.clear()
        if unanswered:
            shown = sorted(unanswered)[:5]
            log.warning("what was put back is not answered", mount=self._mount, count=len(unanswered), paths=shown)
            self._doubt.begin()  # a comparison tells what it holds, and wishes again what still waits
        return not unanswered

    def _under_way(self, path: str) -> bool:
        return self._wishes.in_flight(path) is not None or self._wishes.renaming(path)
