"""Watch: a snapshot or the past, then everything that is published, in one stream of batches.

The promises, each with its own test: *ordered* by revision, *unique*, *atomic* (a batch never ends
inside a transaction), *reliable* (no state event is missing), *resumable* from any revision that is
kept, *bookmarks* where nothing matches, *bounded* (a reader too slow is cut off, and told from where
to resume).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from lightfast.context.entry import Event, EventType, Transaction
from lightfast.context.lanes import MAX_QUEUED_EVENTS, MAX_QUEUED_SIZE, Subscription
from lightfast.context.watch_batch import MAX_BATCH_EVENTS, MAX_BATCH_SIZE, Batch, Filter, WatchSpec, event_size
from lightfast.context.watch_bus import BOOKMARK_INTERVAL, Bus
from lightfast.context.watch_snapshot import Snapshot, Visited
from lightfast.core.errors import InvalidArgument, OutOfRange

__all__ = ["BOOKMARK_INTERVAL", "Batch", "Bus", "Subscription", "WatchSpec", "Watchable", "bus_of", "watch"]

REPLAY_TRANSACTIONS = 200
"""How many past transactions are read at a time."""


class Watchable(Visited, Protocol):
    """What `watch` needs of a store."""

    @property
    def store_id(self) -> str:
        """Return the identity of the store."""

    @property
    def revision(self) -> int:
        """Return the last revision committed; the bus was handed everything up to it."""

    @property
    def oldest_revision(self) -> int:
        """Return the oldest revision that can be read; everything after it can be replayed."""

    @property
    def bus(self) -> Any:
        """Return the bus, a `Bus`; another feed cannot be watched."""

    async def replay(self, after_revision: int, until_revision: int, limit: int) -> Sequence[Transaction]:
        """Return at most *limit* whole transactions, oldest first."""


async def watch(
    store: Watchable,
    spec: WatchSpec,
    *,
    max_events: int = MAX_QUEUED_EVENTS,
    max_size: int = MAX_QUEUED_SIZE,
) -> AsyncGenerator[Batch, None]:
    """Yield batches for ever: the snapshot or the replay up to a batch with `synced`, then live ones.

    Without either, the first batch is an empty one with `synced`: from its revision on, nothing is missed.
    Raises `InvalidArgument` for a malformed request, `OutOfRange` (REVISION_COMPACTED with
    `compact_revision`, STORE_CHANGED), `Exhausted` (WATCHER_TOO_SLOW with `revision`), and
    `Unavailable` when the daemon stops. Close the generator when done.
    """
    wanted = Filter(spec.patterns, spec.exclude_origins)
    _check(store, spec)
    position = spec.start_revision
    if position is not None:
        # Far behind, the past is read without a subscription: the queue would only fill meanwhile.
        while store.revision - position > REPLAY_TRANSACTIONS:
            chunk = await _replay(store, position, store.revision)
            position = chunk[-1].revision
            for batch in _batches(wanted, chunk):
                yield batch
    snapshot = Snapshot(store, wanted) if position is None and spec.include_snapshot else None
    if snapshot is not None:
        await snapshot.take()
    # Since then nothing was awaited: the snapshot and the subscription meet at one revision.
    current = store.revision
    bus: Bus = store.bus
    subscription = bus.subscribe(spec, current, max_events=max_events, max_size=max_size)
    try:
        if position is not None and position < current:
            while position < current:
                chunk = await _replay(store, position, current)
                position = chunk[-1].revision
                for batch in _batches(wanted, chunk):
                    batch.synced = batch.revision == current
                    yield batch
        elif snapshot is not None:
            for part, last in snapshot.parts():
                events = tuple([Event(EventType.SET, entry) for entry in await snapshot.whole(part)])
                yield Batch(events, current if last else 0, synced=last)
                if not last:
                    await snapshot.rest()
        else:
            yield Batch((), current, synced=True)
        while True:
            yield await subscription.next()
    finally:
        subscription.close()


def _check(store: Watchable, spec: WatchSpec) -> None:
    if not 0 <= spec.max_rate_hz < float("inf"):
        raise InvalidArgument(f"max_rate_hz is {spec.max_rate_hz}: use a number from 0 up", field="max_rate_hz")
    if spec.store_id and spec.store_id != store.store_id:
        raise OutOfRange(
            f"the store is {store.store_id}, not {spec.store_id}: "
            "its history may differ, so take a snapshot and watch from there",
            reason="STORE_CHANGED",
            metadata={"store_id": store.store_id, "revision": str(store.revision)},
        )
    start = spec.start_revision
    if start is None:
        return
    if start < 0:
        raise InvalidArgument(f"start_revision is {start}: revisions begin at 0", field="start_revision")
    if start > store.revision:
        raise OutOfRange(
            f"start_revision {start} lies in the future, the last one is {store.revision}: "
            "the store may have been restored, so take a snapshot and watch from there",
            reason="STORE_CHANGED",
            metadata={"store_id": store.store_id, "revision": str(store.revision)},
        )
    _check_kept(store, start)


def _check_kept(store: Watchable, position: int) -> None:
    if position < store.oldest_revision:
        raise OutOfRange(
            f"the changes after revision {position} are no longer kept, the oldest is "
            f"{store.oldest_revision}: take a snapshot and watch from there",
            metadata={"compact_revision": str(store.oldest_revision), "store_id": store.store_id},
        )


async def _replay(store: Watchable, after: int, until: int) -> Sequence[Transaction]:
    chunk = await store.replay(after, until, REPLAY_TRANSACTIONS)
    # Asked after the reading, too: history may have been dropped while it was read.
    _check_kept(store, after)
    if not chunk or chunk[0].revision != after + 1:
        raise OutOfRange(
            f"the change after revision {after} is missing from the history: take a snapshot and watch from there",
            metadata={"compact_revision": str(store.oldest_revision), "store_id": store.store_id},
        )
    return chunk


def bus_of(store: Any) -> Bus:
    """Return the bus that *store* publishes to; raise `TypeError` where it is fed into something else."""
    bus = store.bus
    if not isinstance(bus, Bus):
        raise TypeError("this needs a store with a Bus")
    return bus


def _batches(wanted: Filter, transactions: Sequence[Transaction]) -> list[Batch]:
    """Return what *wanted* lets through, cut where a batch grows large; the last reaches the last revision."""
    batches: list[Batch] = []
    events: list[Event] = []
    size = 0
    for transaction in transactions:
        selected = wanted.select(transaction)
        events += selected
        size += sum([event_size(event) for event in selected])
        if size >= MAX_BATCH_SIZE or len(events) >= MAX_BATCH_EVENTS:
            batches.append(Batch(tuple(events), transaction.revision, size=size))
            events, size = [], 0
    last = transactions[-1].revision
    if events or not batches or batches[-1].revision != last:
        batches.append(Batch(tuple(events), last, size=size))
    return batches
