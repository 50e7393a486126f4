"""Guesses what a client reads next, from what it read before: what followed what, and steps of one length.

The statistics are those of a first-order Markov chain, with counts that are halved when they grow, so that a new
habit wins over an old one. Everything is bounded: what was seen least lately is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

MOST_ITEMS = 8192
"""How many things are remembered for which something followed, over all clients."""
MOST_CLIENTS = 256
_FOLLOWERS = 4
_HALVED = 32
_LIKELY = 0.25
"""What followed more seldom than this is not guessed."""
_AHEAD = 2
"""How many steps are guessed ahead, once two were alike."""


class Successors:
    """What follows what, by client; what a client has not seen yet it learns from all others."""

    def __init__(self, most: int = MOST_ITEMS) -> None:
        self._most = most
        self._followers: OrderedDict[tuple[str, Hashable], dict[Hashable, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._followers)

    def saw(self, client: str, before: Hashable, after: Hashable) -> None:
        """Note that *client* went from *before* to *after*."""
        for whose in (client, ""):
            key = (whose, before)
            counts = self._followers.setdefault(key, {})
            self._followers.move_to_end(key)
            counts[after] = counts.get(after, 0) + 1
            if counts[after] >= _HALVED:
                for each in list(counts):
                    counts[each] //= 2
                    if not counts[each]:
                        del counts[each]
            if len(counts) > _FOLLOWERS:
                del counts[min((each for each in counts if each != after), key=counts.__getitem__)]
        while len(self._followers) > self._most:
            self._followers.popitem(last=False)

    def after(self, client: str, item: Hashable) -> list[Hashable]:
        """Return what is likely to follow, the likeliest first."""
        counts = self._followers.get((client, item)) or self._followers.get(("", item)) or {}
        total = sum(counts.values())
        return sorted(
            (each for each, count in counts.items() if count >= _LIKELY * total), key=counts.__getitem__, reverse=True
        )


class Place(NamedTuple):
    """What is asked for: paths, a pattern or none, and how many entries at most."""

    names: tuple[str, ...]
    pattern: str
    most: int


class Read(NamedTuple):
    """A read of the past: of *place*, at the number *at* of the axis `revision`, `record` or `event`."""

    place: Place
    axis: str
    at: int


class _Seen(NamedTuple):
    """The last read of a client, and the step along the axis that led to it; 0 for none."""

    read: Read
    step: int


class Predictor:
    """Guesses reads of the past. Moments and places are learned apart: who walks over a tree stays at one moment."""

    def __init__(self) -> None:
        self.places = Successors()
        self.moments = Successors()
        self._last: OrderedDict[str, _Seen] = OrderedDict()

    def saw(self, client: str, read: Read) -> list[Read]:
        """Note that *client* reads *read*; return what it may read next, the likeliest first."""
        seen = self._last.get(client)
        step, moved, strode = 0, False, False
        if seen is not None:
            last = seen.read
            if last.axis == read.axis and last.at != read.at:
                step = read.at - last.at
                strode = step * seen.step > 0  # in one direction; an even step is met exactly
                self.moments.saw(client, (last.axis, last.at), (read.axis, read.at))
            if last.place != read.place:
                moved = True
                self.places.saw(client, last.place, read.place)
        self._last[client] = _Seen(read, step if seen is not None else 0)
        self._last.move_to_end(client)
        if len(self._last) > MOST_CLIENTS:
            self._last.popitem(last=False)
        places = [
            read._replace(place=place) for place in self.places.after(client, read.place) if isinstance(place, Place)
        ]
        moments = [
            read._replace(axis=moment[0], at=moment[1])
            for moment in self.moments.after(client, (read.axis, read.at))
            if isinstance(moment, tuple)
        ]
        strides = [read._replace(at=read.at + step * count) for count in range(1, _AHEAD + 1)] if strode else []
        guesses = [*places, *strides, *moments] if moved else [*strides, *moments, *places]
        return list(dict.fromkeys(each for each in guesses if each != read and each.at >= 0))
