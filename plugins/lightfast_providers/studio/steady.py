"""Temporal consistency: how much a film flickers, and less of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lightfast_providers.studio.film import Frame, vision
from lightfast_providers.studio.flow import flow, warped

GRID = 8
"""A frame is looked at in so many fields each way."""
_FAR = 0.4
_ALIKE = 0.4
"""Neighbours are of different shots where their fields differ by so much of full light, or are so little correlated."""

Fields = NDArray[np.float64]


def light(picture: Frame) -> Fields:
    """Return the mean light of each field of a frame and color, from 0 to 1: `GRID` × `GRID` × 3."""
    cv2 = vision()
    return np.asarray(cv2.resize(picture, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float64) / 255


def flicker(lights: Sequence[Fields]) -> float:
    """Return how much the light of the fields goes to and fro, as a part of full light.

    It is the root of the mean square of the second difference over time, within shots: what brightens or darkens
    steadily does not count.
    """
    stack = np.array(lights)
    if len(stack) < 3:
        return 0.0
    bends = stack[2:] - 2 * stack[1:-1] + stack[:-2]
    cuts = _cuts(stack)
    inside = ~cuts[1:] & ~cuts[:-1]
    return float(np.sqrt(np.mean(bends[inside] ** 2))) if inside.any() else 0.0


def _cuts(stack: Fields) -> NDArray[np.bool_]:
    """Return for each frame but the first whether a shot begins with it: flicker changes the light, not the picture."""
    if len(stack) < 2:
        return np.zeros(0, bool)
    flat = stack.reshape(len(stack), -1)
    far = np.abs(np.diff(flat, axis=0)).mean(axis=1) > _FAR
    centered = flat - flat.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centered, axis=1)
    alike = (centered[1:] * centered[:-1]).sum(axis=1) / np.maximum(1e-9, size[1:] * size[:-1])
    drawn = np.minimum(size[1:], size[:-1]) > 0.02 * np.sqrt(
        flat.shape[1]
    )  # in a plain one there is nothing to compare
    return np.asarray(far | (drawn & (alike < _ALIKE)))


def gains(lights: Sequence[Fields], radius: int) -> Fields:
    """Return by what each field of each frame is to be multiplied, so that its light follows its mean over time.

    The mean is weighted by a bell of *radius* frames and stays within a shot. A field that something moves through
    changes more than its neighbours: its gain is drawn to that of the whole frame.
    """
    stack = np.array(lights)
    shots = np.concatenate(([0], np.cumsum(_cuts(stack))))
    reach = np.arange(-2 * radius, 2 * radius + 1)
    bell = np.exp(-0.5 * (reach / max(0.5, radius)) ** 2)
    out = np.ones_like(stack)
    for index in range(len(stack)):
        near = reach + index
        usable = (near >= 0) & (near < len(stack))
        usable[usable] &= shots[near[usable]] == shots[index]
        weights = bell[usable] / bell[usable].sum()
        wanted = np.tensordot(weights, stack[near[usable]], axes=1)
        local = (wanted + 0.02) / (stack[index] + 0.02)
        whole = np.median(local, axis=(0, 1), keepdims=True)
        moved = np.abs(local - whole) > 0.15
        out[index] = np.clip(np.where(moved, whole, local), 0.4, 2.5)
    return out


def evened(picture: Frame, gain: Fields) -> NDArray[np.float32]:
    """Return *picture* with each field multiplied by its gain, smoothly from one to the next."""
    cv2 = vision()
    rows, columns = picture.shape[:2]
    wide = cv2.resize(gain.astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(picture.astype(np.float32) * wide, 0, 255), np.float32)


def steadied(frames: Iterator[Frame], every: Fields, strength: float) -> Iterator[Frame]:
    """Yield *frames* evened out by *every* gain, and mixed with what came before where that has only moved.

    *strength* from 0 to 1 is how much of the past is kept where it fits.
    """
    before: Frame | None = None
    for index, picture in enumerate(frames):
        now = evened(picture, every[min(index, len(every) - 1)])
        if before is not None and strength > 0:
            plain = (now + 0.5).astype(np.uint8)
            past = warped(before, flow(plain, before)).astype(np.float32)
            gap = np.abs(past - now).mean(axis=2, keepdims=True)
            now += strength * 0.75 * np.exp(-((gap / 14.0) ** 2)) * (past - now)
        before = np.clip(now + 0.5, 0, 255).astype(np.uint8)
        yield before
