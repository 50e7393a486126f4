"""Measures what is heard: loudness, onsets, tempo, pitch and the classes of pitch, from samples of 44,100 Hz."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
Sound = NDArray[np.float64]


def read_wav(content: bytes) -> tuple[Sound, int]:
    """Return the samples of a 16-bit WAV file, one row a channel, from -1 to 1, and their rate."""
    with wave.open(io.BytesIO(content)) as file:
        raw = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768
        return raw.reshape(-1, file.getnchannels()).T, file.getframerate()


def write_wav(samples: Sound, rate: int = RATE) -> bytes:
    """Return the inverse of `read_wav`."""
    rows = np.atleast_2d(samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(len(rows))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(rows.T * 32767, -32768, 32767).round().astype("<i2").tobytes())
    return buffer.getvalue()


def sine(hertz: float, seconds: float, level: float = 0.5, rate: int = RATE) -> Sound:
    """Return a sine."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def rms(samples: Sound) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0


def level_at(samples: Sound, hertz: float, rate: int = RATE) -> float:
    """Return how loud a frequency is, as the amplitude of its sine."""
    when = np.arange(samples.size) / rate
    window = np.hanning(samples.size)
    return float(2 * abs(np.sum(samples * window * np.exp(-2j * np.pi * hertz * when))) / np.sum(window))


def pitch(samples: Sound, rate: int = RATE) -> float:
    """Return the strongest frequency in Hz, between the bins of the spectrum by a parabola."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    peak = int(np.argmax(spectrum[1:-1])) + 1
    low, mid, high = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    return float((peak + (low - high) / (2 * (low - 2 * mid + high))) * rate / samples.size)


def tempo_fits(samples: Sound, bpm: float, rate: int = RATE) -> float:
    """Return how much more the onsets agree after one beat of *bpm* than after other times (1: no more)."""
    hop = 441
    frames = samples[: samples.size // hop * hop].reshape(-1, hop)
    power = np.log1p(1000 * np.mean(frames**2, axis=1))
    onsets = np.maximum(0, np.diff(power))
    onsets -= onsets.mean()
    found = np.correlate(onsets, onsets, "full")[onsets.size - 1 :]
    lag = 60 / bpm * rate / hop
    here = max(found[round(lag) - 1 : round(lag) + 2])
    between = [max(found[round(lag * part) - 1 : round(lag * part) + 2]) for part in (0.63, 0.81, 1.19, 1.37)]
    return float(here / max(1e-9, *between))


def chroma(samples: Sound, rate: int = RATE) -> NDArray[np.float64]:
    """Return the part of the energy from 60 to 2000 Hz in each of the twelve classes of pitch, C first."""
    size = 16_384
    total = np.zeros(12)
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    audible = (frequencies > 60) & (frequencies < 2000)
    classes = np.round(69 + 12 * np.log2(frequencies[audible] / 440)).astype(int) % 12
    for start in range(0, max(1, samples.size - size), size // 2):
        part = samples[start : start + size]
        if part.size < size:
            break
        spectrum = np.abs(np.fft.rfft(part * np.hanning(size)))[audible]
        peaks = np.zeros_like(spectrum)
        inner = (spectrum[1:-1] > spectrum[:-2]) & (spectrum[1:-1] > spectrum[2:])
        peaks[1:-1][inner] = spectrum[1:-1][inner] ** 2
        np.add.at(total, classes, peaks)
    return np.asarray(total / max(1e-12, total.sum()))


def seam(samples: Sound) -> float:
    """Return how much the sound jumps where its end meets its beginning, against the strongest jumps nearby (1)."""
    around: Any = np.concatenate([samples[-2000:], samples[:2000]])
    bend = np.abs(np.diff(around, 2))
    here = bend[1996:2001].max()
    rest = np.concatenate([bend[:1990], bend[2010:]])
    return float(here / max(1e-9, rest.max()))
