"""The half of the timeline that follows the leader."""

from __future__ import annotations

from collections.abc import Callable

from lightfast.core.clock import Clock
from lightfast.engine.transport.member import Listener, Member
from lightfast.engine.transport.playhead import Playhead

JUMP_S = 0.25
"""A leader further away than this, in seconds, has moved: the timeline jumps to it. Below, it glides."""
PULL = 0.8
"""Which part of the phase error is taken away in a second."""
TREND = 0.05
"""How fast the lasting difference of the two clocks is learned, per second."""
SMOOTH = 0.2
"""How much one report counts: their jitter is no motion."""
MAX_PULL = 0.05
"""The most by which the timeline runs faster or slower to catch up."""
MAX_TREND = 0.005
"""The greatest lasting difference of clocks that is believed."""
CLOSE_S = 0.02
"""The phase error below which the difference of the clocks is learned, in seconds."""
SILENCE_S = 0.5
"""A leader that shows its position alone has stopped when it was silent for so long, in seconds."""
_STILL = 1e-4


class Lead(Listener):
    """Moves the playhead as one application moves.

    *moved* is told what happened: `playing`, `tempo`, `seek` (it was sought while stopped) or `jump`, with
    the seconds it jumped.
    """

    def __init__(self, member: Member, head: Playhead, clock: Clock, moved: Callable[[str, float], None]) -> None:
        self.member = member
        self.refused = ""
        self._head = head
        self._clock = clock
        self._moved = moved
        self._error = 0.0
        self._trend = 0.0
        self._last = 0.0
        self._last_seconds: float | None = None
        self._fresh = True

    def adopt(self, now: float) -> float:
        """Take the leader's state over; return by how many seconds the timeline jumped, while it plays."""
        member, head = self.member, self._head
        jumped = 0.0
        if member.tempo is not None and member.tempo != head.tempo:
            head.set_tempo(now, member.tempo)
        position = member.position
        if not head.playing and position is not None:
            self._go(now, position)
        elif position is not None and len(member.meter):
            error = member.meter.recent(min(3, len(member.meter))) or 0.0
            if abs(error) > JUMP_S:
                self._go(now, head.seconds(now) + error)
                jumped = error
        member.meter.clear()
        playing = member.playing
        if playing is not None and playing is not head.playing:
            (head.play if playing else head.stop)(now)
        return jumped

    def on_playing(self, playing: bool, time: float) -> None:
        """Play or stop with it, from the moment it did."""
        if playing is self._head.playing:
            return
        (self._head.play if playing else self._head.stop)(time)
        self._begin()
        self._moved("playing", 0.0)

    def on_tempo(self, tempo: float, time: float) -> None:
        """Take its tempo."""
        if tempo != self._head.tempo:
            self._head.set_tempo(time, tempo)
            self.member.meter.clear()
            self._moved("tempo", 0.0)

    def on_position(self, error: float, seconds: float, time: float) -> None:
        """Come nearer to where it is."""
        head = self._head
        if not self.member.shows_playing:
            self._guess(seconds, time)
        self._last_seconds = seconds
        gap, self._last = min(time - self._last, SILENCE_S), time
        if not head.playing:
            if abs(error) > _STILL:
                self._go(time, head.seconds(time) + error)
                self._moved("seek", error)
            return
        self.member.meter.add(time, error, seconds - time)
        if abs(error) > JUMP_S:
            self._go(time, head.seconds(time) + error)
            self._begin()
            self._moved("jump", error)
            return
        self._error = error if self._fresh else self._error + SMOOTH * (error - self._error)
        self._fresh = False
        if gap > 0 and abs(self._error) < CLOSE_S:  # further away it is no matter of clocks
            self._trend = _within(self._trend + TREND * self._error * gap, MAX_TREND)
        head.set_speed(time, 1.0 + _within(PULL * self._error + self._trend, MAX_PULL))

    def on_refused(self, path: str, reason: str) -> None:
        """Keep why it refused."""
        self.refused = reason

    def tick(self, now: float) -> None:
        """Stop with a leader that shows its position alone and is silent."""
        if self._head.playing and not self.member.shows_playing and self._last and now - self._last > SILENCE_S:
            self._last = 0.0
            self._head.stop(now)
            self._moved("playing", 0.0)

    def _guess(self, seconds: float, time: float) -> None:
        """Play with a leader that moves on, where it does not say that it plays."""
        last = self._last_seconds
        moves = last is not None and 0 < seconds - last < JUMP_S * 2 and time - self._last < SILENCE_S
        if moves and not self._head.playing:
            self._head.seek(time, seconds)
            self._head.play(time)
            self._begin()
            self._moved("playing", 0.0)

    def _go(self, time: float, seconds: float) -> None:
        """Move the playhead, keeping what it was at *time* consistent with now."""
        if self.member.timeline.unit == "beats":
            beats = self._head.beats(time) + (seconds - self._head.seconds(time)) * self._head.tempo / 60.0
            self._head.seek_beats(time, beats)
        else:
            self._head.seek(time, seconds)

    def _begin(self) -> None:
        self._fresh, self._error = True, 0.0
        self.member.meter.clear()


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))
