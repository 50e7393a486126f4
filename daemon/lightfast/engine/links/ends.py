"""The ends of a link: when each last changed, what was written to it, and how like that its answer is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import msgspec

from lightfast.context.entry import Declaration, Entry
from lightfast_link.value import Value, close

ECHO_S = 0.5
"""Seconds after a write in which an application's like value for the same end counts as an answer to it."""
QUANTUM = 0.01
"""How far an application may round a value, as a part of its range: a MIDI controller has 128 steps."""


class Side(Enum):
    """The ends of a link."""

    SOURCE = 0
    TARGET = 1

    @property
    def other(self) -> Side:
        """Return the opposite end."""
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One value that the link wrote: when it was news, and what answers it has had."""

    turn: int
    bounces: int
    value: Value | None
    passing: bool = False
    """It is on the way to another value: what is answered to it is no news at all."""


@dataclass(slots=True)
class End:
    """One end. *turn* says when its value was news, *bounces* how often it went back and forth since."""

    path: str
    turn: int = 0
    seen: int = 0
    changed: int = 0
    bounces: int = 0
    sent: Sent | None = None
    sent_at: float = -math.inf
    echoes: int = 0
    made_of: Value | None = None
    """The last value written here that the application rounded; `made` is what it made of it."""
    made: Value | None = None

    def is_echo(self, entry: Entry, now: float, declared: Declaration | None) -> bool:
        """Say whether *entry* is what an application made, on whatever way, of the value written here just now.

        One echo keeps the next one in time.
        """
        if self.sent is None or now - self.sent_at >= ECHO_S or not entry.origin.startswith("app:"):
            return False
        if not rounded(entry.value, self.sent.value, declared):
            return False
        self.sent_at = now
        return True

    def makes(self, wanted: Value, held: Value, tolerance: float) -> bool:
        """Say whether *held* is what the application makes of *wanted*: writing it again would change nothing."""
        made_of, made = self.made_of, self.made
        if made_of is None or made is None:
            return False
        return close(wanted, made_of, tolerance) and close(held, made, tolerance)


def rounded(held: Value | None, sent: Value | None, declared: Declaration | None) -> bool:
    """Say whether *held* may be *sent* after rounding: within a hundredth of the range, or of the value."""
    if held is None or sent is None:
        return False
    span = 0.0
    if declared is not None and declared.minimum is not None and declared.maximum is not None:
        span = declared.maximum - declared.minimum
    if not 0 < span < math.inf:
        numbers = [x for x in (sent if isinstance(sent, tuple) else (sent,)) if isinstance(x, (int, float))]
        span = max([1.0, *[abs(x) for x in numbers if math.isfinite(x)]])
    return close(held, sent, span * QUANTUM)


def confirms(held: Value | None, sent: Value | None, tolerance: float) -> bool:
    """Say whether *held* is what was *sent*."""
    if held is None or sent is None:
        return held is sent
    return close(held, sent, tolerance)


def same(left: Value | None, right: Value | None) -> bool:
    """Say whether two values are one and the same; nan is itself."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return type(left) is type(right) and left == right
