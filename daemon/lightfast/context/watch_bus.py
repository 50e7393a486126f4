"""The bus: what was committed, handed once per loop tick to everyone who listens or watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from lightfast.context.entry import Event, Transaction
from lightfast.context.lanes import MAX_QUEUED_EVENTS, MAX_QUEUED_SIZE, Subscription, after, supersede
from lightfast.context.watch_batch import MAX_BATCH_EVENTS, MAX_BATCH_SIZE, Batch, Filter, WatchSpec, event_size
from lightfast.core.errors import Unavailable

log = structlog.get_logger("lightfast.watch")

MAX_GROUPS = 16_384
"""Of how many of the latest revisions the group is remembered."""
MAX_ROUTES = 100_000
"""How many paths are remembered with the groups they go to, before all are forgotten."""
BOOKMARK_INTERVAL = 5.0
"""How long, in seconds, a watcher without events may stay behind the revision."""

Listener = Callable[[Batch], None]


class Tap(Protocol):
    """Takes everything that is published, at once and before anything is conflated; it must not block."""

    def transaction(self, transaction: Transaction) -> None:
        """Take a committed transaction."""

    def samples(self, events: Sequence[Event]) -> None:
        """Take updates of signals, each of them."""


class _Group:
    """Everyone with the same filter: an event is matched and a batch is made once for all of them."""

    __slots__ = ("_batches", "_events", "_size", "filter", "listeners", "subscriptions")

    def __init__(self, members_filter: Filter) -> None:
        self.filter = members_filter
        # Dictionaries, because they keep the order of joining and a member leaves at once.
        self.listeners: dict[int, Listener] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self._events: list[Event] = []
        self._size = 0
        self._batches: list[Batch] = []

    def add(self, event: Event, size: int) -> None:
        """Take a state event of the transaction under way."""
        self._events.append(event)
        self._size += size

    def end_transaction(self, revision: int) -> None:
        """Close the batch if it is large: only here may one end."""
        if self._size >= MAX_BATCH_SIZE or len(self._events) >= MAX_BATCH_EVENTS:
            self._close_batch(revision)

    def _close_batch(self, revision: int) -> None:
        self._batches.append(Batch(tuple(self._events), revision, size=self._size))
        self._events = []
        self._size = 0

    def deliver(self, revision: int, signals: Sequence[Event], now: float) -> None:
        """Hand what was taken, and *signals*, to every member; all is up to *revision*."""
        if self._events:
            self._close_batch(revision)
        batches, self._batches = self._batches, []
        if not signals:
            for batch in batches:
                self._hand_out(batch, batch, (), now)
            return
        taken = tuple(signals)
        for batch in batches[:-1]:
            self._hand_out(batch, batch, (), now)
        states = batches[-1] if batches else None
        # Only a queue looks at the size.
        size = sum([event_size(event) for event in taken]) if self.subscriptions else 0
        if states is None:
            whole = Batch(taken, revision, size=size, has_signals=True)
        else:
            whole = Batch(states.events + taken, revision, size=size + states.size, has_signals=True)
        self._hand_out(whole, states, taken, now)

    def _hand_out(self, batch: Batch, states: Batch | None, signals: tuple[Event, ...], now: float) -> None:
        for listener in tuple(self.listeners.values()):
            try:
                listener(batch)
            except Exception:
                log.exception("a listener failed", listener=getattr(listener, "__qualname__", repr(listener)))
        for subscription in tuple(self.subscriptions.values()):
            subscription.offer(batch, states, signals, now)


class _Join:
    """A member that begins after what was published before it, and not earlier."""

    __slots__ = ("filter", "left", "listener", "subscription")

    def __init__(
        self, members_filter: Filter, *, listener: Listener | None = None, subscription: Subscription | None = None
    ) -> None:
        self.filter = members_filter
        self.listener = listener
        self.subscription = subscription
        self.left = False


class Bus:
    """Publishes transactions and signals, in order, to listeners in the process and to watchers.

    What is published in one tick of the loop goes out together at its end. It belongs to the loop's
    thread; *revision* is the last one that was handed out.
    """

    def __init__(self, store_id: str, *, revision: int = 0, bookmark_interval: float = BOOKMARK_INTERVAL) -> None:
        """Begin after *revision*; *bookmark_interval* is in seconds."""
        self.store_id = store_id
        self.revision = revision
        self.tap: Tap | None = None
        self._bookmark_interval = bookmark_interval
        self._bookmark_timer: asyncio.TimerHandle | None = None
        self._groups: dict[tuple[frozenset[str], frozenset[str]], _Group] = {}
        self._routes: dict[str, tuple[_Group, ...]] = {}
        self._ways: dict[tuple[_Group, ...], tuple[_Group, ...]] = {}
        self._pending: list[Transaction | _Join] = []
        self._signals: dict[str, Event] = {}
        self._overtaken: dict[str, Event] = {}
        self._undo_groups: dict[int, str] = {}
        self._scheduled = False
        self._watchers = 0
        self._closed = False

    @property
    def watchers(self) -> int:
        """Return the number of subscriptions."""
        return self._watchers

    def publish(self, transaction: Transaction) -> None:
        """Publish one committed transaction; call it after the commit, in the order of revisions."""
        if self.tap is not None:
            self.tap.transaction(transaction)
        if self._signals:
            supersede(self._signals, transaction.events)
            supersede(self._overtaken, transaction.events)
        self._remember(transaction)
        self._pending.append(transaction)
        self._schedule()

    def group_of(self, revision: int) -> str | None:
        """Return the group of one of the latest revisions, empty where it has none; `None` for an older one."""
        return self._undo_groups.get(revision)

    def signals(self, events: Sequence[Event]) -> None:
        """Publish volatile updates; within one tick the latest of a path wins, with what was there before the tick.

        It does not take the place of what another wrote: who leaves out what it wrote itself, as an application its own
        reports, would never hear of that.
        """
        if self.tap is not None:
            self.tap.samples(events)
        for event in events:
            path = event.entry.path
            earlier = self._signals.get(path)
            self._signals[path] = event if earlier is None else self._conflated(path, earlier, event)
        self._schedule()

    def listen(
        self, patterns: Iterable[str], callback: Listener, *, exclude_origins: Iterable[str] = ()
    ) -> Callable[[], None]:
        """Call *callback* once per tick with what matches *patterns*; return what ends it.

        It runs on the loop and must not block; one that raises is logged and stays.
        """
        return self._join(_Join(Filter(patterns, exclude_origins), listener=callback))

    def subscribe(
        self,
        spec: WatchSpec,
        revision: int,
        *,
        max_events: int = MAX_QUEUED_EVENTS,
        max_size: int = MAX_QUEUED_SIZE,
    ) -> Subscription:
        """Subscribe to everything published from now on; *revision* is where the watcher stands.

        The caller ends it with `Subscription.close`.
        """
        if self._closed:
            raise _closing()
        subscription = Subscription(
            self, revision, max_rate_hz=spec.max_rate_hz, max_events=max_events, max_size=max_size
        )
        subscription.close = self._join(_Join(Filter(spec.patterns, spec.exclude_origins), subscription=subscription))
        return subscription

    def flush(self) -> None:
        """Hand out what is pending at once, not at the end of the tick."""
        self._flush()

    def close(self) -> None:
        """Hand out what is pending, then end every subscription; watchers are told to come back."""
        self._flush()
        self._closed = True
        if self._bookmark_timer is not None:
            self._bookmark_timer.cancel()
            self._bookmark_timer = None
        for group in self._groups.values():
            for subscription in tuple(group.subscriptions.values()):
                subscription.end(_closing())

    def _join(self, member: _Join) -> Callable[[], None]:
        if member.subscription is not None:
            self._watchers += 1
        if self._pending:
            self._pending.append(member)
        else:
            self._admit(member)
        return lambda: self._leave(member)

    def _admit(self, member: _Join) -> None:
        if member.left:
            return
        key = member.filter.key
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(member.filter)
            self._forget_routes()
        if member.listener is not None:
            group.listeners[id(member)] = member.listener
        elif member.subscription is not None:
            group.subscriptions[id(member)] = member.subscription
            # All that was published before is out by now, also what an earlier process published.
            self.revision = max(self.revision, member.subscription.revision)

    def _leave(self, member: _Join) -> None:
        if member.left:
            return
        member.left = True
        if member.subscription is not None:
            self._watchers -= 1
        key = member.filter.key
        group = self._groups.get(key)
        if group is None:
            return
        group.listeners.pop(id(member), None)
        group.subscriptions.pop(id(member), None)
        if not group.listeners and not group.subscriptions:
            del self._groups[key]
            self._forget_routes()

    def _remember(self, transaction: Transaction) -> None:
        known = self._undo_groups
        known[transaction.revision] = transaction.group
        if len(known) > 2 * MAX_GROUPS:  # half of them at once, so that it costs next to nothing each time
            self._undo_groups = dict(list(known.items())[-MAX_GROUPS:])

    def _conflated(self, path: str, earlier: Event, event: Event) -> Event:
        if event.entry.origin == earlier.entry.origin:
            return after(earlier.previous, event)
        overtaken = self._overtaken.get(path)
        self._overtaken[path] = earlier if overtaken is None else after(overtaken.previous, earlier)
        return event

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        pending, self._pending = self._pending, []
        signals, self._signals = self._signals, {}
        if not pending and not signals:
            return
        overtaken, self._overtaken = self._overtaken, {}
        now = asyncio.get_running_loop().time()
        touched: dict[_Group, list[Event]] = {}
        for item in pending:
            if isinstance(item, _Join):
                # What was published before it joined goes to those who were there.
                for group in touched:
                    group.deliver(self.revision, (), now)
                touched.clear()
                self._admit(item)
            else:
                self._route(item, touched)
        for event in (*overtaken.values(), *signals.values()) if overtaken else signals.values():
            origin = event.entry.origin
            for group in self._groups_of(event.entry.path):
                if not group.filter.excludes(origin):
                    touched.setdefault(group, []).append(event)
        for group, volatile in touched.items():
            group.deliver(self.revision, volatile, now)
        if pending:
            self._arm_bookmark()

    def _route(self, transaction: Transaction, touched: dict[_Group, list[Event]]) -> None:
        mine: dict[_Group, bool] = {}
        for event in transaction.events:
            groups = self._groups_of(event.entry.path)
            if event.source:
                groups = tuple(dict.fromkeys(groups + self._groups_of(event.source)))
            if not groups:
                continue
            size = event_size(event)
            for group in groups:
                wanted = mine.get(group)
                if wanted is None:
                    wanted = mine[group] = not group.filter.excludes(transaction.origin)
                if wanted:
                    group.add(event, size)
        self.revision = transaction.revision
        for group, wanted in mine.items():
            if wanted:
                group.end_transaction(transaction.revision)
                touched.setdefault(group, [])

    def _groups_of(self, path: str) -> tuple[_Group, ...]:
        groups = self._routes.get(path)
        if groups is None:
            if len(self._routes) >= MAX_ROUTES:
                self._forget_routes()
            groups = tuple([group for group in self._groups.values() if group.filter.matches(path)])
            # Most paths go to the same few sets of groups: one tuple for all of them.
            groups = self._routes[path] = self._ways.setdefault(groups, groups)
        return groups

    def _forget_routes(self) -> None:
        self._routes.clear()
        self._ways.clear()

    def _bookmark(self) -> None:
        self._bookmark_timer = None
        now = asyncio.get_running_loop().time()
        bookmark = Batch((), self.revision)
        again = False
        for group in self._groups.values():
            for subscription in tuple(group.subscriptions.values()):
                if subscription.revision < self.revision:
                    if subscription.idle:
                        subscription.offer(bookmark, bookmark, (), now)
                    else:
                        # What waits for it may end before this revision: look again later.
                        again = True
        if again:
            self._arm_bookmark()

    def _arm_bookmark(self) -> None:
        if self._bookmark_timer is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._bookmark_timer = loop.call_later(self._bookmark_interval, self._bookmark)


def _closing() -> Unavailable:
    return Unavailable("the daemon is stopping: watch again in a moment", reason="SHUTTING_DOWN", retry_after=1.0)
