"""Camera moves over still pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random

import numpy as np

from lightfast_providers.studio.common import MOVES
from lightfast_providers.studio.film import Frame, vision

CLOSEST = 1.35
"""How close the camera comes: so many times as large."""


def place(move: str, when: float) -> tuple[float, float, float]:
    """Return the camera at *when* (0 to 1): its zoom, and its middle as a part of what the zoom leaves (-1 to 1)."""
    close = CLOSEST
    if move == "zoom_in":
        return 1 + (close - 1) * when, 0.0, 0.0
    if move == "zoom_out":
        return close - (close - 1) * when, 0.0, 0.0
    if move in ("pan_left", "pan_right"):
        side = 1 - 2 * when
        return close, side if move == "pan_left" else -side, 0.0
    if move in ("tilt_up", "tilt_down"):
        side = 1 - 2 * when
        return close, 0.0, side if move == "tilt_up" else -side
    if move == "orbit":
        turn = math.tau * when
        return close, 0.7 * math.cos(turn), 0.7 * math.sin(turn)
    return 1.12 + 0.1 * when, -0.5 + when, 0.25 - 0.5 * when


def eased(when: float) -> float:
    """Return *when* with a soft start and a soft end."""
    return when * when * (3 - 2 * when)


def seen(picture: Frame, width: int, height: int, move: str, when: float) -> Frame:
    """Return what the camera sees of *picture*; places between pixels are interpolated, so that nothing jitters."""
    cv2 = vision()
    zoom, across, down = place(move, when)
    rows, columns = picture.shape[:2]
    fill = max(width / columns, height / rows) * zoom
    free_x, free_y = columns - width / fill, rows - height / fill
    left, top = free_x / 2 * (1 + across), free_y / 2 * (1 + down)
    # Pixel centers are at halves: this maps the middle of a pixel we make to its place in the picture.
    matrix = np.array([[1 / fill, 0, left + 0.5 / fill - 0.5], [0, 1 / fill, top + 0.5 / fill - 0.5]])
    source = picture
    if fill < 0.6:  # much smaller: averaged first, so that fine lines do not shimmer
        source = cv2.GaussianBlur(picture, (0, 0), 0.4 / fill)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpAffine(source, matrix, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


def film(
    pictures: Sequence[Frame], width: int, height: int, count: int, fade: int, move: str, chance: Random
) -> Iterator[Frame]:
    """Yield *count* frames: each picture in its turn, with its move, the turns overlapping by *fade* frames."""
    moves = [chance.choice(MOVES) if move == "auto" else move for _ in pictures]
    parts = len(pictures)
    fade = min(fade, count // (parts + 1)) if parts > 1 else 0  # a part has room for both of its fades
    long = (count + fade * (parts - 1)) / parts
    starts = [round(index * (long - fade)) for index in range(parts)]
    for frame in range(count):
        out: Frame | None = None
        for index, start in enumerate(starts):
            end = count if index == parts - 1 else starts[index + 1] + fade
            if not start <= frame < end:
                continue
            one = seen(pictures[index], width, height, moves[index], eased((frame - start) / max(1, end - start - 1)))
            if out is None:
                out = one
            else:
                share = (frame - start + 1) / (fade + 1)
                out = np.clip(out * (1 - share) + one * share + 0.5, 0, 255).astype(np.uint8)
        if out is not None:
            yield out
