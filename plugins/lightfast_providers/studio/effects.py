"""What can be done to a sound: filters, dynamics, time and pitch, room and ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightfast_providers.studio.hearing import Channels, through
from lightfast_providers.studio.sound import PEAK, RATE, Mix

MIDDLE = (200.0, 1000.0, 4000.0)
"""Where the three bands of the equalizer are, in Hz: two shelves and a bell."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it is called while it works, and what it does."""

    name: str
    filters: tuple[tuple[str, str], ...] = ()


def stages(settings: Mapping[str, Any]) -> list[Stage]:
    """Return the stages that *settings* ask for and filters of FFmpeg do, in the order they are run."""
    found: list[Stage] = []
    cuts = [(name, f"f={settings[name]:g}:p=2") for name in ("highpass", "lowpass") if settings[name] > 0]
    low, bell, high = (settings[name] for name in ("low_db", "mid_db", "high_db"))
    bands = [
        *([("lowshelf", f"f={MIDDLE[0]:g}:w=0.7:t=q:g={low:g}")] if low else []),
        *([("equalizer", f"f={MIDDLE[1]:g}:w=0.8:t=q:g={bell:g}")] if bell else []),
        *([("highshelf", f"f={MIDDLE[2]:g}:w=0.7:t=q:g={high:g}")] if high else []),
    ]
    if cuts or bands:
        found.append(Stage("equalizing", (*cuts, *bands)))
    if settings["threshold_db"] < 0 and settings["ratio"] > 1:
        level = 10 ** (settings["threshold_db"] / 20)
        times = f"attack={settings['attack_ms']:g}:release={settings['release_ms']:g}"
        arguments = f"threshold={level:.6f}:ratio={settings['ratio']:g}:{times}:knee=1:detection=peak"
        found.append(Stage("compressing", (("acompressor", arguments),)))
    if settings["pitch"]:
        factor = 2 ** (settings["pitch"] / 12)
        turned = (("asetrate", str(round(RATE * factor))), ("aresample", str(RATE)))
        found.append(Stage("shifting the pitch", (*turned, *_tempo(round(RATE * factor) / RATE, inverse=True))))
    if settings["stretch"] != 1:
        found.append(Stage("stretching", _tempo(settings["stretch"], inverse=True)))
    return found


def _tempo(factor: float, *, inverse: bool) -> tuple[tuple[str, str], ...]:
    """Return filters that make a sound last *factor* times as long; each may only halve or double it."""
    speed = 1 / factor if inverse else factor
    parts: list[tuple[str, str]] = []
    while not 0.5 <= speed <= 2.0:
        step = 0.5 if speed < 0.5 else 2.0
        parts.append(("atempo", f"{step:g}"))
        speed /= step
    return (*parts, ("atempo", f"{speed:.9f}"))


def lasting(factor: float) -> Stage:
    """Return the stage that makes a sound last *factor* times as long, at the same pitch."""
    return Stage("stretching", _tempo(factor, inverse=True))


def run(channels: Channels, stage: Stage) -> Channels:
    """Return *channels* after a stage of filters."""
    return through(channels, stage.filters)


def echo_of_room(channels: Channels, seconds: float, amount: float) -> Channels:
    """Return *channels* in a room that falls by 60 dB within *seconds*, and its ringing; *amount* from 0 to 1."""
    longer = np.pad(channels.astype(np.float64), ((0, 0), (0, round(seconds * RATE))))
    mix = Mix(longer.shape[1] / RATE)
    mix.left[:], mix.right[:] = longer
    mix.room(seconds, 2 * amount)
    return np.stack((mix.left, mix.right)).astype(np.float32)


def finished(channels: Channels, settings: Mapping[str, Any]) -> Channels:
    """Return *channels* turned round, faded, and at the level that *settings* ask for; nothing exceeds full scale."""
    out = channels[:, ::-1].copy() if settings["reverse"] else channels.copy()
    index = np.arange(out.shape[1])
    for name, order in (("fade_in", index), ("fade_out", index[::-1])):
        if settings[name] > 0:
            out *= np.minimum(1.0, order / max(1.0, settings[name] * RATE)).astype(np.float32)
    out *= np.float32(10 ** (settings["gain_db"] / 20))
    top = float(np.abs(out).max()) if out.size else 0.0
    if top and (settings["normalize"] or top > 1):
        out *= np.float32(PEAK / top)
    return out


def wav(channels: Channels, said: str) -> bytes:
    """Return *channels* as a WAV file that says what was done."""
    mix = Mix(channels.shape[1] / RATE)
    mix.left, mix.right = channels.astype(np.float64)
    return mix.wav(said)
