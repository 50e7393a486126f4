"""How often a trigger may fire: a cooldown, and so many times within a while. No clock of its own."""

from __future__ import annotations

from collections import deque

from lightfast.engine.workflows.records import TriggerSpec


class Gate:
    """The bounds of one trigger; times are monotonic seconds."""

    def __init__(self, spec: TriggerSpec) -> None:
        self._spec = spec
        self._last = -float("inf")
        self._times: deque[float] = deque(maxlen=max(1, spec.rate))

    def why_not(self, now: float) -> tuple[str, str]:
        """Return the code and the reason why it may not fire at *now*; empty: it may."""
        spec = self._spec
        if now - self._last < spec.cooldown:
            left = spec.cooldown - (now - self._last)
            return "cooldown", f"its cooldown of {spec.cooldown:g} s lasts {left:.3g} s more"
        if spec.rate and len(self._times) == spec.rate and now - self._times[0] < spec.rate_s:
            return "rate", f"it fired {spec.rate} times within {spec.rate_s:g} s, the most it may"
        return "", ""

    def fired(self, now: float) -> None:
        """Take note that it fired."""
        self._last = now
        self._times.append(now)
