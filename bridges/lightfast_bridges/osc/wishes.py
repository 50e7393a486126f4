"""Wishes on their way to a device, and what settles them: its echo, its answer when it is asked, or nothing at all.

A device that neither echoes nor answers is written to blindly: its wish is settled when it was sent, and the map
says so with `confirm: none`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lightfast.sdk import AppSession, Value, Wish
from lightfast.sdk.oscmap import MapParameter, Message
from lightfast.sdk.oscmap.convert import to_arguments, to_value
from lightfast.sdk.patience import Patience
from lightfast_bridges.osc.pacing import Pacer
from lightfast_link.value import close

SETTLING = 0.05
"""Seconds between writing and asking: a device takes a value at its next frame."""
MAX_EARLIER = 32
"""The most earlier wishes for one path whose late answers are recognized."""
READINGS = 3
"""How often a value is read back before the device's word is final."""


@dataclass(slots=True, eq=False)
class _Pending:
    """One path that waits: the ids of its wishes (the newest last), what was wished *earlier*, and was there before."""

    parameter: MapParameter
    value: Value
    before: Value | None
    ids: list[int] = field(default_factory=list)
    earlier: deque[Value] = field(default_factory=lambda: deque(maxlen=MAX_EARLIER))
    readings: int = 0
    asking: bool = False
    timer: Patience | None = None


class Wishes:
    """The wishes of one device."""

    def __init__(
        self,
        session: AppSession,
        parameters: dict[str, MapParameter],
        pacer: Pacer,
        held: dict[str, Value],
        ask: Callable[[MapParameter], None],
        timeout: float,
    ) -> None:
        """*held* is what each path is known to hold; *ask* sends a parameter's query; *timeout* in seconds."""
        self._session = session
        self._parameters = parameters
        self._pacer = pacer
        self._held = held
        self._ask = ask
        self._timeout = timeout
        self._pending: dict[str, _Pending] = {}

    def apply(self, wish: Wish) -> None:
        """Send one wish, or reject it with the reason."""
        parameter = self._parameters.get(wish.path)
        try:
            message, value = _message(parameter, wish)
        except ValueError as error:
            if not wish.signal:
                self._session.reject(wish.wish_id, str(error))
            return
        if parameter is None:
            return
        if wish.signal:
            self._pacer.send(wish.path, message)
            return
        pending = self._pending.get(wish.path)
        if pending is None:
            pending = self._pending[wish.path] = _Pending(parameter, value, self._held.get(wish.path))
        else:
            pending.earlier.append(pending.value)
        pending.value = value
        pending.ids.append(wish.wish_id)
        pending.readings = 0
        pending.asking = False
        self._cancel(pending)
        self._pacer.send(wish.path, message, lambda problem: self._sent(pending, problem))

    def _sent(self, pending: _Pending, problem: str) -> None:
        parameter = pending.parameter
        if problem:
            self._reject(parameter.path, problem)
        elif parameter.confirm == "query":
            self._later(pending, SETTLING, self._read_back)
        elif parameter.confirm == "echo":
            self._later(pending, self._timeout, self._unheard)
        else:
            # What the value became on the wire is what was written: of a scaled integer, the nearest step.
            held = to_value(parameter, [_bare(one) for one in to_arguments(parameter, pending.value)])
            self._settle(parameter.path, pending.value if held is None else held)

    def _later(self, pending: _Pending, seconds: float, then: Callable[[_Pending], None]) -> None:
        self._cancel(pending)
        pending.timer = Patience(seconds, then, pending)

    def _read_back(self, pending: _Pending) -> None:
        pending.readings += 1
        pending.asking = True
        self._ask(pending.parameter)
        self._later(pending, self._timeout, self._unheard)

    def _unheard(self, pending: _Pending) -> None:
        """Deal with a device that has not said what it holds."""
        path = pending.parameter.path
        known = self._held.get(path)
        if pending.parameter.query is not None and pending.readings < READINGS:
            self._read_back(pending)
        elif known is not None and close(known, pending.value, pending.parameter.parameter.tolerance):
            self._settle(path, known)  # many devices say nothing where nothing changes
        else:
            how = "answer when it was asked" if pending.readings else "echo it"
            self._reject(path, f"the device did not {how} within {self._timeout:g} s; it may have taken the value")

    def waits(self, path: str) -> bool:
        """Say whether a wish for *path* waits for its answer."""
        return path in self._pending

    def hear(self, path: str, value: Value) -> bool:
        """Take a value the device told; True where it settled a wish, which reports it, too."""
        pending = self._pending.get(path)
        if pending is None:
            return False
        tolerance = pending.parameter.parameter.tolerance
        if close(value, pending.value, tolerance):
            self._settle(path, value)
            return True
        if not pending.asking:
            pending.before = value  # a change of its own, made before our wish arrived
            return False
        kept = pending.before is not None and close(value, pending.before, tolerance)
        late = any(close(value, one, tolerance) for one in pending.earlier)  # the answer to an earlier question
        if (kept or late) and pending.readings < READINGS:
            self._later(pending, SETTLING * 2 * pending.readings, self._read_back)
            return False
        if kept:
            self._reject(path, f"the device kept {value!r:.60} when asked for {pending.value!r:.60}")
            return False
        self._settle(path, value)  # it has adjusted the value
        return True

    def refuse(self, path: str, reason: str) -> None:
        """Take a refusal that the device gave when it was asked for *path*."""
        pending = self._pending.get(path)
        if pending is not None and pending.asking:
            self._reject(path, reason)

    def _settle(self, path: str, value: Value) -> None:
        self._held[path] = value
        for wish_id in self._take(path):
            self._session.settle(wish_id, value)

    def _reject(self, path: str, reason: str) -> None:
        for wish_id in self._take(path):
            self._session.reject(wish_id, reason)

    def _take(self, path: str) -> list[int]:
        pending = self._pending.pop(path, None)
        if pending is None:
            return []
        self._cancel(pending)
        return pending.ids

    def _cancel(self, pending: _Pending) -> None:
        if pending.timer is not None:
            pending.timer.cancel()
            pending.timer = None

    def stop(self) -> None:
        """Forget everything: the session is over, and its end speaks for the wishes."""
        for path in list(self._pending):
            self._take(path)


def _message(parameter: MapParameter | None, wish: Wish) -> tuple[Message, Value]:
    """Return the message that carries a wish, and its value; raise `ValueError` with the reason why there is none."""
    if parameter is None:
        raise ValueError(f"the map has no parameter {wish.path}")
    if parameter.send is None or parameter.parameter.access == "r":
        raise ValueError(f"{wish.path} can only be read")
    if wish.value is None:
        raise ValueError(f"{wish.path} is a control of the device and cannot be removed")
    values = to_arguments(parameter, wish.value)
    return Message(parameter.send.address, tuple(parameter.send.fill(values))), wish.value


def _bare(argument: object) -> object:
    return argument[1] if isinstance(argument, tuple) else argument
