"""Optical flow: where each pixel goes from one frame to the next, and the frames in between."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightfast_providers.studio.film import Frame, vision

Field = NDArray[np.float32]
"""Height × width × 2: how far each pixel goes, in pixels, to the right and down."""

CUT = 0.32
"""Two frames are of different shots where, after the flow, they still differ by so much of their contrast."""


def flow(one: Frame, two: Frame) -> Field:
    """Return the flow from *one* to *two* (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016)."""
    cv2 = vision()
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = finder.calc(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), cv2.cvtColor(two, cv2.COLOR_RGB2GRAY), None)
    return np.asarray(found, np.float32)


def warped(picture: NDArray[Any], field: Field) -> NDArray[Any]:
    """Return what *picture* shows at the places that *field* points to from each pixel."""
    cv2 = vision()
    rows, columns = field.shape[:2]
    x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    x += field[..., 0]
    y += field[..., 1]
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


class Between:
    """The frames between two; *is_cut* says that they are of different shots, and nothing lies between them."""

    def __init__(self, one: Frame, two: Frame) -> None:
        self._one, self._two = one, two
        self._there, self._back = flow(one, two), flow(two, one)
        self.is_cut = _differ(one, warped(two, self._there)) > CUT
        # Who goes there and does not come back is hidden in the other frame.
        self._seen_one = _sure(self._there, self._back)
        self._seen_two = _sure(self._back, self._there)

    def at(self, when: float) -> Frame:
        """Return the frame at *when*, from 0 (the first) to 1 (the second); at a cut the nearer one.

        The flows to both ends are put together from those between them, and both frames are warped and mixed by time
        and by where each can be seen, after Jiang et al., "Super SloMo" (2018), equations 4 to 7, without its networks.
        """
        if self.is_cut:
            return self._one if when < 0.5 else self._two
        to_one = -(1 - when) * when * self._there + when * when * self._back
        to_two = (1 - when) * (1 - when) * self._there - when * (1 - when) * self._back
        first, second = warped(self._one, to_one), warped(self._two, to_two)
        weight_one = (1 - when) * warped(self._seen_one, to_one) + 1e-4
        weight_two = when * warped(self._seen_two, to_two) + 1e-4
        share = (weight_one / (weight_one + weight_two))[..., None]
        mixed = first.astype(np.float32) * share + second.astype(np.float32) * (1 - share)
        return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def _sure(there: Field, back: Field) -> NDArray[np.float32]:
    """Return from 0 to 1 how well each pixel comes back to where it was."""
    gap = np.linalg.norm(there + warped(back, there), axis=2)
    return np.asarray(np.exp(-((gap / 2.0) ** 2)), np.float32)


def _differ(one: Frame, two: NDArray[Any]) -> float:
    first, second = one.astype(np.float32).mean(axis=2), two.astype(np.float32).mean(axis=2)
    contrast = max(8.0, float(first.std() + second.std()))
    return float(np.abs(first - second).mean() / contrast)
