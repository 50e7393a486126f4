"""The mirror of Hydrogen's mixer, and the wishes on their way into it.

Each write is told back to everybody, an equal one, too; so a wish is settled by what is told. Nothing can be asked
for. Of what Hydrogen says twice, the second word counts: to a volume of 9 it says 9 and then 1.5. A wish out of
range is therefore not sent at all.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import AppSession, Change, OscMessage, OscSender, Value, Wish
from lightfast.sdk.patience import Patience
from lightfast_bridges.hydrogen.tables import LEAVES, TOLERANCE, Leaf
from lightfast_bridges.hydrogen.telling import Telling
from lightfast_link.value import close

ECHO = 1.0
"""Seconds to wait until Hydrogen tells a write; it takes less than a millisecond."""
TRIES = 3
MASTER = "/Hydrogen/MASTER_VOLUME_ABSOLUTE"
MUTE = "/Hydrogen/MUTE_TOGGLE"
_STRIP = re.compile(
    r"/Hydrogen/(STRIP_VOLUME_ABSOLUTE|PAN_ABSOLUTE|PAN_ABSOLUTE_SYM|STRIP_(?:MUTE|SOLO)_TOGGLE)/([1-9][0-9]{0,3})"
)
_NAMES = {
    "STRIP_VOLUME_ABSOLUTE": "volume",
    "PAN_ABSOLUTE": "pan",
    "PAN_ABSOLUTE_SYM": "pan",
    "STRIP_MUTE_TOGGLE": "mute",
    "STRIP_SOLO_TOGGLE": "solo",
}


@dataclass(slots=True)
class _Pending:
    leaf: Leaf
    number: str
    value: Value
    ids: list[int] = field(default_factory=list)
    tries: int = 1
    timer: Patience | None = None


class Mixer:
    """What is known of one Hydrogen. *told* is set when it has told the whole mixer."""

    def __init__(self, sender: OscSender) -> None:
        self.session: AppSession | None = None
        self.held: dict[str, Value] = {}
        self.told = asyncio.Event()
        self._send = sender.send
        self._pending: dict[str, _Pending] = {}
        self._changes: list[Change] = []
        self._telling = Telling()
        self._deaf = False
        """It has left a write unanswered."""

    # ------------------------------------------------------------------ hearing

    def hear(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up and report what they change."""
        if self._deaf and self.session is not None:
            self._deaf = False
            self.session.degraded("")
        for address, _, args in messages:
            if len(args) == 1 and isinstance(args[0], float):
                self._hear(address, args[0])
        changes, self._changes = self._changes, []
        if changes and self.session is not None:
            self.session.report(changes)

    def _hear(self, address: str, raw: float) -> None:
        found = _STRIP.fullmatch(address)
        if found is not None:
            self._hear_strip(found[1], found[2], raw)
        elif address == MASTER:
            self._news("master/volume", raw)
        elif address == MUTE:
            self._news("master/mute", raw != 0)
        strips = self._telling.heard(address, time.monotonic())
        if strips is not None:
            self._told_all(strips)

    def _hear_strip(self, word: str, number: str, raw: float) -> None:
        name = _NAMES[word]
        value: Value = raw
        if name in {"mute", "solo"}:
            value = raw != 0
        elif word == "PAN_ABSOLUTE":
            value = raw * 2 - 1
        self._news(f"strips/{number}/{name}", value)

    def _told_all(self, strips: int) -> None:
        """Take note that the whole mixer was told: the strips after its last one are gone."""
        known = {int(path.split("/")[1]) for path in self.held if path.startswith("strips/")}
        for number in sorted(number for number in known if number > strips):
            for path in [path for path in self.held if path.startswith(f"strips/{number}/")]:
                del self.held[path]
                if path in self._pending:
                    self._reject(path, f"strips/{number} is gone from Hydrogen")
            self._changes.append(Change(f"strips/{number}", None))
        self.told.set()

    def _news(self, path: str, value: Value) -> None:
        pending = self._pending.get(path)
        # Told in six digits now from 0 to 1 and now from -1 to 1, the same pan differs in its last digit.
        known = path in self.held and close(self.held[path], value, TOLERANCE)
        wished = pending is not None and close(value, pending.value, TOLERANCE)
        if wished or not known:
            self.held[path] = value
        if wished:
            # What was told before it, in the same wake-up, would be reported after it.
            self._changes = [one for one in self._changes if one.path != path]
            for wish_id in self._take(path):
                if self.session is not None:
                    self.session.settle(wish_id, self.held[path])
        elif not known:
            self._changes.append(Change(path, value))

    def full(self) -> None:
        """Report all that is held."""
        if self.session is not None:
            self.session.report([Change(path, value) for path, value in self.held.items()])

    # ------------------------------------------------------------------ wishes

    def apply(self, session: AppSession, wish: Wish) -> None:
        """Send one wish, or reject it with the reason."""
        try:
            leaf, number = self._leaf(wish.path)
            value = _check(leaf, wish)
        except ValueError as error:
            if not wish.signal:
                session.reject(wish.wish_id, str(error))
            return
        if leaf.access == "w":
            self._write(leaf, number, value)
            if not wish.signal:
                session.settle(wish.wish_id)  # Hydrogen says nothing of it
            return
        pending = self._pending.get(wish.path)
        expected = pending.value if pending is not None else self.held.get(wish.path)
        if pending is None:
            if leaf.toggles and expected == value:
                session.settle(wish.wish_id, value)
                return
            pending = self._pending[wish.path] = _Pending(leaf, number, value)
        pending.value, pending.tries = value, 1
        pending.ids.append(wish.wish_id)
        if not leaf.toggles or expected != value:
            self._write(leaf, number, value)
        self._later(wish.path, pending)

    def _leaf(self, path: str) -> tuple[Leaf, str]:
        parts = path.split("/")
        number = parts[1] if len(parts) == 3 and parts[0] == "strips" else ""
        leaf = LEAVES.get(f"strips/*/{parts[2]}" if number else path)
        if leaf is None:
            raise ValueError(f"Hydrogen has no {path} over OSC: there is {', '.join(LEAVES)}")
        if leaf.access != "w" and path not in self.held:
            count = len({path for path in self.held if path.endswith("/solo")})
            raise ValueError(f"there is no {path} in Hydrogen: the song has {count} strips")
        return leaf, number

    def _write(self, leaf: Leaf, number: str, value: Value) -> None:
        address = leaf.off if leaf.off and not value else leaf.address.format(number)
        if leaf.off:
            self._send(address)
        else:
            self._send(address, 1.0 if leaf.toggles else float(value))  # type: ignore[arg-type]

    def _later(self, path: str, pending: _Pending) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = Patience(ECHO, self._again, path)

    def _again(self, path: str) -> None:
        pending = self._pending.get(path)
        if pending is None:
            return
        if pending.tries >= TRIES:
            self._reject(path, f"Hydrogen does not say that it took {path} = {pending.value!r}")
            if not pending.leaf.toggles and self.session is not None and not self._deaf:
                self._deaf = True  # of a volume or a pan it always tells, so it hangs
                self.session.degraded(
                    "Hydrogen says nothing of what is written to it: it hangs, or its feedback is off"
                )
            return
        pending.tries += 1
        if not pending.leaf.toggles:  # answered late, a second one would turn back what the first one did
            self._write(pending.leaf, pending.number, pending.value)
        self._later(path, pending)

    def _reject(self, path: str, reason: str) -> None:
        for wish_id in self._take(path):
            if self.session is not None:
                self.session.reject(wish_id, reason)

    def _take(self, path: str) -> list[int]:
        pending = self._pending.pop(path)
        if pending.timer is not None:
            pending.timer.cancel()
        return pending.ids

    def stop(self) -> None:
        """Forget everything: the session is over, and its end speaks for the wishes."""
        for path in list(self._pending):
            self._take(path)


def _check(leaf: Leaf, wish: Wish) -> Any:
    """Return the value as Hydrogen takes it; raise `ValueError` that says why it cannot."""
    path, value = wish.path, wish.value
    if wish.moved_from or value is None:
        raise ValueError(f"{path} can be neither renamed nor removed over OSC")
    if isinstance(value, bool) != (leaf.kind == "bool") or not isinstance(value, (bool, int, float)):
        raise ValueError(f"{path} wants a {leaf.kind}, not {value!r:.60}")
    if leaf.kind == "bool":
        return value
    low, high = leaf.minimum, leaf.maximum
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{value:g} lies outside {low:g} to {high:g}, the range of {path}")
    return int(value) if leaf.kind == "int" else float(value)
