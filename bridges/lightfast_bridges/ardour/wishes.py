"""Wishes on their way into Ardour: sent, and settled by what Ardour tells or answers.

Ardour tells a change to everybody, him who made it included, but says nothing about a value that was there already,
and forgets what it cannot use. So a wish waits a moment for the telling, then asks. Each question has a mark behind it:
only where that comes back, and no answer before it, has Ardour come to it and said nothing. One that is slow, or stands
still, has not: whether it is gone is for the session to judge, not for a wish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lightfast.sdk import AppSession, Value, Wish
from lightfast.sdk.patience import Patience
from lightfast_bridges.ardour.asking import Send, new_mark
from lightfast_bridges.ardour.playhead import Playhead
from lightfast_bridges.ardour.strips import Strip
from lightfast_bridges.ardour.target import Target, target_of
from lightfast_link.path import decode_segment
from lightfast_link.value import close

ANSWER = 0.5
"""Seconds to wait for an answer."""
TRIES = 3
"""How often a value is sent before Ardour is said to refuse it."""
LAST_TRY = 1.5
"""Seconds that a value sent for the last time has: what goes by way of the audio waits where that is held up."""
MARKS = 3
"""How many marks come back, ANSWER after each other, before what was not said by then is not said at all."""
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
    asked: bool = False
    """It was asked for since it was sent."""
    mark: str = ""
    """The mark that is to come back; empty where there is none."""
    back: int = 0
    """How many have, without an answer."""
    overtaken: bool = False
    timer: Patience | None = None


@dataclass(slots=True)
class _Rename:
    wish_id: int
    target: str
    mark: str
    timer: Patience
    back: int = 0


class Wishes:
    """The wishes of one session."""

    def __init__(self, session: AppSession, send: Send, known: Known) -> None:
        self._session = session
        self._send = send
        self._known = known
        self._pending: dict[str, _Pending] = {}
        self._renames: dict[str, _Rename] = {}
        self.playhead = Playhead(send, lambda: known.held.get("transport/playing") is True)

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
        if wish.signal and wish.path == "transport/position" and isinstance(target.value, int):
            self.playhead.move(target.set, target.value)
        elif wish.signal:
            self._send(*target.set)
        else:
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
        pending.sent, pending.overtaken = 1, False
        if (other := self._pending.get(target.twin)) is not None:
            other.overtaken = True  # both hold one thing: the later wish decides
        self._send_value(path, pending, target.echo)

    def _send_value(self, path: str, pending: _Pending, seconds: float) -> None:
        pending.asked, pending.mark, pending.back = False, "", 0
        self._send(*pending.target.set)
        if not pending.target.ask:
            pending.mark = new_mark()
            self._send(pending.mark)
        self._later(path, pending, seconds)

    def _later(self, path: str, pending: _Pending, seconds: float) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = Patience(seconds, self._ask, path)

    def _ask(self, path: str) -> None:
        pending = self._pending.get(path)
        if pending is None:
            return
        if pending.back >= MARKS:
            why = f"Ardour did not turn {path} to {pending.value!r}, and does not say why{STANDS}"
            self._reject(path, "Ardour does not answer" if pending.target.ask else why)
            return
        pending.asked = True
        pending.mark = pending.mark or new_mark()
        if pending.target.ask:
            self._send(*pending.target.ask)
        self._send(pending.mark)
        self._later(path, pending, ANSWER)

    def marked(self, mark: str) -> None:
        """Take note that a mark has come back: what was sent before it has been worked off."""
        for path, pending in self._pending.items():
            if pending.mark == mark:
                pending.mark = ""
                pending.back += 1
                self._later(path, pending, ANSWER)
        for source, rename in self._renames.items():
            if rename.mark == mark:
                rename.mark = ""
                rename.back += 1
                self._judge_later(source, rename)

    def hear(self, path: str, value: Value, *, asked: bool) -> bool:
        """Take a value that Ardour told, or was *asked* for; True where it settled a wish, which reports it, too."""
        if path == "transport/position" and isinstance(value, int):
            self.playhead.hear(value, asked=asked)
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
        echo = pending.target.echo
        self._send_value(path, pending, max(echo, LAST_TRY) if pending.sent >= TRIES else echo)

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
        mark = new_mark()
        self._send(mark)
        if (earlier := self._renames.get(wish.moved_from)) is not None:
            earlier.timer.cancel()
        timer = Patience(ANSWER, self._not_renamed, wish.moved_from)
        self._renames[wish.moved_from] = _Rename(wish.wish_id, wish.path, mark, timer)

    def _judge_later(self, source: str, rename: _Rename) -> None:
        rename.timer.cancel()
        rename.timer = Patience(ANSWER, self._not_renamed, source)

    def _not_renamed(self, source: str) -> None:
        rename = self._renames[source]
        if rename.back < MARKS:
            rename.mark = rename.mark or new_mark()
            self._send("/strip")
            self._send(rename.mark)
            self._judge_later(source, rename)
            return
        del self._renames[source]
        self._session.reject(rename.wish_id, f"Ardour did not rename {source} to {rename.target}")

    def moved(self, source: str, target: str) -> None:
        """Follow a strip that has another name now."""
        for path in [path for path in self._pending if path.startswith(source + "/")]:
            pending = self._pending[target + path[len(source) :]] = self._pending.pop(path)
            self._later(target + path[len(source) :], pending, pending.target.echo)
        if (rename := self._renames.pop(source, None)) is not None:
            rename.timer.cancel()
            if rename.target == target:
                self._session.settle(rename.wish_id)
            else:
                self._session.reject(rename.wish_id, f"Ardour named it {target}: {rename.target} is taken")

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
        self.playhead.stop()
        for path in list(self._pending):
            self._take(path)
        for rename in self._renames.values():
            rename.timer.cancel()
        self._renames.clear()
