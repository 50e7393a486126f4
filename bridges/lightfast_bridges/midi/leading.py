"""The timeline that this daemon sends to a device: wishes for its transport, and what it is at."""

from __future__ import annotations

from lightfast.sdk import Value
from lightfast_bridges.midi.clock import TEMPO
from lightfast_bridges.midi.following import News
from lightfast_bridges.midi.schedule import Schedule
from lightfast_bridges.midi.sender import Sender
from lightfast_bridges.midi.settings import Settings
from lightfast_bridges.midi.surface import BEATS, PLAYING, RATE, SECONDS, TEMPI
from lightfast_bridges.midi.timecode import RATES

JITTER_S = 1.0
"""Seconds between two reports of the jitter."""


class Leading:
    """Turns wishes into clock and timecode. While it is `active`, what the device says is not heard."""

    def __init__(self, sender: Sender, settings: Settings) -> None:
        self._sender = sender
        self._settings = settings
        self._rate = settings.rate
        self._measured = 0.0

    @property
    def active(self) -> bool:
        """Say whether it plays."""
        return self._sender.place(0.0)[0]

    def steer(self, path: str, value: Value) -> None:
        """Do what is wished at *path*; raise `ValueError` that says why not."""
        if not self._settings.clock and self._rate is None and path != RATE:
            raise ValueError("neither clock nor timecode is sent to this device: see plugins.midi.clock and timecode")
        if path in PLAYING:
            if not isinstance(value, bool):
                raise ValueError(f"{path} takes true or false, not {value!r:.40}")
            self._sender.steer(lambda schedule, now: schedule.play(now) if value else schedule.stop(now))
            return
        if path == RATE:
            rate = RATES.get(value) if isinstance(value, str) else None
            if rate is None:
                raise ValueError(f"{path} takes one of {', '.join(RATES)}, not {value!r:.40}")
            self._rate = rate
            self._sender.steer(lambda schedule, now: schedule.set_rate(now, rate))
            return
        if path not in {*TEMPI, *SECONDS, BEATS}:
            raise ValueError(f"MIDI has nothing at {path} that can be set")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path} takes a number, not {value!r:.40}")  # noqa: TRY004  # refused like the others
        number = float(value)
        if path in TEMPI:
            if not TEMPO[0] <= number <= TEMPO[1]:
                raise ValueError(f"{path} takes {TEMPO[0]:g} to {TEMPO[1]:g} beats a minute, not {number:g}")
            self._sender.steer(lambda schedule, now: schedule.set_tempo(now, number))
        elif not 0 <= number < 86_400 * 366:
            raise ValueError(f"{path} takes a position from 0 on, not {number:g}")
        elif path == BEATS:
            self._sender.steer(lambda schedule, now: schedule.seek_beats(now, number))
        else:
            self._sender.steer(lambda schedule, now: schedule.seek(now, number))

    def values(self, now: float) -> News:
        """Return all that the timeline is, at *now*."""
        playing, seconds, beats, tempo = self._sender.place(now)
        out: News = [(path, playing, now) for path in PLAYING]
        out += [(path, tempo, now) for path in TEMPI]
        out += [(path, seconds, now) for path in SECONDS]
        out.append((BEATS, beats, now))
        if self._rate is not None:
            out.append((RATE, self._rate.name, now))
        return out

    def look(self, now: float) -> News:
        """Return what changed by itself: where it is, and how late its ticks are."""
        if not self.active:
            return []
        out = self.values(now)
        if now - self._measured >= JITTER_S:
            self._measured = now
            out.append(("clock/jitter", self._sender.lateness().deviation * 1e3, now))
        return out

    def yields(self, heard: float, now: float) -> None:
        """Send no ticks beside those of the device: *heard* is when the last one came."""
        if now - heard < JITTER_S and not self.active:
            self._sender.steer(_quiet)


def _quiet(schedule: Schedule, now: float) -> list[bytes]:
    schedule.quiet()
    return []
