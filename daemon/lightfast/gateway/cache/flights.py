"""Single flight: the same request, while it is under way, is made once.

Who joins first under a key leads: makes the request, publishes each step and finishes. All others follow: they get
every step from the beginning, whenever they came. A leader that ends for a reason of its own (its caller went away, its
deadline, its budget) does not take the others with it: they are told to start anew by `StartAnew`, join again, and one
of them leads. A failure of the service is a failure for all.

What is kept of a flight is bounded (policy *cut the slow, turn away the late*): steps of which only the newest counts
(progress, previews) are conflated; of the others at most `MOST_BYTES` are kept. Beyond that nobody joins any more (the
next one leads a flight of its own), what all followers have had is let go, and a follower that is further behind than
that is cut with `Exhausted`: the leader never waits for a follower.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

from lightfast.core.errors import Cancelled, DeadlineExceeded, Exhausted, LightfastError
from lightfast.gateway.calls import StepProgress
from lightfast.sdk import Preview, TextDelta

MOST_BYTES = 4 << 20
"""The most that one flight keeps for those who follow."""
STEP_BYTES = 200
"""What a step takes beside its text, about."""
NEWEST = (StepProgress, Preview)
"""Of these only the newest counts."""
OWN_REASONS = frozenset(("BUDGET_EXCEEDED", "PRICE_UNKNOWN", "LIMIT_REACHED", "TOO_MANY_GENERATIONS", "QUEUE_FULL"))
"""Refusals that are about who asked, not about what was asked."""


class StartAnew(Exception):
    """The one who led ended for a reason of its own: join again, one of you will lead.

    What was passed on before no longer counts.
    """


class _Course:
    """One request under way."""

    def __init__(self, most: int) -> None:
        self.steps: deque[Any] = deque()
        self.first = 0
        """The number of the first step in `steps`."""
        self.newest: dict[type, tuple[int, int, Any]] = {}
        """Of each such kind the number of the step it comes before, its own number, and itself."""
        self.count = 0
        self.size = 0
        self.most = most
        self.full = False
        self.done = False
        self.error: BaseException | None = None
        self.places: dict[object, int] = {}
        """Of each follower the number of the step it needs next."""
        self.news = asyncio.Event()

    @property
    def end(self) -> int:
        return self.first + len(self.steps)

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    def add(self, kind: Any) -> None:
        if isinstance(kind, NEWEST):
            self.count += 1
            self.newest[type(kind)] = (self.end, self.count, kind)
        else:
            self.steps.append(kind)
            self.size += _size(kind)
            if self.size > self.most:
                self.full = True
            if self.full:
                self.trim()
        self.tell()

    def trim(self) -> None:
        """Let go of what all have had, and of what is beyond the bound."""
        needed = min(self.places.values(), default=self.end)
        while self.steps and (self.first < needed or self.size > self.most):
            self.size -= _size(self.steps.popleft())
            self.first += 1


class Flight:
    """One's part in a request under way; use it in a `with`: a leader that leaves without a word has gone away."""

    def __init__(self, flights: Flights, key: str, course: _Course, *, leads: bool) -> None:
        self.leads = leads
        self._flights = flights
        self._key = key
        self._course = course
        if not leads:
            course.places[self] = 0

    @property
    def followers(self) -> int:
        """How many others wait for it now: while there are some, a leader may go on for them."""
        return len(self._course.places)

    def publish(self, kind: Any) -> None:
        """Pass a step on to all who follow; only who leads may, and only before `finish`."""
        if not self.leads or self._course.done:
            raise RuntimeError("only who leads publishes, until the end")
        self._course.add(kind)

    def finish(self, error: BaseException | None = None) -> None:
        """End it, for all; with an error it failed. A second call does nothing. The key is free when it returns."""
        course = self._course
        if not self.leads or course.done:
            return
        course.done, course.error = True, error
        self._flights.over(self._key, course)
        course.tell()

    async def follow(self) -> AsyncGenerator[Any, None]:
        """Yield the steps from the beginning to the end.

        Raises what the leader failed with, `StartAnew`, or `Exhausted` (READER_TOO_SLOW).
        """
        course, told = self._course, 0
        try:
            while True:
                place = course.places[self]
                if place < course.first:
                    raise Exhausted(
                        f"this reader fell more than {course.most} bytes behind the request it shares: ask again",
                        reason="READER_TOO_SLOW",
                    )
                fresh = [one for one in course.newest.values() if one[0] == place and one[1] > told]
                if fresh:
                    _, told, kind = min(fresh, key=lambda one: one[1])
                    yield kind
                elif place < course.end:
                    step = course.steps[place - course.first]
                    course.places[self] = place + 1
                    if course.full:
                        course.trim()
                    yield step
                elif course.done:
                    break
                else:
                    await course.news.wait()
        finally:
            self.leave()
        if course.error is not None:
            if _is_own(course.error):
                raise StartAnew from course.error
            raise course.error

    def leave(self) -> None:
        """Follow no longer."""
        self._course.places.pop(self, None)
        if self._course.full:
            self._course.trim()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.leads:
            self.finish(error if isinstance(error, LightfastError) else Cancelled("who led this request went away"))
        else:
            self.leave()


class Flights:
    """The requests under way, by key. All of it runs on the loop; nothing here waits but `Flight.follow`."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.led = 0
        self.shared = 0
        """How many have led, and how many have followed, since the daemon started."""
        self._most = most_bytes
        self._courses: dict[str, _Course] = {}

    def __len__(self) -> int:
        return len(self._courses)

    def join(self, key: str) -> Flight:
        """Join what is under way under *key*, or lead it."""
        course = self._courses.get(key)
        if course is None or course.full:
            course = self._courses[key] = _Course(self._most)
            self.led += 1
            return Flight(self, key, course, leads=True)
        self.shared += 1
        return Flight(self, key, course, leads=False)

    def over(self, key: str, course: _Course) -> None:
        """Free the key, unless a later one flies under it."""
        if self._courses.get(key) is course:
            del self._courses[key]


def _size(kind: Any) -> int:
    return STEP_BYTES + (len(kind.text) if isinstance(kind, TextDelta) else 0)


def _is_own(error: BaseException) -> bool:
    """Say whether the leader failed for a reason of its own."""
    if isinstance(error, Cancelled | DeadlineExceeded | asyncio.CancelledError):
        return True
    return isinstance(error, LightfastError) and error.reason in OWN_REASONS
