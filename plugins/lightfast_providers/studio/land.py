"""Land: mountains, hills and dunes, from far to near."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random

from PIL import Image, ImageChops, ImageDraw

from lightfast_providers.studio.canvas import Point, shifted, soften
from lightfast_providers.studio.color import mix
from lightfast_providers.studio.scene import Place, Scene, swell


def _layer(scene: Scene, ridge: Sequence[Point], depth: float, *, mist: float = 0.35) -> Image.Image:
    canvas = scene.canvas
    mask = canvas.polygon([(-0.01, 1.1), *ridge, (1.01, 1.1)])
    color = scene.tone(depth)
    canvas.lay(color, mask)
    if mist:
        high = min(y for _, y in ridge)
        rising = ImageChops.multiply(mask, canvas.fade(high + 0.05, high + 0.34))
        canvas.lay(mix(scene.haze, color, 0.25), rising, mist * (1 - depth * 0.75))
    return mask


def mountains(scene: Scene) -> None:
    """Draw ranges of mountains, the farther the paler, with light on one side and snow where it is cold."""
    count = 4
    for index in range(count):
        depth = 0.12 + 0.72 * index / (count - 1)
        base = scene.horizon - 0.06 + 0.1 * index
        height = (0.3, 0.24, 0.18, 0.12)[index]
        ridge = _ridge(scene.chance, base, height, roughness=0.52 + 0.03 * index, peaks=3 + index)
        mask = _layer(scene, ridge, depth)
        _facets(scene, mask, ridge, depth)


def _facets(scene: Scene, mask: Image.Image, ridge: list[Point], depth: float) -> None:
    """Lay light on the slopes that face it: a bent gradient below each stretch of the ridge."""
    canvas = scene.canvas
    side = -1 if scene.light_x < 0.5 else 1
    slopes: list[tuple[list[Point], int]] = []
    tops = [
        index
        for index in range(4, len(ridge) - 4)
        if ridge[index][1] == min(y for _, y in ridge[index - 4 : index + 5])
    ]
    for top in tops:
        x, y = ridge[top]
        reach = 1
        while (
            0 < top + side * reach < len(ridge) - 1
            and reach < 26
            and ridge[top + side * reach][1] >= ridge[top + side * (reach - 1)][1] - 0.004
        ):
            reach += 1
        if reach < 5:
            continue
        outer = [ridge[top + side * step] for step in range(reach)]
        fall = outer[-1][1] - y
        drift = scene.chance.uniform(-0.25, 0.1) * side
        inner = []
        for step in range(reach):
            part = step / (reach - 1)
            wobble = 0.02 * math.sin(step * 1.9) * part
            inner.append((x + fall * (drift * part + wobble), y + fall * (1.35 * part + wobble)))
        slopes += [
            (
                [outer[step], outer[step + 1], inner[step + 1], inner[step]],
                round(255 * (1 - step / (reach - 1)) ** 0.7),
            )
            for step in range(reach - 1)
        ]

    def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for slope, level in slopes:
            tool.polygon([place(*point) for point in slope], fill=level)

    lit = ImageChops.multiply(soften(canvas.mask(draw), canvas.unit * 0.0015), mask)
    high = min(y for _, y in ridge)
    lit = ImageChops.multiply(lit, canvas.fade(high + 0.3, high))
    white = bool({"winter", "ice", "cold"} & set(scene.reading.moods)) or "snow" in scene.subjects
    color = scene.palette.light if white else mix(scene.tone(max(0.0, depth - 0.45)), scene.haze, 0.35)
    canvas.lay(color, lit, 0.8 if white else 0.6)


def hills(scene: Scene) -> None:
    """Draw soft hills, light along their edges."""
    for index in range(4):
        depth = 0.2 + 0.65 * index / 3
        ridge = swell(scene.chance, scene.horizon + 0.02 + 0.1 * index, 0.05 + 0.012 * index, 1.2 + 0.3 * index)
        mask = _layer(scene, ridge, depth, mist=0.3)
        _edge_light(scene, mask, 0.35)


def dunes(scene: Scene) -> None:
    """Draw dunes: a bright and a shaded side, parted by a crest."""
    canvas = scene.canvas
    for index in range(4):
        depth = 0.1 + 0.55 * index / 3
        ridge = swell(scene.chance, scene.horizon + 0.01 + 0.1 * index, 0.07, 0.9 + 0.35 * index)
        color = mix(scene.palette.tones[3], scene.palette.tones[1], depth)
        mask = canvas.polygon([(-0.01, 1.1), *ridge, (1.01, 1.1)])
        canvas.lay(canvas.gradient([color, color, mix(color, scene.palette.tones[1], 0.5)]), mask)
        shady = _shady_side(scene, ridge)
        canvas.lay(
            mix(color, scene.palette.dark, 0.55),
            ImageChops.multiply(soften(canvas.polygon(shady), canvas.unit * 0.002), mask),
            0.6,
        )
        ripples = canvas.warp(canvas.noise(40, 2, stretch=9), 0.02)
        canvas.light(
            scene.palette.light,
            ImageChops.multiply(ripples.point([max(0, level - 150) for level in range(256)]), mask),
            0.25,
        )


def _shady_side(scene: Scene, ridge: list[Point]) -> list[Point]:
    """Return the side of a dune that looks away from the light: from its top a crest bends down."""
    away = 1 if scene.light_x < 0.5 else -1
    top = min(range(10, 71), key=lambda index: ridge[index][1])
    x, y = ridge[top]
    behind = ridge[top:] if away > 0 else ridge[top::-1]
    bend = scene.chance.uniform(0.1, 0.2)
    crest = [
        (x + away * bend * (part / 20) * math.cos(part / 20 * 4.4), y + (1.1 - y) * (part / 20) ** 1.2)
        for part in range(21)
    ]
    edge = 1.01 if away > 0 else -0.01
    return [*behind, (edge, 1.1), *reversed(crest)]


def _edge_light(scene: Scene, mask: Image.Image, strength: float) -> None:
    step = max(1, round(scene.canvas.unit * 0.004))
    rim = ImageChops.subtract(mask, shifted(mask, 0, step))
    rim.paste(0, (0, 0, scene.canvas.width, step))
    near = scene.canvas.glow(scene.light_x, scene.light_y, 1.1, 1.0)
    scene.canvas.light(scene.palette.light, ImageChops.multiply(soften(rim, step / 2), near), strength)


def _ridge(chance: Random, base: float, height: float, *, roughness: float, peaks: int) -> list[Point]:
    """Return a mountain ridge of 129 points: peaks by chance, then halved and displaced again and again."""
    heights = [chance.uniform(0.1, 1.0) if index % 2 else chance.uniform(0.0, 0.45) for index in range(2 * peaks + 1)]
    scale = 0.35
    while len(heights) < 129:
        finer: list[float] = []
        for one, two in itertools.pairwise(heights):
            finer += [one, (one + two) / 2 + chance.uniform(-scale, scale) * 0.5]
        heights = [*finer, heights[-1]]
        scale *= roughness
    low, high = min(heights), max(heights)
    last = len(heights) - 1
    return [(index / last, base - height * (value - low) / (high - low)) for index, value in enumerate(heights)]
