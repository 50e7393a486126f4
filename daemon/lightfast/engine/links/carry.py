"""Carrying values: what the carriers decide is written, each link with its own origin, cause and group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from msgspec import UNSET

from lightfast.context.entry import Event, EventType, Precondition, Set
from lightfast.context.store import Store
from lightfast.context.watch import Batch
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Conflict, LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.groups import Groups
from lightfast.engine.links.carrier import MAX_BOUNCES, Carrier, Carry, Side
from lightfast.engine.links.glide import RATE_HZ

log = structlog.get_logger("lightfast.links")

RETRY_S = 0.002
"""Seconds until a carry is decided again after its target changed under it."""
MAX_RETRIES = 50
"""How often in a row that may happen before the link says so; it goes on with the next change."""
TOGETHER = 100
"""How many links carry before others get their turn on the loop: a few milliseconds of work."""
_SLACK_S = 0.001


class Carriage:
    """Moves values along all links.

    One write of a link is under way at a time: changes that come meanwhile are conflated, the
    latest is carried.
    """

    def __init__(self, store: Store, tasks: TaskGroup, renamed: Callable[[Carrier, str, str], None]) -> None:
        """Begin without links; *renamed* is told of a link one of whose paths was moved, from where and to where."""
        self._store = store
        self._tasks = tasks
        self._groups = Groups(store)
        self._renamed = renamed
        self._ends: dict[str, list[tuple[Carrier, Side | None]]] = {}
        self._turn = 0
        self._ready: list[Carrier] = []
        self._holds = 0
        self.held = ""

    def add(self, carrier: Carrier) -> None:
        """Put a link to work; the value its leader holds is carried at once."""
        for side, end in carrier.ends.items():
            self._ends.setdefault(end.path, []).append((carrier, side))
        for path in _asides(carrier):
            self._ends.setdefault(path, []).append((carrier, None))
        carrier.begin(self._store)
        if self.held:
            carrier.rest(self._store.revision)
        self.go(carrier)

    def remove(self, carrier: Carrier) -> None:
        """Take a link out of work."""
        carrier.off = True
        carrier.rest(self._store.revision)
        for side, end in carrier.ends.items():
            self._unhook(carrier, side, end.path)
        for path in _asides(carrier):
            self._unhook(carrier, None, path)

    def hold(self, reason: str) -> None:
        """Carry nothing any more until `release`."""
        self.held = reason
        self._holds += 1
        self._rest()

    def release(self) -> None:
        """Carry again, from the next change on."""
        self.held = ""
        self._rest()

    def _rest(self) -> None:
        for carrier in {carrier for known in self._ends.values() for carrier, _ in known}:
            carrier.rest(self._store.revision)

    def touching(self, path: str) -> list[tuple[Carrier, Side | None]]:
        """Return the links that *path* is an end of, or an aside (no side)."""
        return list(self._ends.get(path, ()))

    def on_batch(self, batch: Batch) -> None:
        """Take the events of one tick."""
        for event in batch.events:
            if event.type is EventType.MOVE and event.source in self._ends:
                self._follow(event)
            known = self._ends.get(event.entry.path)
            if known is None:
                continue
            revision = event.entry.revision
            self._turn += MAX_BOUNCES + 1  # answers to answers find room in between
            for carrier, side in known:
                if side is None:
                    carrier.observe_aside(event)
                elif event.type is EventType.DELETE:
                    carrier.forget(side)
                    continue
                elif not carrier.observe(side, event, self._turn):
                    continue
                if not (carrier.off or self.held) and (revision > carrier.after or not revision):
                    carrier.dirty = True
                    self.go(carrier)

    def go(self, carrier: Carrier) -> None:
        """Carry what is to be carried, unless that is under way."""
        if carrier.dirty and carrier.idle.is_set() and not (carrier.off or carrier.paused or self.held):
            carrier.idle.clear()
            if not self._ready:
                self._tasks.start(self._begin(), "carry")
            self._ready.append(carrier)

    async def _begin(self) -> None:
        """Let all that became ready in a tick work: between signals here and now, else in a task of its own."""
        ready, self._ready = self._ready, []
        for number, carrier in enumerate(ready, 1):
            if number % TOGETHER == 0:
                await asyncio.sleep(0)
            if not self._among_signals(carrier):
                self._tasks.start(self._work(carrier), carrier.link_id)
                continue
            try:
                self._work_now(carrier)
            except Exception:  # one link's trouble is not the others'
                log.exception("a link failed", link=carrier.link_id)

    def _among_signals(self, carrier: Carrier) -> bool:
        """Say whether only signals can be written by a link."""
        for side, end in carrier.ends.items():
            if side is Side.TARGET or carrier.two_way:
                declared = self._store.declaration(end.path)
                if declared is None or not declared.signal:
                    return False
        return True

    def _work_now(self, carrier: Carrier) -> None:
        """Do what `_work` does where only signals are written: nothing is waited for, and nothing conflicts."""
        try:
            while carrier.dirty and not (carrier.off or self.held):
                carrier.dirty = False
                try:
                    carry = carrier.next_carry(self._store)
                    if carry is not None:
                        self._publish(carrier, carry)
                        carrier.sent()
                    if not (carrier.stalled or carrier.off):
                        carrier.last_error = ""
                except LightfastError as error:
                    _fail(carrier, error.message)
                except ValueError as error:
                    _fail(carrier, str(error))
                if self._rests(carrier):
                    return
        finally:
            carrier.idle.set()

    async def _work(self, carrier: Carrier) -> None:
        retries = 0
        try:
            while carrier.dirty and not (carrier.off or self.held):
                carrier.dirty = False
                if await self._step(carrier):
                    retries = 0
                    if self._rests(carrier):
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

    def _rests(self, carrier: Carrier) -> bool:
        """Say whether a link has to wait before it carries on, and see that it does."""
        if carrier.paused:
            return True
        if carrier.gliding is not None:
            carrier.dirty = True
            self._pause(carrier, min(carrier.max_rate_hz or RATE_HZ, RATE_HZ))
            return True
        if carrier.max_rate_hz:
            self._pause(carrier, carrier.max_rate_hz)
            return True
        if carrier.look_after:
            self._look_later(carrier)
        return False

    def _pause(self, carrier: Carrier, rate_hz: float) -> None:
        """Hold a link back for as long as *rate_hz* asks; what comes meanwhile is conflated, the latest is carried."""

        def resume() -> None:
            carrier.paused = False
            self.go(carrier)

        carrier.paused = True
        asyncio.get_running_loop().call_later(1.0 / rate_hz, resume)

    def _look_later(self, carrier: Carrier) -> None:
        """Look at a link once more when its ends no longer echo each other."""

        def look() -> None:
            # Where more echoes came meanwhile, a later look was asked for.
            if carrier.look_after and SYSTEM.monotonic() >= carrier.look_after - _SLACK_S and not self.held:
                carrier.look()
                self.go(carrier)

        asyncio.get_running_loop().call_later(max(carrier.look_after - SYSTEM.monotonic(), 0.0), look)

    async def _step(self, carrier: Carrier) -> bool:
        """Carry one value; return false where the other end changed meanwhile, so that it is to be decided again."""
        try:
            carry = carrier.next_carry(self._store)
            if carry is not None and await self._write(carrier, carry):
                carrier.sent()
            if not (carrier.stalled or carrier.off):
                carrier.last_error = ""
        except Conflict as error:
            if error.reason != "PATH_OWNED":
                return False
            _fail(carrier, f"{error.metadata['owner']} has its hand on {error.metadata['path']}")
            carrier.dirty = True  # what is then the latest is carried when it lets go
            self._pause(carrier, 1.0 / (error.retry_after or RETRY_S))
        except LightfastError as error:
            _fail(carrier, error.message)
        except ValueError as error:
            _fail(carrier, str(error))
        return True

    async def _write(self, carrier: Carrier, carry: Carry) -> bool:
        """Write one value; return false where the links were held, or this one switched off, before it came to that."""
        declared = self._store.declaration(carry.path)
        if declared is not None and declared.signal:
            self._publish(carrier, carry)
            return True
        holds = self._holds
        group = await self._groups.of(carry.cause)
        if self.held or carrier.off or holds != self._holds:
            return False
        carrier.sending(carry)
        await self._store.apply(
            [Set(carry.path, carry.value)],
            origin=carrier.origin,
            cause=carry.cause,
            group=group,
            preconditions=[_unchanged(carry)] if carrier.two_way else (),
            label=f"link {carrier.link_id}",
        )
        return True

    def _publish(self, carrier: Carrier, carry: Carry) -> None:
        """Write a signal; raise `ValueError` with the reason where it is refused."""
        carrier.sending(carry)
        published = self._store.publish([Set(carry.path, carry.value)], origin=carrier.origin)
        if published.dropped:
            raise ValueError(published.first_reason)

    def _follow(self, event: Event) -> None:
        """Let what looks at the old path of a move follow it."""
        for carrier, side in self._ends.pop(event.source):
            if side is not None:
                carrier.ends[side].path = event.entry.path
            self._ends.setdefault(event.entry.path, []).append((carrier, side))
            self._renamed(carrier, event.source, event.entry.path)

    def _unhook(self, carrier: Carrier, side: Side | None, path: str) -> None:
        left = [known for known in self._ends.get(path, ()) if known != (carrier, side)]
        if left:
            self._ends[path] = left
        else:
            self._ends.pop(path, None)


def _asides(carrier: Carrier) -> tuple[str, ...]:
    return carrier.asides.paths if carrier.asides is not None else ()


def _unchanged(carry: Carry) -> Precondition:
    if carry.follower is None:
        return Precondition(carry.path, absent=True)
    if carry.follower.revision:
        return Precondition(carry.path, revision=carry.follower.revision)
    return Precondition(carry.path, absent=False, revision=UNSET)


def _fail(carrier: Carrier, reason: str) -> None:
    if carrier.off:
        return  # what it says of itself is why it was switched off
    carrier.gliding = None  # the next change tries again
    if carrier.last_error != reason:
        log.warning("a link could not carry", link=carrier.link_id, reason=reason)
    carrier.last_error = reason
