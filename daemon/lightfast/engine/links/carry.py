"""Carrying values: what the carriers decide is written, each link with its own origin, cause and group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec import UNSET

from lightfast.context.entry import Event, EventType, Precondition, Set
from lightfast.context.store import Store
from lightfast.context.watch import Batch
from lightfast.core.errors import Conflict, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.groups import Groups
from lightfast.engine.links.carrier import MAX_BOUNCES, Carrier, Carry, Side

log = structlog.get_logger("lightfast.links")

RETRY_S = 0.002
"""Seconds until a carry is decided again after its target changed under it."""
MAX_RETRIES = 50
"""How often in a row that may happen before the link says so; it goes on with the next change."""


class Carriage:
    """Moves values along all links.

    One write of a link is under way at a time: changes that come meanwhile are conflated, the
    latest is carried.
    """

    def __init__(self, store: Store, tasks: TaskGroup, renamed: Callable[[Carrier], None]) -> None:
        """Begin without links; *renamed* is told of a link one of whose ends was moved."""
        self._store = store
        self._tasks = tasks
        self._groups = Groups(store)
        self._renamed = renamed
        self._ends: dict[str, list[tuple[Carrier, Side]]] = {}
        self._turn = 0

    def add(self, carrier: Carrier) -> None:
        """Put a link to work; the value its leader holds is carried at once."""
        for side, end in carrier.ends.items():
            self._ends.setdefault(end.path, []).append((carrier, side))
        carrier.begin(self._store)
        self.go(carrier)

    def remove(self, carrier: Carrier) -> None:
        """Take a link out of work."""
        carrier.disabled = True
        carrier.dirty = carrier.stalled = False
        for side, end in carrier.ends.items():
            self._unhook(carrier, side, end.path)

    def on_batch(self, batch: Batch) -> None:
        """Take the events of one tick."""
        for event in batch.events:
            if event.type is EventType.MOVE and event.source in self._ends:
                self._follow(event)
            known = self._ends.get(event.entry.path)
            if known is None:
                continue
            self._turn += MAX_BOUNCES + 1  # answers to answers find room in between
            for carrier, side in known:
                if event.type is EventType.DELETE:
                    carrier.forget(side)
                elif carrier.observe(side, event, self._turn) and not carrier.disabled:
                    carrier.dirty = True
                    self.go(carrier)

    def go(self, carrier: Carrier) -> None:
        """Carry what is to be carried, unless that is under way."""
        if carrier.dirty and carrier.idle.is_set() and not (carrier.disabled or carrier.paused):
            carrier.idle.clear()
            self._tasks.start(self._work(carrier), carrier.link_id)

    async def _work(self, carrier: Carrier) -> None:
        retries = 0
        try:
            while carrier.dirty and not carrier.disabled:
                carrier.dirty = False
                if await self._step(carrier):
                    retries = 0
                    if carrier.max_rate_hz:
                        self._pause(carrier)
                        return
                    continue
                retries += 1
                if retries > MAX_RETRIES:
                    _fail(carrier, "the target changes faster than it can be followed")
                    return
                carrier.dirty = True
                await asyncio.sleep(RETRY_S)
        finally:
            carrier.idle.set()

    def _pause(self, carrier: Carrier) -> None:
        """Hold a link back for as long as its rate asks; what comes meanwhile is conflated, the latest is carried."""

        def resume() -> None:
            carrier.paused = False
            self.go(carrier)

        carrier.paused = True
        asyncio.get_running_loop().call_later(1.0 / carrier.max_rate_hz, resume)

    async def _step(self, carrier: Carrier) -> bool:
        """Carry one value; return false where the other end changed meanwhile, so that it is to be decided again."""
        try:
            carry = carrier.next_carry(self._store)
            if carry is not None:
                await self._write(carrier, carry)
                carrier.carried += 1
            if not carrier.stalled:
                carrier.last_error = ""
        except Conflict:
            return False
        except LightfastError as error:
            _fail(carrier, error.message)
        except ValueError as error:
            _fail(carrier, str(error))
        return True

    async def _write(self, carrier: Carrier, carry: Carry) -> None:
        carrier.sending(carry)
        declared = self._store.declaration(carry.path)
        change = Set(carry.path, carry.value)
        if declared is not None and declared.signal:
            published = self._store.publish([change], origin=carrier.origin)
            if published.dropped:
                raise ValueError(published.first_reason)
            return
        await self._store.apply(
            [change],
            origin=carrier.origin,
            cause=carry.cause,
            group=await self._groups.of(carry.cause),
            preconditions=[_unchanged(carry)] if carrier.two_way else (),
            label=f"link {carrier.link_id}",
        )

    def _follow(self, event: Event) -> None:
        """Let the ends at the old path of a move follow it."""
        for carrier, side in self._ends.pop(event.source):
            carrier.ends[side].path = event.entry.path
            self._ends.setdefault(event.entry.path, []).append((carrier, side))
            self._renamed(carrier)

    def _unhook(self, carrier: Carrier, side: Side, path: str) -> None:
        left = [known for known in self._ends.get(path, ()) if known != (carrier, side)]
        if left:
            self._ends[path] = left
        else:
            self._ends.pop(path, None)


def _unchanged(carry: Carry) -> Precondition:
    if carry.follower is None:
        return Precondition(carry.path, absent=True)
    if carry.follower.revision:
        return Precondition(carry.path, revision=carry.follower.revision)
    return Precondition(carry.path, absent=False, revision=UNSET)


def _fail(carrier: Carrier, reason: str) -> None:
    if carrier.last_error != reason:
        log.warning("a link could not carry", link=carrier.link_id, reason=reason)
    carrier.last_error = reason
