"""The parts of a sound: waves, envelopes, filters and a mix of two channels.

Samples are floats around 0, kept in `array("d")`; 44,100 of them make a second. Nothing here
is fast, so everything is made once and laid into the mix as often as it is played.
"""

from __future__ import annotations

import io
import math
import struct
import wave
from array import array
from random import Random

RATE = 44_100
"""Samples per second."""
PEAK = 0.89
"""The loudest sample of a finished sound: 1 dB below full scale."""

Samples = array  # of "d"

_TABLE = 2048


def _table(partials: dict[int, float]) -> list[float]:
    """Return one period of a wave made of *partials* (number → level), at full level, and one sample more."""
    raw = [
        sum(level * math.sin(math.tau * number * step / _TABLE) for number, level in partials.items())
        for step in range(_TABLE)
    ]
    top = max(map(abs, raw))
    return [value / top for value in raw] + [raw[0] / top]


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


_TABLES: dict[tuple[str, int], list[float]] = {}


def _wave_for(shape: str, hertz: float) -> list[float]:
    """Return a table whose partials all stay below half the sample rate; few sizes, so that they are shared."""
    most = 1
    while most < 32 and hertz * most * 2 < RATE * 0.42:
        most *= 2
    key = (shape, most)
    if key not in _TABLES:
        _TABLES[key] = _table(_partials(shape, most))
    return _TABLES[key]


def tone(shape: str, hertz: float, seconds: float, *, phase: float = 0.0, vibrato: float = 0.0) -> Samples[float]:
    """Return a steady tone; *vibrato* is how far it sways, as a part of its pitch."""
    table = _wave_for(shape, hertz)
    step = hertz * _TABLE / RATE
    count = round(seconds * RATE)
    position = phase * _TABLE
    out = array("d", bytes(8 * count))
    if not vibrato:
        for index in range(count):
            out[index] = table[int(position) % _TABLE]
            position += step
        return out
    sway = math.tau * 5.1 / RATE
    for index in range(count):
        out[index] = table[int(position) % _TABLE]
        position += step * (1 + vibrato * math.sin(sway * index))
    return out


def hiss(seconds: float, chance: Random) -> Samples[float]:
    """Return white noise."""
    count = round(seconds * RATE)
    raw = array("h", chance.randbytes(2 * count))
    return array("d", [value / 32768 for value in raw])


def plucked(hertz: float, seconds: float, chance: Random, *, bright: float = 0.5) -> Samples[float]:
    """Return a plucked string after Karplus and Strong: noise that runs around a loop and loses its edge."""
    length = RATE / hertz
    whole = max(2, int(length - 0.5))
    part = length - 0.5 - whole
    loop = hiss((whole + 1) / RATE, chance)[: whole + 1]
    while len(loop) < whole + 1:
        loop.append(0.0)
    loop = lowpass(loop, 800 + 9000 * bright)
    keep = 0.5 * (0.992 + 0.0075 * min(1.0, 220 / hertz) ** 0.3)
    count = round(seconds * RATE)
    out = array("d", bytes(8 * count))
    size = len(loop)
    index = 0
    last = 0.0
    for sample in range(count):
        following = index + 1 if index + 1 < size else 0
        value = loop[index]
        averaged = keep * (value + loop[following])
        loop[index] = averaged * (1 - part * 0.5) + last * part * 0.5
        last = averaged
        out[sample] = value
        index = following
    return out


def lowpass(samples: Samples[float], hertz: float, end: float | None = None) -> Samples[float]:
    """Return *samples* without what is above *hertz* (12 dB an octave), which glides to *end* where given."""
    out = array("d", samples)
    one = two = 0.0
    start = 1 - math.exp(-math.tau * min(hertz, RATE / 2.2) / RATE)
    stop = start if end is None else 1 - math.exp(-math.tau * min(end, RATE / 2.2) / RATE)
    slope = (stop - start) / max(1, len(samples))
    amount = start
    for index, value in enumerate(samples):
        one += amount * (value - one)
        two += amount * (one - two)
        out[index] = two
        amount += slope
    return out


def highpass(samples: Samples[float], hertz: float) -> Samples[float]:
    """Return *samples* without what is below *hertz*."""
    low = lowpass(samples, hertz)
    return array("d", [value - under for value, under in zip(samples, low, strict=True)])


def shaped(
    samples: Samples[float], attack: float, decay: float, sustain: float, release: float, level: float = 1.0
) -> Samples[float]:
    """Return *samples* under an envelope: times in seconds, *sustain* from 0 to 1; it ends in silence."""
    count = len(samples)
    rise, fall, end = max(1, round(attack * RATE)), max(1, round(decay * RATE)), max(1, round(release * RATE))
    out = array("d", samples)
    for index in range(count):
        if index < rise:
            now = index / rise
        elif index < rise + fall:
            now = 1 - (1 - sustain) * (index - rise) / fall
        else:
            now = sustain
        left = count - 1 - index
        if left < end:
            now *= left / end
        out[index] *= now * level
    return out


