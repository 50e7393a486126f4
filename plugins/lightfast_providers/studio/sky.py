"""The sky of a landscape, and what stands in it."""

from __future__ import annotations

import math

from PIL import ImageChops, ImageDraw

from lightfast_providers.studio.canvas import shifted, soften
from lightfast_providers.studio.color import from_hex, mix, shade
from lightfast_providers.studio.scene import Place, Scene
from lightfast_providers.studio.words import COLORS, LOW_SUNS


def sky(scene: Scene) -> None:
    """Lay the sky: darkest above, lightest where it meets the land."""
    tones = scene.palette.tones
    if scene.dark:
        colors = [tones[0], mix(tones[0], tones[1], 0.6), tones[1], tones[2], scene.haze]
    elif set(scene.reading.moods) & LOW_SUNS:
        colors = [tones[1], tones[2], tones[3], tones[4]]
    else:
        colors = [tones[2], mix(tones[2], tones[3], 0.6), tones[3], tones[4]]
    stops = [*colors, colors[-1], colors[-1]]  # the land covers the rest
    scene.canvas.image = scene.canvas.gradient(stops)
    drift = scene.canvas.noise(1.6, 4, stretch=3.0)
    scene.canvas.light(scene.haze, ImageChops.multiply(drift, scene.canvas.fade(0.7, 0.05)), 0.16)


def sun(scene: Scene) -> None:
    """Draw a sun with its glow."""
    canvas, x, y = scene.canvas, scene.light_x, scene.light_y
    color = mix(scene.palette.light, (255, 244, 214), 0.6)
    if own := scene.reading.colors_of("sun"):
        color = from_hex(COLORS[own[0]])
    radius = scene.chance.uniform(0.055, 0.09)
    canvas.light(shade(color, 0.85, 1.6), canvas.glow(x, y, 1.0, 2.4), 0.5)
    canvas.light(color, canvas.glow(x, y, radius * 3.6, 1.8), 0.75)
    canvas.lay(color, canvas.disc(x, y, radius))


def moon(scene: Scene) -> None:
    """Draw a moon with its halo: full, or a sickle."""
    canvas, x, y = scene.canvas, scene.light_x, min(scene.light_y, 0.3)
    radius = scene.chance.uniform(0.06, 0.085)
    color = mix(scene.palette.light, (240, 242, 248), 0.6)
    canvas.light(scene.palette.tones[3], canvas.glow(x, y, 0.7, 2.6), 0.4)
    canvas.light(color, canvas.glow(x, y, radius * 2.6, 2.0), 0.3)
    disc = canvas.disc(x, y, radius)
    if scene.chance.random() < 0.5:
        shift = radius * 0.55
        away = canvas.disc(
            x + shift * canvas.unit / canvas.width, y - shift * 0.4 * canvas.unit / canvas.height, radius * 0.95
        )
        canvas.lay(color, ImageChops.subtract(disc, away))
        return
    spots = canvas.noise(14, 3).point([max(0, min(255, (level - 110) * 2)) for level in range(256)])
    canvas.lay(color, disc)
    canvas.lay(shade(color, 0.72), ImageChops.multiply(spots, disc), 0.35)


def stars(scene: Scene) -> None:
    """Draw many small stars, some larger ones, and a band of their dust."""
    canvas, chance = scene.canvas, scene.chance
    dust = canvas.warp(canvas.noise(2.5, 5, stretch=1.8), 0.15)
    clear = canvas.fade(scene.horizon + 0.05, 0.1)
    cloud = dust.point([round(max(0, level - 105) * 1.5) for level in range(256)])
    canvas.light(scene.palette.tones[2], ImageChops.multiply(cloud, clear), 0.55)
    canvas.light(
        scene.palette.accent,
        ImageChops.multiply(cloud.point([level * level // 255 for level in range(256)]), clear),
        0.3,
    )
    spots = [(chance.random(), chance.random() ** 1.3 * scene.horizon, chance.random()) for _ in range(420)]

    def draw(tool: ImageDraw.ImageDraw, place: Place, unit: float) -> None:
        for x, y, size in spots:
            cx, cy = place(x, y)
            radius = unit * (0.0006 + 0.0016 * size**6)
            tool.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=round(110 + 145 * size))

    canvas.light(scene.palette.light, canvas.mask(draw))
    for x, y, size in spots:
        if size > 0.975:
            canvas.light(scene.palette.light, canvas.glow(x, y, 0.022, 3.0), 0.9)


def aurora(scene: Scene) -> None:
    """Draw curtains of light."""
    canvas, chance = scene.canvas, scene.chance
    main = scene.palette.accent if scene.palette.named else mix(scene.palette.accent, (60, 235, 160), 0.8)
    for color in (main, shade(main, 0.8, 1.1, 50), main):
        top, phase = chance.uniform(0.08, 0.3), chance.uniform(0, 6.28)
        path = [
            (step / 80, top + 0.07 * math.sin(step / 80 * 7 + phase) + 0.03 * math.sin(step / 80 * 17))
            for step in range(81)
        ]
        foot = [(x, y + 0.16) for x, y in path]
        curtain = canvas.polygon([*path, *reversed(foot)])
        rays = canvas.noise(30, 2).resize((canvas.width, 1)).resize(canvas.size)
        fine = ImageChops.multiply(curtain, rays)
        drawn = ImageChops.lighter(
            soften(fine, canvas.unit * 0.012),
            soften(curtain, canvas.unit * 0.05).point([level // 2 for level in range(256)]),
        )
        canvas.light(color, drawn, 0.55)


def clouds(scene: Scene) -> None:
    """Draw drifting clouds, lit from the side of the light."""
    canvas = scene.canvas
    body = canvas.warp(canvas.noise(2.2, 6, stretch=2.4, gain=0.55), 0.05)
    floor = 118 if "storm" not in " ".join(scene.reading.moods) else 84
    cover = body.point([max(0, min(255, (level - floor) * 4)) for level in range(256)])
    cover = ImageChops.multiply(cover, canvas.fade(scene.horizon, scene.horizon - 0.4, power=0.7))
    step = round(canvas.unit * 0.02) * (1 if scene.light_x < 0.5 else -1)
    under = ImageChops.subtract(body, shifted(body, -step, -abs(step)), scale=0.35, offset=150)
    bright = scene.palette.light if not scene.dark else scene.palette.tones[3]
    deep = mix(scene.palette.tones[2], scene.palette.tones[3], 0.5) if not scene.dark else scene.palette.tones[1]
    canvas.lay(canvas.map_colors(under, [deep, mix(deep, bright, 0.55), bright]), cover, 0.88)
