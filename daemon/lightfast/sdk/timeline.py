"""Where an application keeps its transport, so that one timeline can lead it, or follow it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeline:
    """The transport of one kind of application. Paths are relative to the mount; empty means that it has none.

    *playing* holds a bool: writing it plays or stops. *position* holds where it is, in *unit*: `time.second`,
    `beats`, `frames` or `samples`. *locate* is where a wished position is written, where that is not *position*
    itself. *tempo* holds beats per minute, *rate* how many frames or samples there are in a second. *first* and *last*
    hold the positions between which it plays over and over, both played: one that follows then keeps to the timeline
    modulo that range.
    """

    playing: str = ""
    position: str = ""
    unit: str = "time.second"
    locate: str = ""
    tempo: str = ""
    rate: str = ""
    first: str = ""
    last: str = ""
