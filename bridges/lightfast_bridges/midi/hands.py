"""Motor faders: what is told to a device while a hand moves it would fight the hand.

For a while after the device moved a controller, nothing is sent to it; what was wished last meanwhile goes out then,
unless the hand left the controller there. What the device itself said last is never sent back.
"""

from __future__ import annotations

from lightfast_link.value import Value


class Hands:
    """Knows which controllers a hand is on. Times are monotonic seconds."""

    def __init__(self, hold: float) -> None:
        """*hold* is how many seconds after its last move a hand counts as still there."""
        self._hold = hold
        self._moved: dict[str, tuple[float, Value]] = {}
        self._waiting: dict[str, Value] = {}

    def moved(self, path: str, value: Value, now: float) -> None:
        """Take note that the device moved *path*; what waited for it is overruled."""
        self._moved[path] = (now, value)
        self._waiting.pop(path, None)

    def wish(self, path: str, value: Value, now: float) -> bool:
        """Say whether *value* may be sent to *path* now."""
        last = self._moved.get(path)
        if last is None:
            return True
        if now - last[0] < self._hold:
            self._waiting[path] = value
            return False
        self._moved.pop(path)  # no hand any more
        self._waiting.pop(path, None)
        return True

    def due(self, now: float) -> list[tuple[str, Value]]:
        """Return what may be sent now that the hands are off."""
        free = [path for path in self._waiting if now - self._moved[path][0] >= self._hold]
        found = []
        for path in free:
            value = self._waiting.pop(path)
            if value != self._moved.pop(path)[1]:
                found.append((path, value))
        return found

    def next_due(self) -> float | None:
        """Return when something may become free; None where nothing waits."""
        times = [self._moved[path][0] + self._hold for path in self._waiting]
        return min(times) if times else None
