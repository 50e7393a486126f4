"""What is sent to an application on the way from one value to another, and which of its reports only answer that.

On the way a parameter gets many values a second that nobody waits for (a morph from one scene to the next), as
volatile wishes. The application may report some of them, rounded, late or not at all: what lies between the values
that were sent lately is an answer, and no change of the application's own. Everything else is a hand.
"""

from __future__ import annotations

from collections import deque

from lightfast_link.value import Value, close

WINDOW = 1.0
"""Seconds for which a value that was sent may still be answered."""
SLACK_OF_WAY = 0.02
SLACK_OF_SIZE = 0.01
"""How far beyond the values sent an answer may lie, for applications round: as a part of the way between them, and of
their size."""
_MOST = 64

Numbers = tuple[float, ...]


class Course:
    """The values sent lately to one path, and the corridor between them."""

    __slots__ = ("_sent", "under_way")

    def __init__(self) -> None:
        self._sent: deque[tuple[float, Value]] = deque(maxlen=_MOST)
        self.under_way = True

    def put(self, value: Value, now: float) -> None:
        """Note that *value* is sent at the monotonic time *now*."""
        self._sent.append((now, value))

    def over(self, now: float) -> bool:
        """Say whether nothing that was sent can be answered any more."""
        return not self.under_way and (not self._sent or self._sent[-1][0] + WINDOW <= now)

    def answers(self, value: Value, now: float, tolerance: float) -> bool:
        """Say whether a report of *value* may be the answer to what was sent."""
        while len(self._sent) > 2 and self._sent[1][0] + WINDOW <= now:
            self._sent.popleft()
        if any(close(sent, value, tolerance) for _, sent in self._sent):
            return True
        numbers = _numbers(value)
        corners = [sent for _, each in self._sent if (sent := _numbers(each)) is not None]
        if numbers is None or not corners or any(len(corner) != len(numbers) for corner in corners):
            return False
        for index, number in enumerate(numbers):
            low = min(corner[index] for corner in corners)
            high = max(corner[index] for corner in corners)
            slack = max(tolerance, SLACK_OF_WAY * (high - low), SLACK_OF_SIZE * max(abs(low), abs(high)), 1e-6)
            if not low - slack <= number <= high + slack:
                return False
        return True


class Glides:
    """The courses of one application's parameters; times are monotonic seconds."""

    def __init__(self) -> None:
        self._courses: dict[str, Course] = {}
        self._taken: set[str] = set()

    def __len__(self) -> int:
        return len(self._courses)

    def sent(self, path: str, value: Value, now: float) -> None:
        """Note that *value* is sent to *path* on the way."""
        course = self._courses.get(path)
        if course is None or not course.under_way:
            course = self._courses[path] = Course()
        course.put(value, now)

    def end(self, path: str) -> None:
        """Note that nothing more is sent on the way; late answers are still known."""
        self._taken.discard(path)
        if course := self._courses.get(path):
            course.under_way = False

    def take(self, path: str) -> None:
        """Note that the application's user has their hand on *path*: nothing more is sent until the way ends."""
        if self.under_way(path):
            self._courses[path].under_way = False
            self._taken.add(path)

    def taken(self, path: str) -> bool:
        """Say whether a hand has taken *path* out of its way."""
        return path in self._taken

    def under_way(self, path: str) -> bool:
        """Say whether *path* is on its way."""
        course = self._courses.get(path)
        return course is not None and course.under_way

    def answers(self, path: str, value: Value, now: float, tolerance: float) -> bool:
        """Say whether a report of *value* may be the answer to what was sent to *path*."""
        course = self._courses.get(path)
        return course is not None and not course.over(now) and course.answers(value, now, tolerance)

    def sweep(self, now: float) -> None:
        """Forget what is over."""
        for path in [path for path, course in self._courses.items() if course.over(now)]:
            del self._courses[path]


def _numbers(value: Value) -> Numbers | None:
    if type(value) in {int, float}:
        return (float(value),)  # type: ignore[arg-type]  # a number, as was just seen
    return value if isinstance(value, tuple) else None
