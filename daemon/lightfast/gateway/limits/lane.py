"""A lane: what one model at one account may still take, and how it gives way when the service refuses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightfast.gateway.limits.meter import Meter, Places
from lightfast.gateway.limits.rules import KINDS

Need = tuple[int, ...]
"""What is asked for, one number for each of `KINDS`."""
SPEND = KINDS.index("spend")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""The pauses after refusals that name none: they double from the first to the longest, in seconds."""
CLOSED_FOR = 300.0
"""How long a model stays closed at an account that may not use it, in seconds."""
_WIDE = 256
"""With so many places at once the adapted bound is lifted."""


class Lane:
    """The limits of one model at one account: *meters* over windows, *places* for what is under way at once.

    After a refusal the places are halved, and grow by one for each round of successes (additive increase,
    multiplicative decrease); a pause holds everything up until it is over.
    """

    __slots__ = (
        *("_credit", "_narrowed", "_own", "_streak", "closed_until", "inflight"),
        *("meters", "model", "own", "places", "resume_at", "spends", "told", "used_up", "why_closed"),
    )

    def __init__(self, model: str) -> None:
        self.model = model
        self.meters: tuple[Meter, ...] = ()
        self.own: tuple[Meter, ...] = ()
        self.places: tuple[Places, ...] = ()
        self.told: dict[tuple[str, float], float] = {}
        """What the service said of this model: numbers by kind and window."""
        self.spends = False
        self.inflight = 0
        self.resume_at = self.closed_until = 0.0
        self.why_closed = ""
        self.used_up = False
        self._own = Places(self, math.inf, "service")
        self._streak = self._credit = 0
        self._narrowed = -1.0

    def use(self, meters: Sequence[Meter], places: Sequence[Places], own: Sequence[Meter] = ()) -> None:
        """Count with these from now on; *own* are those of the meters that no other model counts with."""
        self.meters, self.own = tuple(meters), tuple(own)
        self.places = (self._own, *places)
        self.spends = any(meter.index == SPEND for meter in meters)

    # ---- asking
    def fits(self, now: float, need: Need) -> bool:
        """Say whether it may go now."""
        if now < self.resume_at:
            return False
        for places in self.places:
            if not places.free():
                return False
        return all(meter.fits(now, need[meter.index]) for meter in self.meters)

    def wait(self, now: float, need: Need) -> float:
        """Return in how many seconds it may go, as far as windows and pauses tell; infinite: never."""
        longest = max((meter.wait(now, need[meter.index]) for meter in self.meters), default=0.0)
        return max(longest, self.resume_at - now, 0.0)

    def full(self) -> bool:
        """Say whether it waits for something under way to end."""
        return not all(places.free() for places in self.places)

    def blockers(self, now: float, need: Need) -> set[Meter | Places]:
        """Return the limits that hold it up now."""
        found: set[Meter | Places] = {places for places in self.places if not places.free()}
        return found | {meter for meter in self.meters if not meter.fits(now, need[meter.index])}

    def touches(self, held: set[Meter | Places]) -> bool:
        """Say whether one of its limits is held for somebody who came earlier."""
        return not held.isdisjoint(self.meters) or not held.isdisjoint(self.places)

    def misfit(self, need: Need) -> Meter | Places | None:
        """Return a limit that *need* can never be within."""
        for meter in self.meters:
            if need[meter.index] > meter.number:
                return meter
        return next((places for places in self.places if places.number < 1), None)

    # ---- adapting
    def succeeded(self) -> None:
        """Take in a success."""
        self._streak = 0
        own = self._own
        if own.number == math.inf:
            return
        self._credit += 1
        if self._credit >= own.number:
            self._credit = 0
            own.number = own.number + 1 if own.number < _WIDE else math.inf

    def narrow(self, begun: float, now: float, retry_after: float) -> None:
        """Halve the places and pause after the refusal of a request of *begun*.

        Those that were sent before the last time count once. *retry_after* in seconds is kept by each; negative: the
        pause is as long as the refusals in a row suggest.
        """
        fresh = begun > self._narrowed
        if fresh or retry_after >= 0:
            self.pause(now, retry_after)
        if not fresh:
            return
        self._narrowed = now
        self._credit = 0
        self._own.number = max(1, self.inflight // 2)

    def bound(self, number: float) -> None:
        """Take in that no more than *number* may be under way at once."""
        self._credit = 0
        self._own.number = max(1, number)

    def pause(self, now: float, seconds: float) -> None:
        """Let nothing through for *seconds*; negative: as long as the refusals in a row suggest."""
        if seconds < 0:
            seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._streak)
            self._streak = min(self._streak + 1, 10)
        self.resume_at = max(self.resume_at, now + seconds)

    def close(self, why: str, until: float, *, used_up: bool = False) -> None:
        """Let nothing through until then: the account may not use the model, or has *used_up* what it may."""
        self.closed_until, self.why_closed, self.used_up = until, why, used_up

    def reopen(self) -> None:
        """Forget pauses and refusals: the key is another one, or was found to be good."""
        self.closed_until = self.resume_at = 0.0
        self._streak = 0
