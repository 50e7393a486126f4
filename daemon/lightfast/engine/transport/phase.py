"""Phase error and drift of one application, from its position reports.

*Phase error* of a report: the application's position (its offset taken away, turned into seconds) minus the
position of the timeline at the moment of the report. That moment is the report's event time where the bridge gives
one that lies up to two seconds back, else when the report was recorded. Positive: the application is ahead. What
the way from the application to the bridge takes, and how coarsely it counts (frames), is part of it.

*Drift*: the slope of the phase error over time, by least squares, in parts per million. Positive: its clock runs
faster. For the leader, whose timeline is brought in step, it is the slope of its position against the daemon's
clock, less 1.

Both are of the reports of the last ten seconds since it was last started, located or seeked.
"""

from __future__ import annotations

import math
from collections import deque

WINDOW_S = 10.0
"""Seconds of reports that are counted."""
MAX_SAMPLES = 512
"""The most reports that are counted; older ones go first."""
MIN_DRIFT_S = 2.0
"""Seconds that reports must span before their slope means anything."""
MIN_DRIFT_SAMPLES = 8


class PhaseMeter:
    """The last reports of one application. `add` costs a few hundred nanoseconds; numbers are made when asked for."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=MAX_SAMPLES)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, time: float, error: float, base: float) -> None:
        """Take one report: *error* in seconds at *time*; *base* is what its drift is the slope of, in seconds."""
        samples = self._samples
        samples.append((time, error, base))
        while time - samples[0][0] > WINDOW_S:
            samples.popleft()

    def clear(self) -> None:
        """Begin anew."""
        self._samples.clear()

    def recent(self, count: int) -> float | None:
        """Return the median error of the last *count* reports in seconds, or nothing with fewer."""
        if len(self._samples) < count:
            return None
        return _median([self._samples[-1 - index][1] for index in range(count)])

    @property
    def phase_ms(self) -> float | None:
        """Return the median error in milliseconds."""
        return _median([error for _, error, _ in self._samples]) * 1e3 if self._samples else None

    @property
    def p99_ms(self) -> float | None:
        """Return the 99th percentile of the size of the error, in milliseconds (nearest rank)."""
        if not self._samples:
            return None
        sizes = sorted(abs(error) for _, error, _ in self._samples)
        return sizes[math.ceil(0.99 * len(sizes)) - 1] * 1e3

    @property
    def drift_ppm(self) -> float | None:
        """Return the drift in parts per million, or nothing before two seconds and eight reports."""
        count = len(self._samples)
        if count < MIN_DRIFT_SAMPLES or self._samples[-1][0] - self._samples[0][0] < MIN_DRIFT_S:
            return None
        first_time, _, first_base = self._samples[0]
        times = [time - first_time for time, _, _ in self._samples]
        bases = [base - first_base for _, _, base in self._samples]
        mean_time, mean_base = math.fsum(times) / count, math.fsum(bases) / count
        spread = math.fsum((time - mean_time) ** 2 for time in times)
        if spread <= 0:
            return None
        shared = math.fsum((time - mean_time) * (base - mean_base) for time, base in zip(times, bases, strict=True))
        return shared / spread * 1e6


def _median(errors: list[float]) -> float:
    from statistics import median  # only where a beat is followed

    return median(errors)
