"""Wishes on their way into the server, and what becomes of them.

No command that sets a value is answered, so each is followed by a question for that value; the answer settles the
wish. Datagrams may get lost: what is not answered is sent again, and then refused.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import AppSession, Value, Wish
from lightfast.sdk.patience import Patience
from lightfast_bridges.supercollider.tree import ROOT, Node
from lightfast_link.path import decode_segment

ANSWER = 0.6
"""Seconds until a value that was not read back is sent again."""
TRIES = 3
MAX_NUMBER = 1 << 31
"""Numbers go as 32-bit integers."""
_FLOAT32_MAX = 3.4028234e38

Key = tuple[str, int, str]
"""What is wished: `control`, `bus`, `running` or `free`, a number, and the name of the control."""


@dataclass(slots=True)
class _Pending:
    path: str
    value: float
    ids: list[int] = field(default_factory=list)
    tries: int = 1
    due: int = 0
    """Answers that are to come: until the last one, they may tell what was set before."""
    told: float | None = None
    """What such an answer told last: where one got lost, it is all that is known."""
    timer: Patience | None = None


class Wishes:
    """The wishes of one session. *touched* tells when each value was last set by us, in seconds of the loop."""

    def __init__(self, session: AppSession, send: Callable[..., None], nodes: dict[int, Node]) -> None:
        self._session, self._send, self._nodes = session, send, nodes
        self._loop = asyncio.get_running_loop()
        self._pending: dict[Key, _Pending] = {}
        self.touched: dict[Key, float] = {}
        self.bus_held: Callable[[int], None] = lambda _: None
        """Told of each bus that somebody has set, once the server says that it has it: it is followed from then on."""
        self.held: Callable[[str, Value], None] = lambda _, __: None
        """Told what the server holds at the path of a wish that is settled."""

    def apply(self, wish: Wish) -> None:
        """Send one wish, or refuse it with the reason."""
        try:
            key = self._key(wish)
            value = 0.0 if wish.value is None else as_float(wish.path, wish.value)
        except ValueError as error:
            if not wish.signal:
                self._session.reject(wish.wish_id, str(error))
            return
        pending = self._pending.setdefault(key, _Pending(wish.path, value))
        pending.value, pending.tries, pending.told = value, 1, None
        if not wish.signal:
            pending.ids.append(wish.wish_id)
        self._set(key, pending)

    def _key(self, wish: Wish) -> Key:
        """Return what is wished; raise `ValueError` that says why that cannot be."""
        parts = wish.path.split("/")
        try:
            number = int(parts[1])
        except (IndexError, ValueError):
            raise ValueError(f"scsynth holds nothing at {wish.path}") from None
        if parts[0] == "buses" and len(parts) == 2 and wish.value is not None:
            if not 0 <= number < MAX_NUMBER:
                raise ValueError(f"there is no control bus {number}: they are counted from 0")
            return ("bus", number, "")
        node = self._nodes.get(number)
        if parts[0] != "nodes" or node is None:
            raise ValueError(
                f"there is no {'/'.join(parts[:2])} in scsynth now: what was playing before it was started "
                "again, or was freed, cannot be put back from here"
            )
        if len(parts) == 2 and wish.value is None and number != ROOT:
            return ("free", number, "")
        if parts[2:] == ["running"] and isinstance(wish.value, bool):
            return ("running", number, "")
        if len(parts) == 4 and parts[2] == "controls" and wish.value is not None:
            name = decode_segment(parts[3])
            if name not in node.controls and name not in node.mapped:
                raise ValueError(
                    f"the synth {number} ({node.definition or 'a group'}) has no control {name!r}: "
                    f"it has {', '.join(node.controls) or 'none'}"
                )
            return ("control", number, name)
        raise ValueError(f"{wish.path} cannot be {'removed' if wish.value is None else 'set'} in scsynth")

    def _set(self, key: Key, pending: _Pending) -> None:
        """Send what sets it, and what asks for it."""
        what, number, name = key
        if pending.timer is not None:
            pending.timer.cancel()
        pending.timer = Patience(ANSWER * pending.tries, self._unanswered, key)
        pending.due += 1
        if what == "bus":
            self._send("/c_set", number, pending.value)
            self._send("/c_get", number)
        elif what == "control":
            self._send("/n_set", number, as_control(name), pending.value)
            self._send("/s_get", number, as_control(name))
        elif what == "running":
            self._send("/n_run", number, int(pending.value))
            self._send("/n_query", number)  # its answer comes after the change was made
        else:
            self._send("/n_free", number)
        self.touched[key] = self._loop.time()

    def hear(self, address: str, arguments: Sequence[Any]) -> None:
        """Take what may be an answer."""
        if address == "/c_set":
            for bus, value in zip(arguments[::2], arguments[1::2], strict=False):
                self._held(("bus", bus, ""), value)
        elif address == "/n_set" and len(arguments) >= 3:
            for name, value in zip(arguments[1::2], arguments[2::2], strict=False):
                self._held(("control", arguments[0], str(name)), value)
        elif address == "/n_info" and arguments:
            key = ("running", arguments[0], "")
            if key in self._pending:
                running = bool(self._pending[key].value)
                if node := self._nodes.get(arguments[0]):
                    node.running = running
                self._settle(key, running)

    def _held(self, key: Key, value: Any) -> None:
        pending = self._pending.get(key)
        if pending is None or not isinstance(value, int | float):
            return
        self.touched[key] = self._loop.time()
        pending.due -= 1
        differs = not same(float(value), pending.value)
        if differs and pending.due > 0:
            pending.told = float(value)
            return
        if differs and pending.tries < 2 and not key[2].startswith("t_"):  # a trigger falls back by itself
            pending.tries += 1  # the command may have been lost, and not the question
            self._set(key, pending)
            return
        self._settle_held(key, float(value))

    def _settle_held(self, key: Key, value: float) -> None:
        if key[0] == "bus":
            self.bus_held(key[1])
        elif key[0] == "control" and (node := self._nodes.get(key[1])):
            node.controls[key[2]] = value
        self._settle(key, value)

    def _settle(self, key: Key, value: Value | None) -> None:
        taken = self._take(key)
        if value is not None:
            self.held(taken.path, value)
        for wish_id in taken.ids:
            self._session.settle(wish_id, value)

    def _unanswered(self, key: Key) -> None:
        pending = self._pending.get(key)
        if pending is None:
            return
        if pending.tries < TRIES:
            pending.tries += 1
            self._set(key, pending)
            return
        if pending.told is not None:
            self._settle_held(key, pending.told)
            return
        perhaps = ": has it so many buses?" if key[0] == "bus" else ""
        self._reject(key, f"scsynth did not answer when {pending.path} was set{perhaps}")

    def gone(self, number: int) -> None:
        """Answer the wishes for a node that is not there any more."""
        for key in [key for key in self._pending if key[0] != "bus" and key[1] == number]:
            if key[0] == "free":
                self._settle(key, None)
            else:
                self._reject(key, f"node {number} is gone from scsynth")
        for key in [key for key in self.touched if key[0] != "bus" and key[1] == number]:
            del self.touched[key]

    def _reject(self, key: Key, reason: str) -> None:
        for wish_id in self._take(key).ids:
            self._session.reject(wish_id, reason)

    def _take(self, key: Key) -> _Pending:
        pending = self._pending.pop(key)
        if pending.timer is not None:
            pending.timer.cancel()
        return pending

    def stop(self) -> None:
        """Forget everything: the session is over, and its end speaks for the wishes."""
        for key in list(self._pending):
            self._take(key)


def as_float(path: str, value: Value) -> float:
    """Return a wished value as the server holds it; raise `ValueError` where it cannot."""
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{path} holds a number, not {value!r:.40}")  # noqa: TRY004  # it is the user's
    number = float(value)
    if not math.isfinite(number) or abs(number) > _FLOAT32_MAX:
        raise ValueError(f"{number:g} is no number that scsynth can hold: it has 32-bit floats")
    return number


def as_control(name: str) -> str | int:
    """Return a control as commands name it: those of an array after the first have an index only."""
    return int(name) if name.isdigit() else name


def same(held: float, wanted: float) -> bool:
    """Say whether the server holds what was sent, rounded to a 32-bit float."""
    return math.isclose(held, struct.unpack("f", struct.pack("f", wanted))[0], rel_tol=1e-6, abs_tol=1e-30)