def fading(samples: Samples[float], half: float, level: float = 1.0) -> Samples[float]:
    """Return *samples* dying away: half as loud every *half* seconds, without a click at either end."""
    factor = 0.5 ** (1 / (half * RATE))
    now = level
    count = len(samples)
    edge = min(count, 220)
    out = array("d", samples)
    for index in range(count):
        out[index] *= now
        now *= factor
    for index in range(edge):
        out[count - 1 - index] *= index / edge
    for index in range(min(count, 40)):
        out[index] *= index / 40
    return out


class Mix:
    """Two channels of a given length."""

    def __init__(self, seconds: float) -> None:
        self.count = round(seconds * RATE)
        self.left = array("d", bytes(8 * self.count))
        self.right = array("d", bytes(8 * self.count))

    def add(self, samples: Samples[float], at: float, level: float = 1.0, pan: float = 0.0) -> None:
        """Add *samples* from *at* seconds on; *pan* from -1 (left) to 1. What exceeds the end is cut."""
        start = round(at * RATE)
        if start >= self.count:
            return
        angle = (pan + 1) * math.pi / 4
        left, right = level * math.cos(angle), level * math.sin(angle)
        part = samples[: self.count - start]
        for channel, gain in ((self.left, left), (self.right, right)):
            span = slice(start, start + len(part))
            channel[span] = array("d", [old + gain * new for old, new in zip(channel[span], part, strict=True)])

    def echo(self, delay: float, feedback: float, level: float) -> None:
        """Add echoes that cross from side to side."""
        shift = round(delay * RATE)
        gain = level
        source = (self.left, self.right)
        for repeat in range(1, 6):
            if shift * repeat >= self.count or gain < 0.02:
                break
            taken = [
                channel[: self.count - shift * repeat] for channel in (source if repeat % 2 == 0 else source[::-1])
            ]
            for channel, dry in zip((self.left, self.right), taken, strict=True):
                span = slice(shift * repeat, self.count)
                channel[span] = array("d", [old + gain * new for old, new in zip(channel[span], dry, strict=True)])
            gain *= feedback

    def room(self, seconds: float, level: float) -> None:
        """Add the sound of a room, after Schroeder: four combs and two all-passes for each side."""
        for channel, spread in ((self.left, 0), (self.right, 23)):
            wet = array("d", bytes(8 * self.count))
            for base in (1116, 1277, 1422, 1617):
                _comb(channel, wet, base + spread, 0.001 ** ((base + spread) / RATE / seconds))
            for base in (556, 225):
                wet = _allpass(wet, base + spread, 0.5)
            gain = level * 0.25
            channel[:] = array("d", [dry + gain * far for dry, far in zip(channel, wet, strict=True)])

    def finish(self, fade_in: float, fade_out: float) -> None:
        """Fade both ends to silence, take away any offset, and bring the peak to `PEAK`."""
        rise, fall = max(1, round(fade_in * RATE)), max(1, round(fade_out * RATE))
        for channel in (self.left, self.right):
            middle = sum(channel) / max(1, self.count)
            for index in range(self.count):
                channel[index] -= middle
            for index in range(min(rise, self.count)):
                channel[index] *= index / rise
            for index in range(min(fall, self.count)):
                channel[self.count - 1 - index] *= index / fall
        top = max(max(map(abs, self.left), default=0.0), max(map(abs, self.right), default=0.0))
        if top:
            scale = PEAK / top
            self.left = array("d", [value * scale for value in self.left])
            self.right = array("d", [value * scale for value in self.right])

    def wav(self, comment: str) -> bytes:
        """Return it as WAV, 16 bits, stereo, with *comment* in an INFO chunk."""
        frames = array("h", bytes(4 * self.count))
        frames[0::2] = array("h", [round(value * 32767) for value in self.left])
        frames[1::2] = array("h", [round(value * 32767) for value in self.right])
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(_little_endian(frames))
        return _with_comment(buffer.getvalue(), comment)


def _comb(source: Samples[float], out: Samples[float], length: int, feedback: float) -> None:
    line = [0.0] * length
    index = 0
    damped = 0.0
    for sample, value in enumerate(source):
        old = line[index]
        damped += 0.72 * (old - damped)
        line[index] = value + damped * feedback
        out[sample] += old
        index += 1
        if index == length:
            index = 0


def _allpass(source: Samples[float], length: int, gain: float) -> Samples[float]:
    line = [0.0] * length
    out = array("d", source)
    index = 0
    for sample, value in enumerate(source):
        old = line[index]
        out[sample] = old - gain * value
        line[index] = value + gain * old
        index += 1
        if index == length:
            index = 0
    return out


def _little_endian(frames: array[int]) -> bytes:
    if struct.pack("=h", 1) != struct.pack("<h", 1):
        frames = array("h", frames)
        frames.byteswap()
    return frames.tobytes()


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
