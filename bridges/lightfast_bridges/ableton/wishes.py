"""Wishes on their way into Live, and what becomes of them.

A setter of AbletonOSC answers nothing, and Live does not tell a value it already had. So a wish is
settled by the listener's echo, else by reading the value back: Live holds it, or has adjusted it,
or has kept what it had; then the wish is sent once more, and after that rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import AppSession, Value, Wish
from lightfast.sdk.patience import Patience
from lightfast_bridges.ableton.asking import Asker, Send
from lightfast_bridges.ableton.layout import Layout
from lightfast_bridges.ableton.paths import Target, target_of, to_argument
from lightfast_bridges.ableton.shift import Shift
from lightfast_link.value import close

ECHO = 0.3
"""Seconds to wait for the listener's echo before the value is read back."""
ANSWER = 1.0
"""Seconds to wait for a value that was asked for."""
TRIES = 2
"""How often a wish is sent before it is rejected."""
BURST = 64
PAUSE = 0.05
"""At most *burst* messages in `PAUSE` seconds: Live empties its small socket buffer once per tick."""


class Pacer:
    """Sends at once while it may, then queues by path: a newer value takes the place of one not yet sent."""

    def __init__(self, send: Send, burst: int = BURST) -> None:
        self._send = send
        self._burst = burst
        self._queue: dict[str, tuple[Any, ...]] = {}
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, path: str, *message: Any) -> None:
        """Send *message* (address and arguments), which sets *path*."""
        self._queue.pop(path, None)
        self._queue[path] = message
        if self._timer is None:
            self._flush()
        elif self._sent < self._burst:
            self._drain()

    def _flush(self) -> None:
        self._sent = 0
        self._timer = None
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._flush)
            self._drain()

    def _drain(self) -> None:
        while self._queue and self._sent < self._burst:
            path = next(iter(self._queue))
            self._sent += 1
            self._send(*self._queue.pop(path))

    def stop(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()


@dataclass(slots=True, eq=False)
class _Pending:
    """One path that waits: the ids of its wishes (the newest last), and what was there before."""

    target: Target
    value: Value
    previous: Value | None
    ids: list[int] = field(default_factory=list)
    sent: int = 0
    reading: int = 0
    error: str = ""
    timer: Patience | None = None


class Wishes:
    """The wishes of one session; *held* gives what Live holds at a path as far as it is known."""

    def __init__(
        self,
        session: AppSession,
        asker: Asker,
        send: Send,
        held: Callable[[str], Value | None],
        burst: int = BURST,
    ) -> None:
        self._session = session
        self._asker = asker
        self._send = send
        self._held = held
        self._pacer = Pacer(send, burst)
        self._pending: dict[str, _Pending] = {}
        self.layout = Layout()

    def __len__(self) -> int:
        return len(self._pending)

    def apply(self, wish: Wish) -> None:
        """Send one wish, or reject it with the reason."""
        try:
            target, argument = self._check(wish)
        except ValueError as error:
            if not wish.signal:
                self._session.reject(wish.wish_id, str(error))
            return
        if not wish.signal:
            self._expect(wish, target, _as_value(argument, target))
        self._pacer.send(wish.path, *target.setting(argument))

    def _check(self, wish: Wish) -> tuple[Target, Any]:
        """Return where and what to send, or raise `ValueError` that says why Live cannot take it."""
        target = target_of(wish.path)
        if target is None:
            raise ValueError(f"AbletonOSC has no property {wish.path}")
        if wish.value is None:
            raise ValueError(f"{wish.path} cannot be removed; delete the object with a command")
        if target.prop.access == "r":
            raise ValueError(f"{wish.path} can only be read")
        if not self.layout.has(target.stem, target.verb, target.ids):
            if target.verb == "arm" and self.layout.has("track", "name", target.ids):
                raise ValueError(f"track {target.ids[0]} cannot be armed: it records nothing")
            tracks, scenes = len(self.layout.tracks), len(self.layout.scenes)
            raise ValueError(f"there is no {wish.path} in Live: the set has {tracks} tracks and {scenes} scenes")
        argument = to_argument(target.prop, wish.value)
        device = self.layout.device(target.stem, target.ids) if target.verb == "parameter/value" else None
        if device is not None:
            low, high = device.ranges[int(target.ids[-1])]
            if not low <= argument <= high:
                raise ValueError(f"{argument:g} lies outside {low:g} to {high:g}, the range of {wish.path}")
        if "_routing_" in target.verb:
            self._check_choice(wish.path, target, argument)
        return target, argument

    def _check_choice(self, path: str, target: Target, argument: str) -> None:
        """Live ignores the name of a routing that it does not have, without a word."""
        choices = self._held(path.replace(target.verb, f"available_{target.verb}s"))
        if isinstance(choices, list) and choices and argument not in choices:
            raise ValueError(f"{path} cannot be {argument!r}: Live offers {', '.join(map(str, choices))}"[:400])

    def _expect(self, wish: Wish, target: Target, value: Value) -> None:
        pending = self._pending.get(wish.path)
        if pending is None:
            pending = self._pending[wish.path] = _Pending(target, value, self._held(wish.path))
        pending.value = value
        pending.ids.append(wish.wish_id)
        pending.sent = 1
        pending.reading = 0
        self._asker.last_error = ""
        self._later(pending, ECHO, wish.path)

    def _later(self, pending: _Pending, seconds: float, path: str) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = Patience(seconds, self._read_back, path)

    def _read_back(self, path: str) -> None:
        """Ask for the value: the echo did not come, or the answer did not."""
        pending = self._pending.get(path)
        if pending is None:
            return
        pending.reading += 1
        if pending.reading > 3:
            self._reject(path, "Live does not answer")
            return
        self._send(pending.target.get, *pending.target.ids)
        self._later(pending, ANSWER, path)

    def hear(self, path: str, value: Value) -> bool:
        """Take a value Live told; True where it settled or rejected a wish, which reports it, too."""
        pending = self._pending.get(path)
        if pending is None:
            return False
        if close(value, pending.value):
            self._settle(path, value)
            return True
        if not pending.reading:
            pending.previous = value  # a change made in Live before our wish arrived
            return False
        if pending.previous is not None and not close(value, pending.previous):
            self._settle(path, value)  # Live has adjusted it
            return True
        if pending.sent < TRIES:
            pending.sent += 1
            pending.reading = 0
            pending.previous = value
            argument = to_argument(pending.target.prop, pending.value)
            self._pacer.send(path, *pending.target.setting(argument))
            self._later(pending, ECHO, path)
            return False
        said = f"; its last error was: {self._asker.last_error}" if self._asker.last_error else ""
        self._reject(path, f"Live kept {value!r} when asked for {pending.value!r}{said}")
        return False

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

    def relocate(self, shift: Shift) -> None:
        """Follow the objects to where they are now; what was wished of one that is gone is rejected."""
        before, self._pending = self._pending, {}
        for path, pending in before.items():
            there = shift.where(pending.target)
            if there is None:
                self._pending[path] = pending
                self._reject(path, f"{path} is gone from Live")
                continue
            if there != pending.target:
                pending.target, pending.reading = there, 0
                self._later(pending, ECHO, there.path)
            self._pending[there.path] = pending

    def reject_gone(self, layout: Layout) -> None:
        """Take the new layout, and reject the wishes for objects that are gone."""
        self.layout = layout
        for path, pending in list(self._pending.items()):
            if not layout.has(pending.target.stem, pending.target.verb, pending.target.ids):
                self._reject(path, f"{path} is gone from Live")

    def stop(self) -> None:
        """Forget everything: the session is over, and its end speaks for the wishes."""
        self._pacer.stop()
        for path in list(self._pending):
            self._take(path)


def _as_value(argument: Any, target: Target) -> Value:
    """Return what Live will tell after *argument*: flags go as 0 and 1, and come as flags."""
    return bool(argument) if target.prop.kind == "bool" else argument
