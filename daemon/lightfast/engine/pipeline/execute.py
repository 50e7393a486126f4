"""Execute: which instructions may be performed now.

An instruction that reads what an earlier one writes waits for it (RAW): until it was performed, or where it has changes
of the context, until they are committed. Those changes happen in program order anyway; only what acts as it is
performed also waits for what earlier instructions read (WAR) and write (WAW). For these it is not enough that they were
performed: a daemon that dies before they are committed would perform them again, after the act. So it waits for their
commit, unless they are never performed twice: those that are keyed, and those that may not be repeated.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from lightfast.engine.pipeline.hazards import Accesses
from lightfast.engine.pipeline.slots import Slot, Stage, was_begun
from lightfast_link.path import Pattern

ENDLESS = 1 << 62


class Execute:
    """The scoreboard of one run, and the instructions that wait for their turn at it.

    Nothing later than *barrier* is issued; of what is later than *doubt*, only what was begun before.
    """

    def __init__(self) -> None:
        self.barrier = ENDLESS
        self.doubt = ENDLESS
        self.paused = False
        self._reads = Accesses()
        self._writes = Accesses()
        self._reading: dict[int, tuple[Pattern, ...]] = {}
        self._writing: dict[int, tuple[Pattern, ...]] = {}
        self._slots: dict[int, Slot] = {}
        self._free: set[int] = set()
        self._ready: list[tuple[int, Slot]] = []

    def enter(self, slot: Slot) -> None:
        """Take an instruction in, with all it may read and write."""
        self._slots[slot.order] = slot
        self.declare(slot)

    def declare(self, slot: Slot) -> None:
        """Note what an instruction reads and writes, in place of what it had declared before."""
        order = slot.order
        if self._reading.get(order, ()) != slot.reads:
            self._reads.remove(order, self._reading.pop(order, ()))
            self._reads.add(order, slot.reads)
            self._reading[order] = slot.reads
        if self._writing.get(order, ()) != slot.writes:
            self._writes.remove(order, self._writing.pop(order, ()))
            self._writes.add(order, slot.writes)
            self._writing[order] = slot.writes

    def wait(self, slot: Slot) -> None:
        """Let an instruction wait for its turn: all it refers to is there."""
        heapq.heappush(self._ready, (slot.order, slot))

    def issue(self, perform: Callable[[Slot], None]) -> bool:
        """Hand all that may go on now to *perform*, in program order; say whether there was any."""
        any_ = False
        while self._ready and not self.paused:
            _, slot = heapq.heappop(self._ready)
            if slot.order > self.barrier and not (self.barrier >= 0 and was_begun(slot)):
                continue
            if slot.order > self.doubt and not slot.begun:
                continue  # neither a failure nor a doubt is ever taken back
            blocker = self.blocker(slot)
            if blocker is not None:
                blocker.blocked_at.append(slot)
                continue
            any_ = True
            perform(slot)
        return any_

    def blocker(self, slot: Slot) -> Slot | None:
        """Return an earlier instruction that *slot* must wait for."""
        found = self._writes.latest(slot.order, slot.reads, self._free) if slot.reads else -1
        if slot.acts and slot.stage is not Stage.GUARD and slot.writes:
            found = max(
                found, self._writes.latest(slot.order, slot.writes), self._reads.latest(slot.order, slot.writes)
            )
        return None if found < 0 else self._slots[found]

    def executed(self, slot: Slot) -> None:
        """Hear that an instruction was performed; one that is `sticky` may be performed again."""
        if slot.order not in self._slots:
            return
        if slot.outcome is None or not slot.outcome.changes:
            if not slot.sticky:
                self.retired(slot)
                return
            self._free.add(slot.order)
        elif not slot.sticky:
            self._reads.remove(slot.order, self._reading.pop(slot.order, ()))
        self._wake(slot)

    def retired(self, slot: Slot) -> None:
        """Hear that nothing of an instruction is left to do."""
        if self._slots.pop(slot.order, None) is None:
            return
        self._free.discard(slot.order)
        if reads := self._reading.pop(slot.order, ()):
            self._reads.remove(slot.order, reads)
        if writes := self._writing.pop(slot.order, ()):
            self._writes.remove(slot.order, writes)
        self._wake(slot)

    def _wake(self, slot: Slot) -> None:
        if slot.blocked_at:
            woken, slot.blocked_at = slot.blocked_at, []
            for each in woken:
                heapq.heappush(self._ready, (each.order, each))

    @property
    def size(self) -> int:
        """Return how many instructions it watches."""
        return len(self._slots)
