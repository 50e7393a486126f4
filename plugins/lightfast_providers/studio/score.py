"""A score: the notes that were played, as a Standard MIDI File."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

TICKS = 480
"""Ticks of a quarter note."""
KICK, SNARE, CLOSED_HAT, OPEN_HAT = 36, 38, 42, 46
"""Keys of General MIDI's drums."""
_PROGRAMS = {
    "pad": 89,
    "pluck": 24,
    "arpeggio": 81,
    "bass": 33,
    "drone": 95,
    "bells": 14,
    "organ": 16,
    "lead": 80,
}
"""Programs of General MIDI, from 0."""
_DRUMS = 9


@dataclass(frozen=True, slots=True)
class Note:
    """One note: *key* as in MIDI, *start* and *length* in beats, *level* from 0 to 1."""

    voice: str
    key: int
    start: float
    length: float
    level: float


def key_of(hertz: float) -> int:
    """Return the key of a frequency; 69 is 440 Hz."""
    return min(127, max(0, round(69 + 12 * math.log2(hertz / 440))))


def midi(notes: Sequence[Note], tempo: float, bars: float, *, title: str, minor: bool, root: str) -> bytes:
    """Return a MIDI file of type 1: a track with tempo (beats a minute), metre and key, and one for each voice.

    Every track ends at the end of the last bar, so that a sequencer loops it right.
    """
    import mido

    file = mido.MidiFile(type=1, ticks_per_beat=TICKS, charset="utf-8")
    end = round(bars * 4 * TICKS)
    head = file.add_track(title[:80])
    head.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    head.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
    head.append(mido.MetaMessage("key_signature", key=root + "m" * minor))
    head.append(mido.MetaMessage("end_of_track", time=end))
    voices = list(dict.fromkeys(note.voice for note in notes))
    free = [channel for channel in range(16) if channel != _DRUMS]
    for index, voice in enumerate(voices):
        channel = _DRUMS if voice == "drums" else free[index % len(free)]
        track = file.add_track(voice)
        if voice in _PROGRAMS:
            track.append(mido.Message("program_change", channel=channel, program=_PROGRAMS[voice]))
        events: list[tuple[int, int, int, int]] = []
        for note in notes:
            if note.voice == voice:
                start = round(note.start * TICKS)
                stop = min(end, max(start + 1, round((note.start + note.length) * TICKS)))
                velocity = min(127, max(1, round(note.level * 127)))
                events += [(start, 1, note.key, velocity), (stop, 0, note.key, 0)]
        now = 0
        for at, on, key, velocity in sorted(events):  # what ends goes before what begins
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, channel=channel, note=key, velocity=velocity, time=at - now))
            now = at
        track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()
