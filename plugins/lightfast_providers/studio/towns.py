"""What stands in rows: buildings and trees."""

from __future__ import annotations

from random import Random

from PIL import ImageChops, ImageDraw

from lightfast_providers.studio.canvas import Point, soften
from lightfast_providers.studio.color import mix
from lightfast_providers.studio.scene import Place, Scene, swell


def city(scene: Scene) -> None:
    """Draw rows of buildings with windows; by night more of them are lit."""
    for index in range(3):
        _row_of_buildings(scene, index)


def _row_of_buildings(scene: Scene, index: int) -> None:
    canvas, chance = scene.canvas, scene.chance
    depth = (0.3, 0.6, 0.95)[index]
    base = scene.horizon + (0.02, 0.1, 0.2)[index]
    tall = (0.36, 0.3, 0.24)[index]
    shapes: list[list[Point]] = []
    windows: list[tuple[float, float, float, float]] = []
    x = -0.02
    ratio = canvas.unit / canvas.width
    while x < 1.02:
        width = chance.uniform(0.045, 0.105) * (0.8 + 0.3 * index) * ratio
        height = tall * (0.35 + 0.65 * chance.random() ** 1.6) * (1.15 - abs(x - 0.5))
        shapes += _building(chance, x, base - height, width, ratio)
        windows += _windows(chance, x, base - height, width, base + 0.5, index)
        x += width + (chance.uniform(0, 0.012) if chance.random() < 0.3 else 0.0)

    def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for shape in shapes:
            tool.polygon([place(*point) for point in shape], fill=255)

    mask = canvas.mask(draw)
    color = scene.tone(depth)
    canvas.lay(canvas.gradient([mix(color, scene.haze, 0.1), color, color, mix(color, scene.palette.dark, 0.4)]), mask)
    canvas.lay(scene.haze, ImageChops.multiply(mask, canvas.fade(base - 0.12, base + 0.3)), 0.5 * (1 - depth * 0.8))
    part = (0.16, 0.36, 0.3)[index] if scene.dark else (0.0, 0.1, 0.16)[index]
    lit = [window for window in windows if chance.random() < part]

    def shine(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for left, top, right, bottom in lit:
            tool.rectangle((*place(left, top), *place(right, bottom)), fill=chance.choice((150, 200, 255)))

    light = ImageChops.multiply(canvas.mask(shine), mask)
    warm = mix(scene.palette.light, (255, 205, 120), 0.55)
    canvas.lay(warm, light, 0.6 + 0.35 * depth)
    canvas.light(warm, soften(light, canvas.unit * 0.008), 0.6)


def forest(scene: Scene) -> None:
    """Draw rows of firs in the mist."""
    canvas, chance = scene.canvas, scene.chance
    for index in range(4):
        depth = 0.22 + 0.74 * index / 3
        base = scene.horizon + 0.03 + 0.11 * index
        ground = swell(chance, base, 0.03, 1.3)
        trees: list[list[Point]] = []
        height = (0.07, 0.11, 0.17, 0.26)[index]
        x = -0.05
        while x < 1.05:
            tall = height * chance.uniform(0.65, 1.25)
            foot = ground[min(80, max(0, round(x * 80)))][1] + 0.12 * tall
            trees += _fir(chance, x, foot, tall, canvas.unit / canvas.width * canvas.height / canvas.unit)
            x += tall * chance.uniform(0.16, 0.4) * canvas.height / canvas.width

        def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float, trees: list[list[Point]] = trees) -> None:
            for tree in trees:
                tool.polygon([place(*point) for point in tree], fill=255)

        mask = ImageChops.lighter(canvas.mask(draw), canvas.polygon([(-0.01, 1.1), *ground, (1.01, 1.1)]))
        color = scene.tone(depth)
        canvas.lay(color, mask)
        rising = ImageChops.multiply(mask, canvas.fade(base - height * 0.7, base + 0.12))
        canvas.lay(mix(scene.haze, color, 0.2), rising, 0.55 * (1 - depth * 0.85))


def _building(chance: Random, x: float, top: float, width: float, ratio: float) -> list[list[Point]]:
    box = [(x, top), (x + width, top), (x + width, 1.1), (x, 1.1)]
    kind = chance.random()
    middle = x + width / 2
    if kind < 0.18:  # a mast
        thin = 0.0022 * ratio
        return [
            box,
            [(middle - thin, top - 0.07), (middle + thin, top - 0.07), (middle + thin, top), (middle - thin, top)],
        ]
    if kind < 0.34:  # a step
        return [
            box,
            [
                (x + width * 0.2, top - 0.03),
                (x + width * 0.8, top - 0.03),
                (x + width * 0.8, top),
                (x + width * 0.2, top),
            ],
        ]
    if kind < 0.44:  # a slanting roof
        return [[(x, top + 0.03), (x + width, top - 0.02), (x + width, 1.1), (x, 1.1)]]
    if kind < 0.52:  # a spire
        return [box, [(x + width * 0.15, top), (middle, top - 0.08), (x + width * 0.85, top)]]
    return [box]


def _windows(
    chance: Random, x: float, top: float, width: float, bottom: float, index: int
) -> list[tuple[float, float, float, float]]:
    high = (0.008, 0.011, 0.015)[index]
    across = max(2, round(width / (high * 1.1)))
    wide = width / (across + 0.6)
    found = []
    y = top + high
    while y < min(bottom, 1.0):
        for column in range(across):
            left = x + wide * (column + 0.5)
            found.append((left, y, left + wide * 0.55, y + high * 0.55))
        y += high * 1.25
    return found


def _fir(chance: Random, x: float, foot: float, tall: float, ratio: float) -> list[list[Point]]:
    tiers = []
    half = tall * chance.uniform(0.19, 0.27) * ratio
    lean = chance.uniform(-0.02, 0.02) * tall
    for tier in range(6):
        part = tier / 6
        top = foot - tall * (1 - part * 0.84)
        low = foot - tall * (0.72 - part * 0.75)
        spread = half * (0.28 + 0.72 * (tier + 1) / 6) * chance.uniform(0.9, 1.1)
        tiers.append(
            [
                (x + lean * (1 - part), top),
                (x + spread, low),
                (x + spread * 0.3, low - tall * 0.012),
                (x - spread * 0.3, low - tall * 0.012),
                (x - spread, low),
            ]
        )
    tiers.append(
        [
            (x - half * 0.1, foot - tall * 0.1),
            (x + half * 0.1, foot - tall * 0.1),
            (x + half * 0.1, foot),
            (x - half * 0.1, foot),
        ]
    )
    return tiers
