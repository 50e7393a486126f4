"""The players: each lays its notes into the mix, bar by bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np

from lightfast_providers.studio.music import Plan
from lightfast_providers.studio.score import CLOSED_HAT, KICK, OPEN_HAT, SNARE, Note, key_of
from lightfast_providers.studio.sound import (
    RATE,
    Mix,
    Samples,
    fading,
    highpass,
    hiss,
    lowpass,
    plucked,
    shaped,
    tone,
)


class Band:
    """Plays a plan into a mix; a note that was made once is kept and played again."""

    def __init__(self, plan: Plan, seconds: float, chance: Random, *, loop: bool = False) -> None:
        self.plan, self.chance, self.seconds, self.loop = plan, chance, seconds, loop
        self.mix = Mix(seconds, loop=loop)
        self.notes: list[Note] = []
        self.beat = 60 / plan.tempo
        self.bar = 4 * self.beat
        self.bars = max(1, -(-round(seconds * 1000) // round(self.bar * 1000)))
        self._kept: dict[tuple[object, ...], Samples] = {}

    def play(self, voice: str) -> None:
        """Play one voice from the beginning to the end."""
        PLAYERS[voice](self)

    def room(self) -> None:
        """Put the band into a room, with echoes for voices that like them; drums alone stay dry."""
        voices = set(self.plan.voices)
        if voices & {"arpeggio", "bells", "pluck", "lead"}:
            self.mix.echo(self.beat * 0.75, 0.45, 0.3)
        if voices - {"drums", "bass"}:
            self.mix.room(1.8 if voices & {"pad", "drone", "bells"} else 1.1, 0.5)

    def finish(self) -> None:
        """Fade the ends, and bring the level to where it belongs."""
        short = min(0.2, self.seconds / 8)
        self.mix.finish(0.004, min(short, self.beat / 8) if "drums" in self.plan.voices else short)

    def _once(self, make: Callable[..., Samples], *arguments: float) -> Samples:
        """Return what *make* makes of *arguments*: made the first time, kept for the next."""
        key = (make.__name__, *arguments)
        if key not in self._kept:
            self._kept[key] = make(*arguments)
        return self._kept[key]

    def _write(self, voice: str, hertz: float, at: float, length: float, level: float) -> None:
        """Write a note down for the score; *at* and *length* in seconds. What begins after the end is left out."""
        at = max(0.0, at)
        if at < self.seconds - 1e-6:
            self.notes.append(
                Note(voice, key_of(hertz), at / self.beat, min(length, self.seconds - at) / self.beat, level)
            )

    def pad(self) -> None:
        """Play chords of three slightly detuned waves that swell and close."""
        for bar in range(self.bars):
            for index, degree in enumerate(self.plan.chord(bar)):
                hertz = self.plan.pitch(degree, 3 if degree < 5 else 2)
                note = self._once(self._pad_note, hertz)
                self.mix.add(note, bar * self.bar, 0.2, (index - 1) * 0.55)
                self._write("pad", hertz, bar * self.bar, self.bar, 0.5)

    def _pad_note(self, hertz: float) -> Samples:
        length = self.bar * 1.25
        parts = [
            tone(self.plan.wave, hertz * detune, length, phase=self.chance.random()) for detune in (0.9965, 1.0, 1.0042)
        ]
        body: Samples = sum(parts) / 3  # type: ignore[assignment]  # never empty
        body = lowpass(body, 500 + hertz, 1100 + 2 * hertz)
        return shaped(body, length * 0.28, length * 0.2, 0.8, length * 0.35)

    def pluck(self) -> None:
        """Play a pattern over the chord, on strings."""
        pattern = self.chance.choice(((0, 2, 1, 2, 3, 2, 1, 2), (0, 1, 2, 3, 2, 1, 2, 1), (0, 2, 3, 1, 4, 3, 2, 1)))
        for bar in range(self.bars):
            chord = (
                *self.plan.chord(bar),
                self.plan.chord(bar)[0] + len_of(self.plan),
                self.plan.chord(bar)[1] + len_of(self.plan),
            )
            for step, choice in enumerate(pattern):
                degree = chord[choice]
                hertz = self.plan.pitch(degree, 3)
                note = self._once(self._plucked_note, hertz)
                swing = self.chance.uniform(-0.004, 0.004)
                at = max(0.0, bar * self.bar + step * self.beat / 2 + swing)
                level = self.chance.uniform(0.3, 0.42)
                self.mix.add(note, at, level, (choice - 1.5) * 0.2)
                self._write("pluck", hertz, at, self.beat / 2, level * 2)

    def _plucked_note(self, hertz: float) -> Samples:
        return fading(plucked(hertz, 1.6, self.chance), 0.5)

    def arpeggio(self) -> None:
        """Play fast broken chords with a closing filter."""
        order = self.chance.choice(((0, 1, 2, 3), (3, 2, 1, 0), (0, 2, 1, 3)))
        for bar in range(self.bars):
            chord = (*self.plan.chord(bar), self.plan.chord(bar)[0] + len_of(self.plan))
            for step in range(16):
                degree = chord[order[step % 4]] + (len_of(self.plan) if step % 8 >= 6 else 0)
                hertz = self.plan.pitch(degree, 4)
                note = self._once(self._blip, hertz)
                accent = 0.34 if step % 4 == 0 else 0.22
                self.mix.add(note, bar * self.bar + step * self.beat / 4, accent, 0.5 * (-1) ** step)
                self._write("arpeggio", hertz, bar * self.bar + step * self.beat / 4, self.beat / 4, accent * 2)

    def _blip(self, hertz: float) -> Samples:
        raw = tone(self.plan.wave, hertz, min(0.5, self.beat))
        return fading(lowpass(raw, 4 * hertz + 1500, hertz), 0.09)

    def bass(self) -> None:
        """Play root notes under each bar, with a step up before the next."""
        for bar in range(self.bars):
            root = self.plan.chord(bar)[0]
            for beat, degree, length in (
                (0.0, root, 1.4),
                (1.5, root, 0.5),
                (2.0, root, 0.9),
                (3.0, root + 4, 0.5),
                (3.5, root, 0.5),
            ):
                hertz = self.plan.pitch(degree, 1)
                note = self._once(self._bass_note, hertz, length * self.beat)
                self.mix.add(note, bar * self.bar + beat * self.beat, 0.5)
                self._write("bass", hertz, bar * self.bar + beat * self.beat, length * self.beat, 0.8)

    def _bass_note(self, hertz: float, length: float) -> Samples:
        body = tone("saw" if self.plan.wave == "saw" else "triangle", hertz, length)
        deep = tone("sine", hertz, length)
        mixed = 0.55 * lowpass(body, 900, 240) + 0.6 * deep
        return shaped(mixed, 0.006, length * 0.4, 0.65, min(0.06, length / 3))

    def drone(self) -> None:
        """Hold a root, its fifth and octave that breathe slowly from beginning to end."""
        for index, (degree, octave) in enumerate(((0, 2), (4 if len_of(self.plan) == 7 else 3, 2), (0, 3))):
            hertz = self.plan.pitch(degree, octave)
            self._write("drone", hertz, 0.0, self.seconds, 0.5)
            for detune, pan in ((0.9985, -0.6), (1.0017, 0.6)):
                if self.loop:
                    self._drone_around(hertz * detune, 350 + 120 * index, pan)
                    continue
                raw = tone(self.plan.wave, hertz * detune, self.seconds, phase=self.chance.random())
                body = lowpass(raw, 350 + 120 * index, 900 + 300 * index)
                self.mix.add(shaped(body, self.seconds * 0.25, 0.1, 1.0, self.seconds * 0.3), 0.0, 0.2, pan)

    def _drone_around(self, hertz: float, cutoff: float, pan: float) -> None:
        """Hold a tone that fits the loop a whole number of times: it breathes by its filter, twice as long."""
        whole = max(1, round(hertz * self.seconds)) / self.seconds
        raw = tone(self.plan.wave, whole, 2 * self.seconds, phase=self.chance.random())
        body = lowpass(raw, cutoff * 1.8)[self.mix.count :]  # the second time the filter has settled
        breath = body * (0.75 + 0.25 * np.cos(math.tau * np.arange(body.size) / body.size))
        self.mix.add(breath, 0.0, 0.2, pan)

    def bells(self) -> None:
        """Play single bells over the chord, with partials that do not fit, as in bronze."""
        for bar in range(self.bars):
            for beat in self.chance.sample((0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5), 3):
                degree = self.chance.choice(self.plan.chord(bar))
                hertz = self.plan.pitch(degree, 5)
                note = self._once(self._bell, hertz)
                level = self.chance.uniform(0.14, 0.24)
                self.mix.add(note, bar * self.bar + beat * self.beat, level, self.chance.uniform(-0.7, 0.7))
                self._write("bells", hertz, bar * self.bar + beat * self.beat, self.beat, level * 3)

    def _bell(self, hertz: float) -> Samples:
        whole = Mix(2.4)
        for ratio, level, half in ((0.5, 0.3, 0.6), (1.0, 1.0, 0.5), (2.76, 0.45, 0.22), (5.4, 0.22, 0.1)):
            if hertz * ratio < RATE * 0.45:
                whole.add(fading(tone("sine", hertz * ratio, 2.4), half, level), 0.0, 1.0, -1.0)
        return whole.left

    def organ(self) -> None:
        """Hold chords of drawbars."""
        for bar in range(self.bars):
            for index, degree in enumerate(self.plan.chord(bar)):
                hertz = self.plan.pitch(degree, 3)
                note = self._once(self._held_note, hertz)
                self.mix.add(note, bar * self.bar, 0.2, (index - 1) * 0.3)
                self._write("organ", hertz, bar * self.bar, self.bar, 0.5)

    def _held_note(self, hertz: float) -> Samples:
        return shaped(tone("organ", hertz, self.bar, vibrato=0.003), 0.03, 0.1, 0.9, 0.08)

    def lead(self) -> None:
        """Play a melody that walks the scale and rests on notes of the chord."""
        place = 0
        for bar in range(self.bars):
            beat = 0.0
            while beat < 4:
                length = self.chance.choice((0.5, 0.5, 1.0, 1.0, 1.5))
                length = min(length, 4 - beat)
                place = (
                    self.chance.choice(self.plan.chord(bar))
                    if beat == 0
                    else place + self.chance.choice((-2, -1, -1, 0, 1, 1, 2))
                )
                place = min(len_of(self.plan) + 3, max(-3, place))
                hertz = self.plan.pitch(place, 4)
                note = self._once(self._sung, hertz, length * self.beat * 0.96)
                if self.chance.random() > 0.14:
                    self.mix.add(note, bar * self.bar + beat * self.beat, 0.26, 0.15)
                    self._write("lead", hertz, bar * self.bar + beat * self.beat, length * self.beat, 0.7)
                beat += length

    def _sung(self, hertz: float, length: float) -> Samples:
        raw = tone(self.plan.wave, hertz, length, vibrato=0.006)
        return shaped(lowpass(raw, 2200 + hertz), 0.03, length * 0.3, 0.75, min(0.09, length / 3))

    def noise(self) -> None:
        """Blow wind, or waves on a shore: noise that swells slowly, different on both sides."""
        for pan in (-0.9, 0.9):
            at = 0.0
            while at < self.seconds:
                length = self.chance.uniform(2.5, 4.5)
                raw = lowpass(hiss(length, self.chance), self.chance.uniform(400, 900), self.chance.uniform(900, 2200))
                self.mix.add(shaped(raw, length * 0.5, 0.05, 1.0, length * 0.45), at, 0.8, pan)
                at += length * 0.55

    def drums(self) -> None:
        """Play kick, snare and hats; the last beat of four bars is filled."""
        kick, snare = self._kick(), self._snare()
        closed = fading(highpass(hiss(0.07, self.chance), 6000), 0.014, 0.8)
        opened = fading(highpass(hiss(0.35, self.chance), 5500), 0.07, 0.7)
        four = self.plan.tempo >= 118
        kicks = (
            (0.0, 1.0, 2.0, 3.0) if four else self.chance.choice(((0.0, 1.75, 2.5), (0.0, 2.0, 2.75), (0.0, 0.75, 2.5)))
        )
        for bar in range(self.bars):
            start = bar * self.bar
            for beat in kicks:
                self.mix.add(kick, start + beat * self.beat, 0.85)
                self._hit(KICK, start + beat * self.beat, 0.9)
            for beat in (1.0, 3.0):
                self.mix.add(snare, start + beat * self.beat, 0.5, 0.08)
                self._hit(SNARE, start + beat * self.beat, 0.8)
            for step in range(8):
                hat, level = (opened, 0.2) if four and step % 2 else (closed, 0.26 if step % 2 == 0 else 0.17)
                self.mix.add(hat, start + step * self.beat / 2, level, -0.25)
                self._hit(OPEN_HAT if hat is opened else CLOSED_HAT, start + step * self.beat / 2, level * 2.5)
            if bar % 4 == 3:
                for step in range(4):
                    self.mix.add(snare, start + 3 * self.beat + step * self.beat / 4, 0.2 + 0.08 * step, 0.1)
                    self._hit(SNARE, start + 3 * self.beat + step * self.beat / 4, 0.4 + 0.15 * step)

    def _hit(self, key: int, at: float, level: float) -> None:
        if at < self.seconds - 1e-6:
            self.notes.append(Note("drums", key, at / self.beat, 0.25, level))

    def _kick(self) -> Samples:
        second = np.arange(round(0.42 * RATE)) / RATE
        phase = np.cumsum(math.tau * (46 + 130 * np.exp(-second * 34)) / RATE)
        return fading(np.sin(phase), 0.075)

    def _snare(self) -> Samples:
        rattle = highpass(hiss(0.26, self.chance), 1400)
        body = tone("triangle", 186, 0.26)
        return fading(rattle, 0.05, 0.8) + 0.5 * fading(body, 0.04)


def len_of(plan: Plan) -> int:
    """Return how many degrees make an octave in the plan's scale."""
    return 5 if plan.scale == "pentatonic" else 7


PLAYERS: dict[str, Callable[[Band], None]] = {
    "noise": Band.noise,
    "drone": Band.drone,
    "pad": Band.pad,
    "organ": Band.organ,
    "bass": Band.bass,
    "pluck": Band.pluck,
    "arpeggio": Band.arpeggio,
    "bells": Band.bells,
    "lead": Band.lead,
    "drums": Band.drums,
}
"""The players by voice."""
