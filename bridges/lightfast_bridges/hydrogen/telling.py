"""Finding, among all that Hydrogen tells, a telling of the whole mixer.

Its OSC server tells the whole mixer to everybody when somebody is new, and when a song is opened. Meanwhile its window
tells what somebody changes in it, tells a volume or a pan that came by OSC once more a moment later, and tells all
that it shows when it opens. None waits for another, so each telling is followed through what comes in between.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = "/Hydrogen/MASTER_VOLUME_ABSOLUTE"
STRIP = (
    "/Hydrogen/STRIP_VOLUME_ABSOLUTE/{}",
    "/Hydrogen/PAN_ABSOLUTE/{}",
    "/Hydrogen/STRIP_MUTE_TOGGLE/{}",
    "/Hydrogen/STRIP_SOLO_TOGGLE/{}",
)
"""What is told of each strip, in this order; the first strip has the number 1."""
SECOND_LAST = "/Hydrogen/TOGGLE_METRONOME"
LAST = "/Hydrogen/MUTE_TOGGLE"
GAP_S = 5.0
"""The most seconds between two messages of a telling. Hydrogen takes none; a user who goes from strip to strip does."""


@dataclass(slots=True)
class _Course:
    """One that may be a telling of the whole mixer, and how far it has come."""

    strips: int = 0
    """The strips that were told to their end; a song has at least one."""
    place: int = 0
    """Where in `STRIP` the next one stands."""
    ending: bool = False
    """The message before the last one came, or somebody switched the metronome."""
    at: float = 0.0
    """When it went on."""

    def ends(self, address: str, now: float) -> bool:
        """Go on with *address*, if it is what comes next; say whether that is the end."""
        if address == STRIP[self.place].format(self.strips + 1):
            self.strips, self.place = self.strips + (self.place + 1) // len(STRIP), (self.place + 1) % len(STRIP)
            self.ending, self.at = False, now
        elif address == SECOND_LAST and self.strips > 0 and self.place == 0:
            self.ending, self.at = True, now
        return self.ending and address == LAST


class Telling:
    """Listens for the whole mixer."""

    def __init__(self) -> None:
        self._courses: list[_Course] = []
        """Who began last stands last. Nobody knows which of them is one, before one comes to its end."""

    def heard(self, address: str, now: float) -> int | None:
        """Take the next message; return the number of strips where the whole mixer was told with it."""
        self._courses = [one for one in self._courses if now - one.at <= GAP_S]
        ended = [one.strips for one in self._courses if one.ends(address, now)]
        if ended:
            self._courses.clear()
            return ended[-1]
        if address == FIRST:
            self._courses.append(_Course(at=now))
        # Two that are at the same place are one.
        self._courses = list({(one.strips, one.place): one for one in self._courses}.values())
        return None
