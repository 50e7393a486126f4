"""Models that plan and do not answer: one that was mute again and again is not waited for, for a while."""

from __future__ import annotations

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.gateway.routing.circuits import Circuit

MUTE = 2
"""So many times in a row without an answer, and a model is left alone for a while."""
OVER = "PLAN_DEADLINE"
"""The reason of an error that says: the time was over before the model was asked."""
_LATE = "DEADLINE_EXCEEDED"
_MOST = 1_000


class Patience:
    """The circuits of models that plan, by the names they are asked under.

    Those of the gateway count what a service fails with. A model that takes what it is given and never answers does
    not fail there before the time of whoever waits is over, and here everybody who plans waits as long.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, Circuit] = {}

    def may(self, model: str) -> bool:
        """Say whether *model* is worth asking now; takes nothing."""
        held = self._held.get(model)
        return held is None or held.may(self._clock.monotonic())

    def take(self, model: str) -> str:
        """Let *model* be asked, and return nothing; or return why it is not."""
        held = self._held.get(model)
        now = self._clock.monotonic()
        if held is None or held.may(now):
            if held is not None:
                held.take(now)
            return ""
        wait = max(held.until - now, 0.0)
        return f"PLANNER_MUTE: it did not answer {held.failures} times in a row, and is asked again in {wait:.0f} s"

    def told(self, model: str, error: LightfastError | None) -> None:
        """Take in that *model* has answered, or what it failed with."""
        if error is None:
            self._held.pop(model, None)
        elif error.status == _LATE and error.reason != OVER:
            if len(self._held) >= _MOST:
                self._held.clear()
            self._held.setdefault(model, Circuit(MUTE)).fails(self._clock.monotonic())
        elif (held := self._held.get(model)) is not None:
            held.undecided()
