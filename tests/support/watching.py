"""Test films whose every frame is known, and what is measured on films."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
_BITS = 10


def textured(rows: int, columns: int, seed: int) -> NDArray[np.float64]:
    """Return a soft random texture, from 0 to 1."""
    chance = np.random.default_rng(seed)
    out = np.zeros((rows, columns))
    for size, level in ((4, 1.0), (9, 0.8), (24, 0.5), (60, 0.3)):
        grid = chance.random((max(2, rows // size + 2), max(2, columns // size + 2)))
        out += level * cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_CUBIC)
    out -= out.min()
    return np.asarray(out / out.max())


def moving(count: int, rows: int = 120, columns: int = 160, *, steps: float = 1.0) -> list[Frame]:
    """Return *count* frames of a known scene: a ground that moves one way, a ball another, a plate that turns.

    *steps* is how much time passes from one to the next: with 0.5 it is the same film with twice the frames.
    """
    ground = textured(rows + 120, columns + 240, 1)
    skin = textured(rows, columns, 2)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
    out: list[Frame] = []
    for index in range(count):
        when = index * steps
        move = np.array([[1, 0, -20 - 2.5 * when], [0, 1, -20 - 0.8 * when]], np.float32)
        picture = cv2.warpAffine(ground, move, (columns, rows), flags=cv2.INTER_CUBIC)
        color = np.stack((picture * 0.9, picture * 0.7 + 0.1, picture * 0.4 + 0.2), axis=2)
        middle = (30 + 4.0 * when, rows / 2 + 18 * np.sin(0.25 * when))
        inside = np.clip(16.5 - np.hypot(x - middle[0], y - middle[1]), 0, 1)[..., None]
        shift = np.array([[1, 0, middle[0] - 40], [0, 1, middle[1] - 40]], np.float32)
        ball = cv2.warpAffine(skin, shift, (columns, rows), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        paint = np.stack((0.2 + 0.3 * ball, 0.3 + 0.6 * ball, 0.9 * ball + 0.1), axis=2)
        color = color * (1 - inside) + paint * inside
        out.append(np.clip(color * 255, 0, 255).astype(np.uint8))
    return out


def numbered(count: int, rows: int = 96, columns: int = 160, *, base: int = 0) -> list[Frame]:
    """Return *count* frames that each show their number, from *base*, as black and white blocks."""
    out: list[Frame] = []
    for index in range(base, base + count):
        frame = np.full((rows, columns, 3), 128, np.uint8)
        for bit in range(_BITS):
            block = slice(bit * (columns // _BITS), (bit + 1) * (columns // _BITS))
            frame[: rows // 2, block] = 235 if index >> bit & 1 else 20
        out.append(frame)
    return out


def number_of(frame: Frame) -> int:
    """Return the number that a frame of `numbered` shows."""
    columns, rows = frame.shape[1], frame.shape[0]
    width = columns // _BITS
    levels = [frame[4 : rows // 2 - 4, bit * width + 3 : (bit + 1) * width - 3].mean() for bit in range(_BITS)]
    return sum((level > 128) << bit for bit, level in enumerate(levels))


def write_film(
    frames: Sequence[Frame], fps: int = 25, sound: NDArray[Any] | None = None, *, exact: bool = True
) -> bytes:
    """Return a film: *exact* ones lose nothing (FFV1 in Matroska); *sound* is a row of samples of 44,100 Hz."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska" if exact else "mp4") as file:
        stream: Any = file.add_stream("ffv1" if exact else "libx264", rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0" if exact else "yuv420p"
        voice: Any = (
            file.add_stream("pcm_s16le" if exact else "aac", rate=44_100, layout="mono") if sound is not None else None
        )
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, fps)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
        if sound is not None:
            kind = "s16" if exact else "fltp"
            raw = (sound * 32767).astype("<i2") if exact else sound.astype(np.float32)
            for start in range(0, raw.size, 1024):
                piece = av.AudioFrame.from_ndarray(raw[None, start : start + 1024], format=kind, layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = 44_100, start, Fraction(1, 44_100)
                file.mux(voice.encode(piece))
            file.mux(voice.encode(None))
    return buffer.getvalue()


def read_film(content: bytes) -> tuple[list[Frame], float]:
    """Return all frames of a film, and how many there are a second."""
    with av.open(io.BytesIO(content), "r") as file:
        stream = file.streams.video[0]
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in file.decode(stream)]
        return frames, float(stream.average_rate or 0)


def psnr(one: Frame, two: Frame) -> float:
    """Return how alike two frames are, in dB: the peak over the noise."""
    gap = float(np.mean((one.astype(np.float64) - two.astype(np.float64)) ** 2))
    return 10 * float(np.log10(255**2 / max(gap, 1e-9)))
