"""What is in the air, before everything else."""

from __future__ import annotations

from PIL import ImageChops, ImageDraw

from lightfast_providers.studio.canvas import soften
from lightfast_providers.studio.color import mix
from lightfast_providers.studio.scene import Place, Scene


def birds(scene: Scene) -> None:
    """Draw a flock, far off."""
    canvas, chance = scene.canvas, scene.chance
    cx, cy = chance.uniform(0.3, 0.7), chance.uniform(0.16, 0.34)
    flock = [
        (cx + chance.gauss(0, 0.12), cy + chance.gauss(0, 0.05), chance.uniform(0.008, 0.02))
        for _ in range(scene.reading.count("birds", 7))
    ]

    def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for x, y, size in flock:
            px, py = place(x, y)
            s = size * unit
            tool.polygon(
                [
                    (px - s, py - s * 0.45),
                    (px - s * 0.4, py - s * 0.5),
                    (px, py),
                    (px + s * 0.4, py - s * 0.5),
                    (px + s, py - s * 0.4),
                    (px + s * 0.35, py - s * 0.3),
                    (px, py + s * 0.22),
                    (px - s * 0.35, py - s * 0.3),
                ],
                fill=255,
            )

    canvas.lay(scene.palette.dark, canvas.mask(draw), 0.85)


def mist(scene: Scene) -> None:
    """Lay banks of mist over the land."""
    canvas = scene.canvas
    for top in (scene.horizon - 0.04, scene.horizon + 0.14):
        bank = canvas.noise(1.8, 4, stretch=4.0).point([110 + level // 2 for level in range(256)])
        band = ImageChops.multiply(canvas.fade(top - 0.1, top + 0.04), canvas.fade(top + 0.2, top + 0.06))
        canvas.lay(mix(scene.haze, scene.palette.light, 0.3), ImageChops.multiply(bank, band), 0.8)


def rain(scene: Scene) -> None:
    """Draw slanting rain."""
    _falling(scene, 420, 0.035, 0.0012, slant=0.18, strength=0.35)


def snow(scene: Scene) -> None:
    """Draw falling snow, near and far."""
    _falling(scene, 420, 0.0, 0.003, slant=0.0, strength=0.9)
    _falling(scene, 70, 0.0, 0.0085, slant=0.0, strength=0.6, soft=0.0025)


def _falling(
    scene: Scene, count: int, length: float, width: float, *, slant: float, strength: float, soft: float = 0.0006
) -> None:
    canvas, chance = scene.canvas, scene.chance
    drops = [(chance.random() * 1.2 - 0.1, chance.random(), chance.uniform(0.4, 1.0)) for _ in range(count)]

    def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for x, y, size in drops:
            px, py = place(x, y)
            if length:
                end = (px - slant * length * size * unit, py + length * size * unit)
                tool.line([(px, py), end], fill=round(255 * size), width=max(1, round(width * unit)))
            else:
                radius = width * size * unit
                tool.ellipse((px - radius, py - radius, px + radius, py + radius), fill=round(255 * size))

    canvas.light(scene.palette.light, soften(canvas.mask(draw), soft * canvas.unit), strength)
