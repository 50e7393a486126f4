"""What waits for the application's main thread.

Policies, all counted: wishes of class signal keep only the latest of a path; of the others at most
`MAX_WISHES` wait, the next are rejected with the reason that the application is busy; at most
`MAX_CALLS` commands wait, the next fail with that reason. What belonged to a lost session is gone.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

from lightfast_link.messages import Call, Wish

MAX_WISHES = 16_384
MAX_CALLS = 64
Event = Tuple[Any, ...]


class Inbox:
    """Holds events; filled by the link's thread, emptied by the main thread, under the lock of `LinkClient`."""

    def __init__(self, counters: Dict[str, int]) -> None:
        self._counters = counters
        self._items: Deque[Event] = deque()
        self._signals: Dict[str, Wish] = {}
        self._wishes = 0
        self._calls = 0
        self._unseen = 0
        """How many changes the daemon had not acknowledged at the last loss, and how many were reported since."""
        self.ready = threading.Event()

    def add(self, event: Event) -> None:
        """Queue an event; of several of one kind that says all (`refused`, `resync`) the latest is kept."""
        if event[0] in ("refused", "resync"):
            self._items = deque(item for item in self._items if item[0] != event[0])
        self._items.append(event)
        self.ready.set()

    def add_wish(self, wish: Wish) -> Optional[str]:
        """Queue a wish; return why not, when there is no room."""
        if wish.signal:
            if wish.path not in self._signals:
                if len(self._signals) >= MAX_WISHES:
                    self._counters["dropped_signals"] += 1
                    return None
                self._items.append(("signal", wish.path))
            else:
                self._counters["conflated_signals"] += 1
            self._signals[wish.path] = wish
        elif self._wishes >= MAX_WISHES:
            self._counters["refused_wishes"] += 1
            return "the application is busy: %d wishes wait for it" % self._wishes
        else:
            self._wishes += 1
            self._items.append(("wish", wish))
        self.ready.set()
        return None

    def add_call(self, call: Call) -> Optional[str]:
        """Queue a command; return why not, when there is no room."""
        if self._calls >= MAX_CALLS:
            self._counters["refused_calls"] += 1
            return "the application is busy: %d commands wait for it" % self._calls
        self._calls += 1
        self.add(("command", call))
        return None

    def reported(self, changes: int) -> None:
        """Count *changes* that the main thread reports: a loss may wait that it has not heard of yet."""
        self._unseen += changes

    def end_session(self, reason: str, unseen: int, *, was_live: bool) -> List[int]:
        """Drop what belonged to the session, and say that it is lost, with *unseen* changes on the way.

        Returns the numbers of the commands that were dropped: the main thread never saw them.
        """
        kept = ("stored", "asset", "asset_failed", "unsent", "refused")
        waiting = {item[0] for item in self._items}
        dropped = [item[1].id for item in self._items if item[0] == "command"]
        self._items = deque(item for item in self._items if item[0] in kept)
        self._signals.clear()
        self._wishes = self._calls = 0
        # A session that the main thread never saw begin is not lost to it; an earlier loss still is.
        if "lost" in waiting or (was_live and "welcome" not in waiting):
            # A session that came and went meanwhile may have acknowledged what an earlier one had not.
            self._unseen = max(self._unseen, unseen) if "lost" in waiting else unseen
            self._items.append(("lost", reason))
        if self._items:
            self.ready.set()
        return dropped

    def take(self, limit: int) -> List[Event]:
        """Return at most *limit* events and wishes, neighboring wishes joined into one `apply`."""
        events: List[Event] = []
        for _ in range(min(limit, len(self._items))):
            item = self._items.popleft()
            if item[0] not in ("wish", "signal"):
                if item[0] == "command":
                    self._calls -= 1
                events.append((*item, self._unseen) if item[0] == "lost" else item)
                continue
            if item[0] == "wish":
                self._wishes -= 1
                wish = item[1]
            else:
                wish = self._signals.pop(item[1])
            if not events or events[-1][0] != "apply":
                events.append(("apply", []))
            events[-1][1].append(wish)
        if not self._items:
            self.ready.clear()
        return events
