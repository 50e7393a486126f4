"""Where the playhead is sent to: Ardour drops that while its transport is coming to a stop, and does not say so."""

from __future__ import annotations

from collections.abc import Callable

from lightfast.sdk.patience import Patience
from lightfast_bridges.ardour.asking import Send
from lightfast_bridges.ardour.target import Message

LOOKS = (0.15, 0.3, 0.6, 1.2)
"""Seconds between sending it and the looks at where it is; a large session takes its time to get there."""
SETTLES = 0.3
"""Seconds that a transport takes from when it says that it stops until it stands."""
STOPS = frozenset(("/transport_stop", "/toggle_roll", "/stop_forget"))
"""What makes it stop."""
MOVES = frozenset((
    *("goto_start", "goto_end", "goto_marker", "next_marker", "prev_marker", "jump_bars", "jump_seconds"),
))  # fmt: skip
"""Commands that are dropped, too: they wait until it stands."""
PLACES = frozenset(("goto_start", "goto_end", "goto_marker"))
"""Those that lead to the same place when they are sent again."""
RECENT = 3.0
"""Seconds after a stop in which they are, where the playhead has not moved."""


class Playhead:
    """Sends the playhead to a position, again where it does not get there."""

    def __init__(self, send: Send, rolls: Callable[[], bool]) -> None:
        """Ask *rolls* whether the transport does: then nothing is dropped, and it does not stay at a position."""
        self._send = send
        self._rolls = rolls
        self._message: Message = ()
        self._position: int | None = None
        self._before: int | None = None
        self._looks = 0
        self._looked = False
        self._timer: Patience | None = None

    def move(self, message: Message, position: int | None) -> None:
        """Send *message*, which leads to *position*, or away from here; what was sent before counts no more."""
        self.stop()
        self._message, self._position, self._before, self._looks = message, position, None, 0
        if position is None:
            self._send("/transport_frame")
        self._go()

    def hear(self, position: int, *, asked: bool) -> None:
        """Take where the playhead is, as Ardour told it, or was *asked* for it."""
        if self._timer is None and not self._looked:
            return
        if position == self._position:
            self.stop()
        elif asked and self._position is None and self._before is None:
            self._before = position
        elif asked and self._looked:
            if self._rolls() or (self._position is None and position != self._before):
                self.stop()
            else:
                self._go()

    def stop(self) -> None:
        """Look no more."""
        self._looked = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self) -> None:
        self.stop()
        self._send(*self._message)
        if self._looks < len(LOOKS):
            self._looks += 1
            self._later()

    def _later(self) -> None:
        self._timer = Patience(LOOKS[self._looks - 1], self._look)

    def _look(self) -> None:
        self._looked = True
        self._send("/transport_frame")
        self._later()  # the answer may be lost on the way, or Ardour stand still
