"""The parts of a sound: waves, envelopes, filters and a mix of two channels.

Samples are floats around 0 in an array; 44,100 of them make a second. What feeds back runs in blocks, so that the
interpreter is not held for long: other threads have shows to keep up.
"""

from __future__ import annotations

import io
import math
import struct
import wave
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
"""Samples per second."""
PEAK = 0.89
"""The loudest sample of a finished sound: 1 dB below full scale."""

Samples = NDArray[np.float64]

_TABLE = 2048


def _table(partials: dict[int, float]) -> Samples:
    """Return one period of a wave made of *partials* (number → level), at full level."""
    turn = math.tau * np.arange(_TABLE) / _TABLE
    raw = sum((level * np.sin(number * turn) for number, level in partials.items()), np.zeros(_TABLE))
    return np.asarray(raw / np.abs(raw).max())


def _partials(shape: str, most: int) -> dict[int, float]:
    if shape == "sine":
        return {1: 1.0}
    if shape == "triangle":
        return {number: (-1) ** (number // 2) / number**2 for number in range(1, most + 1, 2)}
    if shape == "square":
        return {number: 1 / number for number in range(1, most + 1, 2)}
    if shape == "organ":
        return {1: 1.0, 2: 0.6, 3: 0.35, 4: 0.3, 6: 0.2, 8: 0.16}
    return {number: 1 / number for number in range(1, most + 1)}


_TABLES: dict[tuple[str, int], Samples] = {}


def _wave_for(shape: str, hertz: float) -> Samples:
    """Return a table whose partials all stay below half the sample rate; few sizes, so that they are shared."""
    most = 1
    while most < 32 and hertz * most * 2 < RATE * 0.42:
        most *= 2
    key = (shape, most)
    if key not in _TABLES:
        _TABLES[key] = _table(_partials(shape, most))
    return _TABLES[key]


def tone(shape: str, hertz: float, seconds: float, *, phase: float = 0.0, vibrato: float = 0.0) -> Samples:
    """Return a steady tone; *vibrato* is how far it sways, as a part of its pitch."""
    table = _wave_for(shape, hertz)
    step = hertz * _TABLE / RATE
    when = np.arange(round(seconds * RATE))
    position = phase * _TABLE + step * when
    if vibrato:
        sway = np.cumsum(np.sin(math.tau * 5.1 / RATE * when))
        position[1:] += step * vibrato * sway[:-1]
    return np.asarray(table[position.astype(np.int64) % _TABLE])


def hiss(seconds: float, chance: Random) -> Samples:
    """Return white noise."""
    count = round(seconds * RATE)
    return np.asarray(np.frombuffer(chance.randbytes(2 * count), "<i2") / 32768)


def plucked(hertz: float, seconds: float, chance: Random, *, bright: float = 0.5) -> Samples:
    """Return a plucked string after Karplus and Strong: noise that runs around a loop and loses its edge."""
    length = RATE / hertz
    whole = max(2, int(length - 0.5))
    part = length - 0.5 - whole
    loop = np.zeros(whole + 1)
    noise = hiss((whole + 1) / RATE, chance)[: whole + 1]
    loop[: noise.size] = noise
    loop = lowpass(loop, 800 + 9000 * bright)
    keep = 0.5 * (0.992 + 0.0075 * min(1.0, 220 / hertz) ** 0.3)
    count = round(seconds * RATE)
    out = np.empty(-(-count // loop.size) * loop.size)
    last = 0.0
    for start in range(0, out.size, loop.size):
        out[start : start + loop.size] = loop
        # Each place takes the mean with the next one; the last one's next is the first, which is new by then.
        averaged = np.empty_like(loop)
        averaged[:-1] = keep * (loop[:-1] + loop[1:])
        before = np.concatenate(([last], averaged[:-1]))
        first = averaged[0] * (1 - part * 0.5) + last * part * 0.5
        averaged[-1] = keep * (loop[-1] + first)
        loop = averaged * (1 - part * 0.5) + before * part * 0.5
        last = float(averaged[-1])
    return out[:count]


def _smooth(samples: Samples, amount: Samples | float, last: float = 0.0) -> Samples:
    """Return *samples* after `y += amount * (x - y)`, from *last* on.

    In blocks short enough that the product of what is kept stays within a float: y is that product times the sum of
    what was added, each over the product up to then.
    """
    amounts = np.broadcast_to(np.asarray(amount, np.float64), samples.shape)
    if not samples.size:
        return samples
    most = float(amounts.max())
    block = max(8, int(-400 / math.log(max(1e-12, 1 - most)))) if most > 0 else samples.size
    out = np.empty_like(samples)
    for start in range(0, samples.size, block):
        span = slice(start, start + block)
        kept = np.cumprod(1 - amounts[span])
        out[span] = kept * (last + np.cumsum(amounts[span] * samples[span] / kept))
        last = float(out[min(start + block, samples.size) - 1])
    return out


def lowpass(samples: Samples, hertz: float, end: float | None = None) -> Samples:
    """Return *samples* without what is above *hertz* (12 dB an octave), which glides to *end* where given."""
    start = 1 - math.exp(-math.tau * min(hertz, RATE / 2.2) / RATE)
    if end is None:
        return _smooth(_smooth(samples, start), start)
    stop = 1 - math.exp(-math.tau * min(end, RATE / 2.2) / RATE)
    amounts: Samples = start + (stop - start) / max(1, samples.size) * np.arange(samples.size, dtype=np.float64)
    return _smooth(_smooth(samples, amounts), amounts)


def highpass(samples: Samples, hertz: float) -> Samples:
    """Return *samples* without what is below *hertz*."""
    return samples - lowpass(samples, hertz)


def shaped(
    samples: Samples, attack: float, decay: float, sustain: float, release: float, level: float = 1.0
) -> Samples:
    """Return *samples* under an envelope: times in seconds, *sustain* from 0 to 1; it ends in silence."""
    rise, fall, end = max(1, round(attack * RATE)), max(1, round(decay * RATE)), max(1, round(release * RATE))
    index = np.arange(samples.size)
    now = np.where(index < rise, index / rise, np.maximum(sustain, 1 - (1 - sustain) * (index - rise) / fall))
    return np.asarray(samples * now * np.minimum(1.0, index[::-1] / end) * level)


def fading(samples: Samples, half: float, level: float = 1.0) -> Samples:
    """Return *samples* dying away: half as loud every *half* seconds, without a click at either end."""
    index = np.arange(samples.size)
    out = samples * level * 0.5 ** (index / (half * RATE))
    return np.asarray(out * np.minimum(1.0, index[::-1] / min(max(1, samples.size), 220)) * np.minimum(1.0, index / 40))


class Mix:
    """Two channels of a given length; of a *loop* what rings on after the end is heard at the beginning."""

    def __init__(self, seconds: float, *, loop: bool = False) -> None:
        self.loop = loop
        self.count = round(seconds * RATE)
        self.left = np.zeros(self.count)
        self.right = np.zeros(self.count)

    def add(self, samples: Samples, at: float, level: float = 1.0, pan: float = 0.0) -> None:
        """Add *samples* from *at* seconds on; *pan* from -1 (left) to 1. What exceeds the end is cut.

        In a loop it goes on at the beginning instead.
        """
        start = round(at * RATE)
        if self.loop:
            start %= max(1, self.count)
            while samples.size > self.count - start:
                self._lay(samples[: self.count - start], start, level, pan)
                samples, start = samples[self.count - start :], 0
        elif start >= self.count:
            return
        self._lay(samples[: self.count - start], start, level, pan)

    def _lay(self, part: Samples, start: int, level: float, pan: float) -> None:
        angle = (pan + 1) * math.pi / 4
        left, right = level * math.cos(angle), level * math.sin(angle)
        for channel, gain in ((self.left, left), (self.right, right)):
            channel[start : start + part.size] += gain * part

    def echo(self, delay: float, feedback: float, level: float) -> None:
        """Add echoes that cross from side to side."""
        if self.loop:
            self._echo_around(delay, feedback, level)
            return
        shift = round(delay * RATE)
        gain = level
        source = (self.left, self.right)
        for repeat in range(1, 6):
            if shift * repeat >= self.count or gain < 0.02:
                break
            taken = [
                channel[: self.count - shift * repeat].copy()
                for channel in (source if repeat % 2 == 0 else source[::-1])
            ]
            for channel, dry in zip((self.left, self.right), taken, strict=True):
                channel[shift * repeat :] += gain * dry
            gain *= feedback

    def _echo_around(self, delay: float, feedback: float, level: float) -> None:
        dry = (self.left.copy(), self.right.copy())
        gain = level
        for repeat in range(1, 6):
            if gain < 0.02:
                break
            shift = round(delay * RATE) * repeat % max(1, self.count)
            taken = dry if repeat % 2 == 0 else dry[::-1]
            for channel, source in zip((self.left, self.right), taken, strict=True):
                channel[:] += gain * np.roll(source, shift)
            gain *= feedback

    def room(self, seconds: float, level: float) -> None:
        """Add the sound of a room, after Schroeder: four combs and two all-passes for each side."""
        # A loop is heard before: as often as the room remembers, so that its beginning rings with its end.
        before = math.ceil(seconds * RATE / self.count) if self.loop and self.count else 0
        for channel, spread in ((self.left, 0), (self.right, 23)):
            heard = np.tile(channel, before + 1)
            wet = np.zeros(heard.size)
            for base in (1116, 1277, 1422, 1617):
                wet += _comb(heard, base + spread, 0.001 ** ((base + spread) / RATE / seconds))
            for base in (556, 225):
                wet = _allpass(wet, base + spread, 0.5)
            channel[:] += level * 0.25 * wet[before * self.count :]

    def finish(self, fade_in: float, fade_out: float) -> None:
        """Fade both ends to silence (not those of a loop), take away any offset, and bring the peak to `PEAK`."""
        index = np.arange(self.count)
        for channel in (self.left, self.right):
            channel[:] -= channel.mean() if self.count else 0.0
            if not self.loop:
                channel[:] *= np.minimum(1.0, index / max(1, round(fade_in * RATE)))
                channel[:] *= np.minimum(1.0, index[::-1] / max(1, round(fade_out * RATE)))
        top = max((float(np.abs(channel).max()) for channel in (self.left, self.right) if self.count), default=0.0)
        if top:
            self.left *= PEAK / top
            self.right *= PEAK / top

    def wav(self, comment: str) -> bytes:
        """Return it as WAV, 16 bits, stereo, with *comment* in an INFO chunk."""
        frames: Any = np.column_stack((self.left, self.right)) * 32767
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(frames.round().astype("<i2").tobytes())
        return _with_comment(buffer.getvalue(), comment)


def _comb(source: Samples, length: int, feedback: float) -> Samples:
    """Return what a comb with a damped way back makes of *source*; a block is as long as its line."""
    line = np.zeros(length)
    out = np.empty(source.size)
    damped = 0.0
    for start in range(0, source.size, length):
        part = source[start : start + length]
        old = line[: part.size]
        out[start : start + part.size] = old
        way = _smooth(old, 0.72, damped)
        damped = float(way[-1])
        line = part + way * feedback
    return out


def _allpass(source: Samples, length: int, gain: float) -> Samples:
    line = np.zeros(length)
    out = np.empty(source.size)
    for start in range(0, source.size, length):
        part = source[start : start + length]
        old = line[: part.size]
        out[start : start + part.size] = old - gain * part
        line = part + gain * old
    return out


def _with_comment(data: bytes, comment: str) -> bytes:
    """Return a WAV file with a LIST INFO chunk at its end that holds *comment* and the maker."""
    entries = b""
    for tag, text in ((b"ICMT", comment), (b"ISFT", "Lightfast studio")):
        body = text.encode("utf-8", "replace") + b"\0"
        body += b"\0" * (len(body) % 2)
        entries += tag + struct.pack("<I", len(body)) + body
    chunk = b"LIST" + struct.pack("<I", len(entries) + 4) + b"INFO" + entries
    whole = data + chunk
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
