"""Style transfer by statistics: the colors and the texture of one picture for another, with no learned model.

Color: the linear map that gives the pixels of the content the mean and the covariance of those of the style and moves
them least (Pitié and Kokaram, "The linear Monge-Kantorovitch linear colour mapping for example-based colour transfer",
2007). Texture: the light of both is taken apart by scale into a Laplacian pyramid, and the values of each band of the
content are given the distribution of those of the style (after Heeger and Bergen, "Pyramid-based texture analysis and
synthesis", 1995), with the content's own places for what is strong and weak.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightfast_providers.studio.film import Frame, vision

Colors = NDArray[np.float32]
"""Height × width × 3, from 0 to 1."""

LEVELS = 5
"""How many scales are looked at."""
_LIGHT = np.array([0.299, 0.587, 0.114], np.float32)
_MOST_GAIN = 6.0


def transferred(content: Frame, style: Frame, color: float, texture: float) -> Frame:
    """Return *content* in the style of *style*; *color* and *texture* from 0 (as it is) to 1 (as the style)."""
    target: Colors = style.astype(np.float32) / np.float32(255)
    picture: Colors = content.astype(np.float32) / np.float32(255)
    out: Colors = picture
    if color > 0:
        out = picture + np.float32(color) * (colored(picture, target) - picture)
    if texture > 0:
        out = textured(out, target, texture)
        if color > 0:  # the texture has moved the colors a little
            out = out + np.float32(color) * (colored(out, target) - out)
    return np.asarray(np.clip(out * 255 + 0.5, 0, 255), np.uint8)


def colored(picture: Colors, target: Colors) -> Colors:
    """Return *picture* with the mean and the covariance of the colors of *target*."""
    own, wanted = picture.reshape(-1, 3).astype(np.float64), target.reshape(-1, 3).astype(np.float64)
    mean_own, mean_wanted = own.mean(axis=0), wanted.mean(axis=0)
    spread_own = np.cov(own.T) + 1e-5 * np.eye(3)
    spread_wanted = np.cov(wanted.T) + 1e-5 * np.eye(3)
    root, unroot = _root(spread_own), np.linalg.inv(_root(spread_own))
    linear = unroot @ _root(root @ spread_wanted @ root) @ unroot
    out = (own - mean_own) @ linear.T + mean_wanted
    return np.asarray(out.reshape(picture.shape), np.float32)


def _root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 1e-12))) @ vectors.T)


def textured(picture: Colors, target: Colors, amount: float) -> Colors:
    """Return *picture* with the texture of *target* in its light; its colors keep their ratio to the light."""
    light = picture @ _LIGHT
    own, wanted = pyramid(light), pyramid(target @ _LIGHT)
    for level in range(min(len(own), len(wanted)) - 1):
        matched = _matched(own[level], wanted[level])
        own[level] = own[level] + amount * (matched - own[level])
    changed = joined(own)
    return np.asarray(picture + (changed - light)[..., None], np.float32)


def pyramid(light: Any) -> list[Any]:
    """Return the bands of a picture's light, the finest first; the last is what is left."""
    cv2 = vision()
    bands: list[Any] = []
    now = np.ascontiguousarray(light, np.float32)
    for _ in range(LEVELS):
        if min(now.shape) < 8:
            break
        lower = cv2.pyrDown(now)
        bands.append(now - cv2.pyrUp(lower, dstsize=(now.shape[1], now.shape[0])))
        now = lower
    return [*bands, now]


def joined(bands: list[Any]) -> Any:
    """Return the inverse of `pyramid`."""
    cv2 = vision()
    now = bands[-1]
    for band in reversed(bands[:-1]):
        now = band + cv2.pyrUp(now, dstsize=(band.shape[1], band.shape[0]))
    return now


def _matched(own: Any, wanted: Any) -> Any:
    """Return *own* with the distribution of the values of *wanted*, in their own order; gains are bounded.

    A place where the content has nothing gets nothing: noise is not made into texture.
    """
    parts = np.linspace(0, 1, 513)
    place = np.interp(own, np.quantile(own, parts), parts)
    found = np.interp(place, parts, np.quantile(wanted, parts))
    bound = _MOST_GAIN * np.abs(own) + 0.002
    return np.clip(found, -bound, bound).astype(np.float32)


def distance(one: Frame, two: Frame) -> tuple[float, float]:
    """Return how far the statistics of two pictures are apart: of color, and of texture.

    Color: the Fréchet distance of the two normal distributions, as a part of full scale. Texture: the mean difference
    of the logarithms of the root mean squares of the bands.
    """
    first, second = one.reshape(-1, 3) / 255.0, two.reshape(-1, 3) / 255.0
    spread_one, spread_two = np.cov(first.T), np.cov(second.T)
    root = _root(spread_one)
    between = float(np.trace(spread_one + spread_two - 2 * _root(root @ spread_two @ root)))
    color = float(np.sqrt(max(0.0, np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2) + between)))
    bands_one = pyramid(one.astype(np.float32) / 255 @ _LIGHT)
    bands_two = pyramid(two.astype(np.float32) / 255 @ _LIGHT)
    gaps = [
        abs(float(np.log((np.sqrt(np.mean(a**2)) + 1e-4) / (np.sqrt(np.mean(b**2)) + 1e-4))))
        for a, b in zip(bands_one[:-1], bands_two[:-1], strict=False)
    ]
    return color, float(np.mean(gaps)) if gaps else 0.0
