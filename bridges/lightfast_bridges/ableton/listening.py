"""Who listens to what: Live serves one listening client, so the bridge is that one for all.

Each listener is counted. It is started for the first who wants it and stopped after the last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from lightfast_bridges.ableton.asking import Asker, NoAnswerError, Send
from lightfast_bridges.ableton.names import BEAT
from lightfast_bridges.ableton.paths import Target

MAX_LISTENERS = 8192
"""The most listeners at once; Live calls each from its one thread."""


class Listeners:
    """The listeners of one session."""

    def __init__(self, asker: Asker, send: Send, held_elsewhere: Callable[[Target], bool] = lambda _: False) -> None:
        """*held_elsewhere* says whether somebody else goes on listening through us."""
        self._asker = asker
        self._held_elsewhere = held_elsewhere
        self._send = send
        self._held: Counter[Target] = Counter()
        self.deaf: set[Target] = set()
        """What Live has no listener for; it is polled instead."""

    def __len__(self) -> int:
        return len(self._held)

    def holders(self, target: Target) -> int:
        """Return how many want *target*."""
        return self._held[target]

    def targets(self) -> list[Target]:
        """Return all that is listened to."""
        return list(self._held)

    async def acquire(self, target: Target) -> bool:
        """Listen to *target*; False where Live does not let us. Live answers with the value now."""
        self._held[target] += 1
        return self._held[target] > 1 or await self._start(target)

    async def release(self, target: Target) -> None:
        """Give one hold up; the last one stops the listener."""
        if self._held[target] > 1:
            self._held[target] -= 1
        elif self._held.pop(target, 0):
            self.deaf.discard(target)
            if not self._held_elsewhere(target):
                self._send(target.stop_listen, *target.ids)

    async def keep(
        self,
        wanted: Iterable[Target],
        exists: Callable[[Target], bool],
        stuck: Callable[[Target], bool] = lambda _: False,
        covered: Callable[[Target], bool] = lambda _: False,
    ) -> None:
        """Hold each of *wanted* and what else is held and *exists*; start all of them anew.

        After tracks or scenes have come or gone the same index names another object; starting a
        listener again ties it to the object that has the index now. One that is *stuck* cannot be started again;
        where its object is not *covered* by another one, it is deaf.
        """
        for target in [held for held in self._held if not exists(held)]:
            self.forget(target)
        self.deaf.clear()
        for target in wanted:
            self._held[target] = self._held[target] or 1
        held = list(self._held)
        self.deaf |= {target for target in held if stuck(target) and not covered(target)}
        await asyncio.gather(*(self._start(target) for target in held if not stuck(target)))

    def forget(self, target: Target) -> None:
        """Drop *target*, whose object is gone: its listener went with it."""
        self._held.pop(target, None)
        self.deaf.discard(target)

    async def _start(self, target: Target) -> bool:
        if target.prop is BEAT:  # answers with the next beat, which may be far
            self._send(target.start_listen)
            return True
        if len(self._held) > MAX_LISTENERS:
            self.deaf.add(target)
            return False
        try:
            await self._asker.ask(target.start_listen, *target.ids, reply=target.get, begins=target.ids, tries=2)
        except NoAnswerError:
            self.deaf.add(target)
            return False
        return True
