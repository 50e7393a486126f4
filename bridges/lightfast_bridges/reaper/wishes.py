"""Wishes on their way into REAPER: sent, and settled by what REAPER tells, or answers when it is asked.

REAPER tells what a message has changed, though mostly not on that message's address, and never what was there already.
So a wish waits a moment for the telling, then asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from lightfast.sdk import AppSession, Value, Wish
from lightfast.sdk.patience import Patience
from lightfast_bridges.reaper.layout import Place
from lightfast_bridges.reaper.pacing import Send
from lightfast_bridges.reaper.target import Known, Target, asked, target_of
from lightfast_link.path import decode_segment
from lightfast_link.value import close

ANSWER = 0.6
"""Seconds to wait for an answer."""
TRIES = 3
"""How often a value is sent, and asked for, before REAPER is said to refuse it."""


@dataclass(slots=True)
class _Pending:
    target: Target
    before: Value | None
    ids: list[int] = field(default_factory=list)
    sent: int = 1
    asked: int = 0
    timer: Patience | None = None


class Wishes:
    """The wishes of one session."""

    def __init__(
        self, session: AppSession, send: Send, known: Callable[[], Known], refresh: Callable[[set[str]], None]
    ) -> None:
        """*refresh* has REAPER tell what was asked for, in the scopes it is given."""
        self._session, self._send, self._known, self._refresh = session, send, known, refresh
        self._pending: dict[str, _Pending] = {}
        self._asking: set[str] = set()

    def __len__(self) -> int:
        return len(self._pending)

    def waits(self, path: str) -> bool:
        """Say whether a wish for *path* is under way."""
        return path in self._pending

    def apply(self, wish: Wish) -> None:
        """Send one wish, or reject it with the reason."""
        try:
            path, value = wish.path, wish.value
            if wish.moved_from:
                path, value = f"{wish.moved_from}/name", _new_name(wish)
            target = target_of(path, value, self._known())
        except ValueError as error:
            if not wish.signal:
                self._session.reject(wish.wish_id, str(error))
            return
        if wish.signal or target.leaf.signal:
            self._send(*target.set)
            if not wish.signal:
                self._session.settle(wish.wish_id, target.value)
            return
        self._take_up(path, wish.wish_id, target)

    def _take_up(self, path: str, wish_id: int, target: Target) -> None:
        pending, held = self._pending.get(path), self._known().held.get(path)
        if target.toggles and (pending.target.value if pending else held) == target.value:
            if pending is None:
                self._session.settle(wish_id, held)
            else:
                pending.ids.append(wish_id)
            return
        if pending is None:
            pending = self._pending[path] = _Pending(target, held)
        pending.target = target
        pending.ids.append(wish_id)
        pending.sent, pending.asked = 1, 0
        self._send(*target.set)
        if pending.timer is None:  # one that is wished again and again is asked for all the same
            self._later(path, pending, target.echo)

    def _later(self, path: str, pending: _Pending, seconds: float) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = Patience(seconds, self._unheard, path)

    def _unheard(self, path: str) -> None:
        """Ask, where REAPER has not told; or judge by what it told last, where nothing can be asked."""
        pending = self._pending.get(path)
        if pending is None:
            return
        pending.timer = None
        if not pending.target.ask and pending.target.scope == "transport":
            held = self._known().held.get(path)
            if held is not None and close(held, pending.target.value, pending.target.leaf.tolerance):
                self._settle(path, held)
            else:
                self._not_so(path, pending, held)
            return
        pending.asked += 1
        if pending.asked > TRIES:
            self._reject(path, "REAPER does not answer")
            return
        if not self._asking:
            asyncio.get_running_loop().call_soon(self._ask)
        self._asking.add(path)
        self._later(path, pending, ANSWER)

    def _ask(self) -> None:
        """Ask for all that is to be asked for at once: REAPER goes through the whole project for it."""
        asking, self._asking = self._asking, set()
        scopes = set()
        marks = self._known().marks
        for path in sorted(asking & self._pending.keys()):
            target = self._pending[path].target
            if address := asked(path, target, marks):
                self._send(address)
            scopes.add(target.scope)
        if scopes:
            self._refresh(scopes)

    def hear(self, path: str, value: Value) -> bool:
        """Take what REAPER tells; True where it settled a wish, which reports it, too."""
        pending = self._pending.get(path)
        if pending is None:
            return False
        if close(value, pending.target.value, pending.target.leaf.tolerance):
            self._settle(path, value)
            return True
        if not pending.asked:
            return False  # a change made in REAPER before our wish arrived, or a step on the way
        return self._not_so(path, pending, value)

    def _not_so(self, path: str, pending: _Pending, value: Value | None) -> bool:
        """Deal with a value that is not the wished one: send once more, then settle with it or reject."""
        tolerance = pending.target.leaf.tolerance
        unchanged = value is None or (pending.before is not None and close(value, pending.before, tolerance))
        if pending.sent < (TRIES if unchanged else 2) and not pending.target.toggles:
            pending.sent += 1
            pending.asked = 0
            self._send(*pending.target.set)
            self._later(path, pending, pending.target.echo)
            return False
        if unchanged:
            self._reject(path, f"REAPER kept {value!r} when asked for {pending.target.value!r}")
            return False
        self._settle(path, value)  # REAPER has adjusted it
        return True

    # ------------------------------------------------------------------ tracks that move

    def renamed(self, names: Sequence[str], places: Mapping[int, Place]) -> dict[int, str]:
        """Return the bases of the tracks that now have the name we wished, by number."""
        found = {}
        for index, place in places.items():
            pending = self._pending.get(f"{place.base}/name")
            if pending is not None and index <= len(names) and names[index - 1] == pending.target.value:
                found[index] = place.base
        return found

    def moved(self, source: str, target: str) -> None:
        """Follow a track that lies elsewhere now, and may have another number."""
        for path in [path for path in self._pending if path.startswith(source + "/")]:
            there = target + path[len(source) :]
            pending = self._pending[there] = self._pending.pop(path)
            self._later(there, pending, pending.target.echo)

    def renumbered(self) -> None:
        """Send again what is under way to tracks whose number has changed."""
        for path, pending in list(self._pending.items()):
            if not path.startswith("tracks/"):
                continue
            try:
                target = target_of(path, pending.target.value, self._known())
            except ValueError as error:
                self._reject(path, str(error))
                continue
            if target.set[0] != pending.target.set[0]:
                pending.target, pending.asked = target, 0
                self._send(*target.set)
                self._later(path, pending, target.echo)

    def gone(self, path: str) -> None:
        """Reject what was wished of something that is gone."""
        if path in self._pending:
            self._reject(path, f"{path} is gone from REAPER")

    # ------------------------------------------------------------------ answers

    def _settle(self, path: str, value: Value | None) -> None:
        for wish_id in self._take(path):
            self._session.settle(wish_id, value)

    def _reject(self, path: str, reason: str) -> None:
        for wish_id in self._take(path):
            self._session.reject(wish_id, reason)

    def _take(self, path: str) -> list[int]:
        pending = self._pending.pop(path)
        if pending.timer is not None:
            pending.timer.cancel()
        return pending.ids

    def stop(self) -> None:
        """Forget everything: the session is over, and its end speaks for the wishes."""
        for path in list(self._pending):
            self._take(path)


def presets_first(wishes: Sequence[Wish]) -> list[Wish]:
    """Return *wishes* in their order, but of one revision those for presets first: one that is loaded sets parameters.

    So a scene that holds both comes back as it was. Nothing passes a rename.
    """
    found: list[Wish] = []
    for _, together in groupby(wishes, key=lambda wish: (wish.revision, bool(wish.moved_from))):
        found += sorted(together, key=lambda wish: not wish.path.endswith("/preset"))
    return found


def _new_name(wish: Wish) -> str:
    parts, before = wish.path.split("/"), wish.moved_from.split("/")
    if len(parts) != 2 or len(before) != 2 or parts[0] != "tracks" or before[0] != "tracks":
        raise ValueError(f"{wish.moved_from} is no track that can be renamed to {wish.path}")
    return decode_segment(parts[1])
