"""Water, that holds the sky and the path of the light."""

from __future__ import annotations

from PIL import Image, ImageChops, ImageDraw

from lightfast_providers.studio.canvas import shifted, soften
from lightfast_providers.studio.color import mix
from lightfast_providers.studio.scene import Place, Scene, swell


def water(scene: Scene) -> None:
    """Lay water to the bottom: the sky upside down, darker, broken by waves, with the path of the light."""
    canvas = scene.canvas
    top = scene.horizon
    row = round(top * canvas.height)
    depth = canvas.height - row
    mirrored = canvas.image.crop((0, max(0, row - depth), canvas.width, row)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    sheet = canvas.image.copy()
    sheet.paste(mirrored.resize((canvas.width, depth)), (0, row))
    deep = canvas.gradient(
        [
            scene.palette.tones[1],
            scene.palette.tones[1],
            mix(scene.palette.tones[1], scene.palette.dark, 0.4),
            scene.palette.dark,
        ]
    )
    sheet = Image.blend(sheet, deep, 0.42)
    ripple = canvas.warp(canvas.noise(26, 3, stretch=14), 0.012)
    sheet = Image.composite(sheet, shifted(sheet, round(canvas.unit * 0.02), round(canvas.unit * 0.012)), ripple)
    below = canvas.polygon([(-0.01, top), (1.01, top), (1.01, 1.1), (-0.01, 1.1)])
    canvas.lay(sheet, below)
    wide = canvas.noise(20, 3, stretch=16).point([max(0, min(255, (level - 140) * 3)) for level in range(256)])
    closer = canvas.fade(top, 1.0, power=0.6)
    canvas.darken(ImageChops.multiply(ImageChops.multiply(wide, closer), below), 0.28)
    _glitter(scene, below)
    canvas.light(scene.haze, ImageChops.multiply(below, canvas.fade(top + 0.06, top)), 0.45)


def _glitter(scene: Scene, below: Image.Image) -> None:
    if not {"sun", "moon"} & scene.subjects:
        return
    canvas, chance = scene.canvas, scene.chance
    dashes = []
    for _ in range(240):
        part = chance.random() ** 1.5
        y = scene.horizon + 0.004 + part * (1 - scene.horizon)
        spread = 0.02 + 0.11 * part
        dashes.append(
            (
                scene.light_x + chance.gauss(0, spread),
                y,
                0.006 + 0.05 * part * chance.random(),
                0.0008 + 0.004 * part,
            )
        )

    def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for x, y, width, height in dashes:
            cx, cy = place(x, y)
            tool.ellipse((cx - width * unit, cy - height * unit, cx + width * unit, cy + height * unit), fill=230)

    path = canvas.mask(draw)
    canvas.light(mix(scene.palette.light, scene.palette.accent, 0.2), ImageChops.multiply(path, below), 0.8)
    glow = canvas.glow(scene.light_x, scene.horizon + 0.05, 0.5, 2.0)
    canvas.light(scene.palette.tones[3], ImageChops.multiply(glow, below), 0.4)


def waves(scene: Scene) -> None:
    """Draw rolling waves near the viewer, each with a light crest."""
    if "water" not in scene.subjects:  # else it is there already
        water(scene)
    canvas = scene.canvas
    for index in range(3):
        top = scene.horizon + 0.2 + 0.09 * index + 0.02 * index * index
        ridge = swell(scene.chance, top, 0.014 + 0.008 * index, 2.2 - 0.3 * index, sharp=True)
        mask = canvas.polygon([(-0.01, 1.1), *ridge, (1.01, 1.1)])
        color = mix(
            mix(scene.palette.tones[2], scene.palette.tones[1], 0.3 + 0.3 * index), scene.palette.dark, 0.25 * index
        )
        canvas.lay(mix(color, scene.palette.dark, 0.35), mask, 0.9)
        crest = ImageChops.multiply(mask, canvas.fade(top + 0.09, top - 0.02, power=1.4))
        canvas.lay(mix(scene.palette.tones[2], scene.palette.tones[3], 0.55), crest, 0.7)
        thick = canvas.unit * (0.006 + 0.005 * index)
        rim = ImageChops.subtract(mask, shifted(mask, 0, thick))
        foam = canvas.noise(60 - 12 * index, 2, stretch=2.5).point(
            [max(0, min(255, (level - 96) * 4)) for level in range(256)]
        )
        canvas.lay(scene.palette.light, soften(ImageChops.multiply(rim, foam), canvas.unit * 0.001), 0.75)
