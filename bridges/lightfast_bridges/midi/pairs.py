"""Controllers of 14 bits: two messages that are one value.

The upper seven bits come first, under the number, the lower under the number + 32. One that sends the upper half alone
means it with a lower half of 0; so for that half is waited, but not for long.
"""

from __future__ import annotations

from collections.abc import Sequence

PATIENCE_S = 0.02
"""Seconds between the halves; on a wire it is one thousandth."""


class Pairs:
    """Puts the halves together. Paths are `ch/1/cc/7`, times monotonic seconds."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = frozenset(numbers)
        self._upper: dict[tuple[str, int], int] = {}
        self._waiting: dict[tuple[str, int], float] = {}

    def heard(self, path: str, value: int, time: float) -> tuple[bool, tuple[str, int] | None]:
        """Take one controller; return whether it is a half, and the whole where there is one now."""
        channel, _, number = path.rpartition("/cc/")
        if not channel or not number:
            return False, None
        which = int(number)
        if which in self._numbers:
            self._upper[channel, which] = value
            self._waiting[channel, which] = time
            return True, None
        if which - 32 not in self._numbers:
            return False, None
        key = (channel, which - 32)
        self._waiting.pop(key, None)
        if key not in self._upper:
            return True, None  # nothing is known of the other half yet
        return True, (f"{channel}/cc14/{which - 32}", self._upper[key] << 7 | value)

    def due(self, now: float) -> list[tuple[str, int, float]]:
        """Return the values whose lower half did not come, and when their upper half did."""
        late = {key: time for key, time in self._waiting.items() if now - time >= PATIENCE_S}
        for key in late:
            del self._waiting[key]
        return [(f"{key[0]}/cc14/{key[1]}", self._upper[key] << 7, time) for key, time in late.items()]

    def next_due(self) -> float | None:
        """Return when the next value is complete without its lower half."""
        return min(self._waiting.values()) + PATIENCE_S if self._waiting else None
