"""A dry run: what a value at one link's source would move, along all links that follow, and what would prevent it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from lightfast.context.entry import Declaration, Entry, Set
from lightfast.context.store import Store
from lightfast.core.errors import LightfastError
from lightfast.engine.links.asides import View
from lightfast.engine.links.carrier import Carrier, Side
from lightfast_link.value import Value, close

MAX_MOVES = 1000
"""The most moves of one dry run."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One path that would move: *before* is None where it holds nothing, *refusal* says why it would not."""

    link_id: str
    source: str
    target: str
    before: Value | None
    after: Value | None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a link would do: the value of its target, what comes back (two-way), and all that would move in turn."""

    converted: Value
    returned: Value | None
    moves: tuple[Moved, ...]


class Supposed:
    """The store as it would be: *values* lie over what it holds."""

    def __init__(self, store: View, values: dict[str, Value]) -> None:
        self._store = store
        self.values = values

    def get(self, path: str) -> Entry | None:
        """Return the entry as it would be."""
        entry = self._store.get(path)
        if path not in self.values:
            return entry
        if entry is None:
            return Entry(path, self.values[path], 0, 0, 0, "", 0, 0, 0)
        return replace(entry, value=self.values[path])

    def declaration(self, path: str) -> Declaration | None:
        """Return the declaration that holds for *path*."""
        return self._store.declaration(path)

    def mount_of(self, path: str) -> str:
        """Return the mount of *path*."""
        return self._store.mount_of(path)


class Dry:
    """Dry runs over a store and its links; *held* says why all of them are held, if they are."""

    def __init__(
        self, store: Store, held: str, touching: Callable[[str], Iterable[tuple[Carrier, Side | None]]]
    ) -> None:
        self._store = store
        self._held = held
        self._touching = touching

    async def moves(self, first: Carrier, value: Value) -> tuple[Moved, ...]:
        """Return what would move, in order, if the source of *first* came to hold *value*; write nothing."""
        view = Supposed(self._store, {first.ends[Side.SOURCE].path: value})
        moves = [await self._move(view, first, Side.SOURCE)]
        queue = deque([move.target for move in moves if move is not None and not move.refusal])
        found = [move for move in moves if move is not None]
        done = {first.link_id}
        while queue and len(found) < MAX_MOVES:
            for carrier, side in self._touching(queue.popleft()):
                if carrier.link_id in done or (side is Side.TARGET and not carrier.two_way):
                    continue
                done.add(carrier.link_id)
                lead = carrier.leader(self._store) if side is None else side
                move = await self._move(view, carrier, lead)
                if move is not None:
                    found.append(move)
                    if not move.refusal:
                        queue.append(move.target)
        return tuple(found)

    async def _move(self, view: Supposed, carrier: Carrier, lead: Side) -> Moved | None:
        """Return what *carrier* would write now, and suppose it; None where its ends agree already."""
        path, target = carrier.ends[lead].path, carrier.ends[lead.other].path
        held, leader = view.get(target), view.get(path)
        before = held.value if held is not None else None

        def refused(why: str, after: Value | None = None) -> Moved:
            return Moved(carrier.link_id, path, target, before, after, why)

        why = self._held and f"all links are held: {self._held}"
        if not why and carrier.off:
            why = "the link is bypassed" if carrier.settings.bypass else "the link is switched off"
        why = why or carrier.why_not(view)
        if why or leader is None or leader.value is None:
            return refused(why or f"{path} holds nothing yet")
        try:
            after = carrier.converted(view, lead, leader.value)
        except ValueError as error:
            return refused(str(error))
        if before is not None and close(before, after, carrier.tolerance):
            return None
        try:
            await self._store.apply([Set(target, after)], origin=carrier.origin, validate_only=True)
        except LightfastError as error:
            return refused(error.message, after)
        view.values[target] = after
        return refused("", after)
