"""Wishes on their way into Ardour: sent, and settled by what Ardour tells or answers.

Ardour tells a change to everybody, him who made it included, but says nothing about a value that was there already,
and forgets what it cannot use. So a wish waits a moment for the telling, then asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lightfast.sdk import AppSession, Value, Wish
from lightfast_bridges.ardour.asking import Send
from lightfast_bridges.ardour.strips import Strip
from lightfast_bridges.ardour.target import Target, target_of
from lightfast_link.path import decode_segment
from lightfast_link.value import close

ANSWER = 0.5
"""Seconds to wait for an answer."""
TRIES = 3
"""How often a value is sent, and asked for, before Ardour is said to refuse it."""
STANDS = (
    "; where Ardour answers but mute, solo, recording and transport do nothing, its audio engine stands still "
    "(Window > Audio/MIDI Setup)"
)


class Known(Protocol):
    """What is known of the session."""

    @property
    def by_base(self) -> Mapping[str, Strip]:
        """The strips, by where they lie."""

    @property
    def held(self) -> Mapping[str, Value]:
        """What Ardour holds."""


@dataclass(slots=True)
class _Pending:
    target: Target
    value: Value
    before: Value | None
    ids: list[int] = field(default_factory=list)
    sent: int = 1
    asked: int = 0
    overtaken: bool = False
    timer: asyncio.TimerHandle | None = None


class Wishes:
    """The wishes of one session."""

    def __init__(self, session: AppSession, send: Send, known: Known) -> None:
        self._session = session
        self._send = send
        self._known = known
        self._pending: dict[str, _Pending] = {}
        self._renames: dict[str, tuple[int, str, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._pending) + len(self._renames)

    def apply(self, wish: Wish) -> None:
        """Send one wish, or reject it with the reason."""
        try:
            if wish.moved_from:
                self._rename(wish)
                return
            target = target_of(wish.path, wish.value, self._known.by_base, self._known.held)
        except ValueError as error:
            if not wish.signal:
                self._session.reject(wish.wish_id, str(error))
            return
        if wish.signal:
            self._send(*target.set)
            return
        self._take_up(wish, target)

    def _take_up(self, wish: Wish, target: Target) -> None:
        path, pending = wish.path, self._pending.get(wish.path)
        held = pending.value if pending is not None else self._known.held.get(path)
        if target.toggles and held == target.value:
            if pending is None:
                self._session.settle(wish.wish_id, held)
            else:
                pending.ids.append(wish.wish_id)
            return
        if pending is None:
            pending = self._pending[path] = _Pending(target, target.value, held)
        pending.target, pending.value = target, target.value
        pending.ids.append(wish.wish_id)
        pending.sent, pending.asked, pending.overtaken = 1, 0, False
        if (other := self._pending.get(target.twin)) is not None:
            other.overtaken = True  # both hold one thing: the later wish decides
        self._send(*target.set)
        self._later(path, pending, target.echo)

    def _later(self, path: str, pending: _Pending, seconds: float) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = asyncio.get_running_loop().call_later(seconds, self._ask, path)

    def _ask(self, path: str) -> None:
        pending = self._pending.get(path)
        if pending is None:
            return
        pending.asked += 1
        if pending.asked > TRIES:
            self._reject(path, "Ardour does not answer")
            return
        if not pending.target.ask:
            self._reject(path, f"Ardour did not turn {path} to {pending.value!r}, and does not say why{STANDS}")
            return
        self._send(*pending.target.ask)
        self._later(path, pending, ANSWER)

    def hear(self, path: str, value: Value, *, asked: bool) -> bool:
        """Take a value that Ardour told, or was *asked* for; True where it settled a wish, which reports it, too."""
        pending = self._pending.get(path)
        if pending is None:
            return False
        if pending.overtaken or close(value, pending.value, pending.target.leaf.tolerance):
            self._settle(path, value)
            return True
        if not asked or not pending.asked:
            return False  # a change made in Ardour before our wish arrived, or one that Ardour adjusted
        unchanged = pending.before is not None and close(value, pending.before, pending.target.leaf.tolerance)
        if pending.sent >= (TRIES if unchanged else 2) or (pending.target.toggles and not unchanged):
            if unchanged:
                self._reject(path, f"Ardour kept {value!r} when asked for {pending.value!r}{STANDS}")
                return False
            self._settle(path, value)  # Ardour has adjusted it
            return True
        self._send_again(path, pending)
        return False

    def _send_again(self, path: str, pending: _Pending) -> None:
        try:
            pending.target = target_of(path, pending.value, self._known.by_base, self._known.held)
        except ValueError as error:
            self._reject(path, str(error))
            return
        pending.sent += 1
        pending.asked = 0
        self._send(*pending.target.set)
        self._later(path, pending, pending.target.echo)

    def refused(self, path: str) -> None:
        """Take note that Ardour answered a message as it answers those it cannot use."""
        if path in self._pending:
            self._reject(path, f"Ardour refuses {path} = {self._pending[path].value!r}")

    # ------------------------------------------------------------------ renames

    def _rename(self, wish: Wish) -> None:
        strip = self._known.by_base.get(wish.moved_from)
        parts = wish.path.split("/")
        if strip is None or len(parts) != 2 or parts[0] != "strips":
            raise ValueError(f"{wish.moved_from} is no strip that can be renamed to {wish.path}")
        self._send(f"/strip/name/{strip.ssid}", decode_segment(parts[1]))
        self._send("/strip")
        timer = asyncio.get_running_loop().call_later(TRIES * ANSWER, self._not_renamed, wish.moved_from)
        self._renames[wish.moved_from] = (wish.wish_id, wish.path, timer)

    def _not_renamed(self, source: str) -> None:
        wish_id, target, _ = self._renames.pop(source)
        self._session.reject(wish_id, f"Ardour did not rename {source} to {target}")

    def moved(self, source: str, target: str) -> None:
        """Follow a strip that has another name now."""
        for path in [path for path in self._pending if path.startswith(source + "/")]:
            pending = self._pending[target + path[len(source) :]] = self._pending.pop(path)
            self._later(target + path[len(source) :], pending, pending.target.echo)
        if (rename := self._renames.pop(source, None)) is not None:
            wish_id, wanted, timer = rename
            timer.cancel()
            if wanted == target:
                self._session.settle(wish_id)
            else:
                self._session.reject(wish_id, f"Ardour named it {target}: {wanted} is taken")

    def gone(self, base: str) -> None:
        """Reject what was wished of a strip that is gone."""
        for path in [path for path in self._pending if path.startswith(base + "/")]:
            self._reject(path, f"{base} is gone from Ardour")

    # ------------------------------------------------------------------ answers

    def _settle(self, path: str, value: Value) -> None:
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
        for _, _, timer in self._renames.values():
            timer.cancel()
        self._renames.clear()
