"""The grounds of a picture, one function per style."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw

from lightfast_providers.studio.canvas import Canvas, Point, shifted, soften
from lightfast_providers.studio.color import Color, lightness, mix, shade
from lightfast_providers.studio.palette import Palette


def gradient(canvas: Canvas, palette: Palette) -> None:
    """Lay large soft lights that melt into each other."""
    chance = canvas.chance
    canvas.image = canvas.gradient([palette.tones[0], palette.tones[1], palette.tones[2]], chance.uniform(-30, 30))
    colors = [palette.tones[2], palette.accent, palette.tones[3], palette.tones[1], palette.tones[3], *palette.named]
    chance.shuffle(colors)
    for index, color in enumerate(colors):
        angle = chance.uniform(0, 6.28)
        x, y = 0.5 + 0.55 * math.cos(angle + index * 2.4), 0.5 + 0.55 * math.sin(angle + index * 2.4)
        canvas.lay(color, canvas.glow(x, y, chance.uniform(0.55, 0.85), 1.1), 0.95)
    canvas.image = canvas.warp(canvas.image, 0.22, 2.0)
    canvas.blur(0.03)
    canvas.light(palette.light, canvas.glow(chance.uniform(0.2, 0.8), -0.1, 0.9, 2.0), 0.35)


def geometric(canvas: Canvas, palette: Palette) -> None:
    """Lay a grid of tiles, each with a quarter disc, a half disc, a ring, a leaf or nothing but color."""
    chance = canvas.chance
    canvas.image = Image.new("RGB", canvas.size, palette.light)
    across = chance.choice((4, 5, 6))
    edge = canvas.unit / across
    columns, rows = math.ceil(canvas.width / edge), math.ceil(canvas.height / edge)
    colors = list(dict.fromkeys((*palette.tones, palette.accent, *palette.named, *palette.named)))
    layers: dict[Color, list[tuple[str, float, float, int]]] = {}
    for row in range(rows):
        for column in range(columns):
            ground, figure = chance.sample(colors, 2)
            if abs(lightness(ground) - lightness(figure)) < 0.12:
                figure = palette.light if lightness(ground) < 0.6 else palette.dark
            kind = chance.choice(("quarter", "quarter", "half", "ring", "leaf", "disc", "triangle", "plain"))
            layers.setdefault(ground, []).append(("plain", column, row, 0))
            layers.setdefault(figure, []).append((kind, column, row, chance.randrange(4)))
    tiles = [(color, tile) for color, found in layers.items() for tile in found]
    plain = [(color, tile) for color, tile in tiles if tile[0] == "plain"]
    figures = [(color, tile) for color, tile in tiles if tile[0] != "plain"]
    for group in (plain, figures):
        for color in dict.fromkeys(color for color, _ in group):
            own = [tile for other, tile in group if other == color]
            canvas.lay(color, canvas.mask(lambda tool, _, unit, own=own: _tiles(tool, own, unit / across)))  # type: ignore[misc]
    paper = canvas.noise(90, 2)
    canvas.darken(paper.point([max(0, 150 - level) for level in range(256)]), 0.16)


def _tiles(tool: ImageDraw.ImageDraw, tiles: list[tuple[str, float, float, int]], edge: float) -> None:
    for kind, column, row, turn in tiles:
        x, y = column * edge, row * edge
        corners = ((x, y), (x + edge, y), (x + edge, y + edge), (x, y + edge))
        cx, cy = corners[turn]
        box = (x, y, x + edge, y + edge)
        if kind == "plain":
            tool.rectangle((x - 1, y - 1, x + edge + 1, y + edge + 1), fill=255)  # no seams between tiles
        elif kind == "quarter":
            tool.pieslice((cx - edge, cy - edge, cx + edge, cy + edge), turn * 90, turn * 90 + 90, fill=255)
        elif kind == "half":
            shift = ((0, -edge / 2), (edge / 2, 0), (0, edge / 2), (-edge / 2, 0))[turn]
            moved = (box[0] + shift[0], box[1] + shift[1], box[2] + shift[0], box[3] + shift[1])
            start = (0, 90, 180, 270)[turn]
            tool.pieslice(moved, start, start + 180, fill=255)
        elif kind == "ring":
            inner = edge * 0.14
            tool.ellipse(
                (x + inner, y + inner, x + edge - inner, y + edge - inner), outline=255, width=round(edge * 0.17)
            )
        elif kind == "disc":
            inner = edge * (0.12 + 0.08 * turn)
            tool.ellipse((x + inner, y + inner, x + edge - inner, y + edge - inner), fill=255)
        elif kind == "triangle":
            tool.polygon([corners[turn], corners[(turn + 1) % 4], corners[(turn + 2) % 4]], fill=255)
        elif kind == "leaf":
            _leaf(tool, corners[turn], corners[(turn + 2) % 4], edge)


def _leaf(tool: ImageDraw.ImageDraw, start: Point, end: Point, edge: float) -> None:
    points: list[Point] = []
    for one, other in ((start, end), (end, start)):
        # Each side is a quarter circle around the corner that is off the leaf's axis.
        middle = (one[0], other[1])
        begin = math.atan2(one[1] - middle[1], one[0] - middle[0])
        stop = math.atan2(other[1] - middle[1], other[0] - middle[0])
        turn = (stop - begin + math.pi) % (2 * math.pi) - math.pi
        points += [
            (
                middle[0] + edge * math.cos(begin + turn * part / 24),
                middle[1] + edge * math.sin(begin + turn * part / 24),
            )
            for part in range(25)
        ]
    tool.polygon(points, fill=255)


def field(canvas: Canvas, palette: Palette) -> None:
    """Lay noise bent by noise, like marble or smoke, in relief."""
    levels = canvas.noise(2.2, 5, gain=0.46)
    levels = canvas.warp(levels, 0.28, 3.0)
    levels = canvas.warp(levels, 0.12, 7.0)
    folded = levels.point([round(127.5 - 127.5 * math.cos(level / 255 * math.pi * 3.4)) for level in range(256)])
    colors = [palette.tones[0], palette.tones[1], palette.accent, palette.tones[3], palette.light]
    canvas.image = canvas.map_colors(Image.blend(folded, levels, 0.35), colors)
    _relief(canvas, soften(folded, canvas.unit * 0.004), 0.5)
    canvas.lay(palette.dark, canvas.fade(0.55, 1.1, power=1.5), 0.45)


def _relief(canvas: Canvas, height: Image.Image, strength: float) -> None:
    step = max(1, round(canvas.unit * 0.003))
    slope = ImageChops.subtract(height, shifted(height, step, step), scale=0.5, offset=128)
    canvas.light((255, 255, 255), slope.point([max(0, level - 128) for level in range(256)]), strength)
    canvas.darken(slope.point([min(255, max(0, 128 - level) * 2) for level in range(256)]), strength)


def stripes(canvas: Canvas, palette: Palette) -> None:
    """Lay folded ribbons, each with its own light and shadow."""
    chance = canvas.chance
    canvas.image = canvas.gradient([palette.tones[1], palette.dark])
    count = chance.randint(9, 14)
    amplitude, waves = chance.uniform(0.05, 0.13), chance.uniform(0.6, 1.4)
    phase, lean = chance.uniform(0, 6.28), chance.uniform(-0.35, 0.35)
    colors = [*palette.tones[1:], palette.accent, *palette.named, *palette.named]
    last: Color | None = None
    for index in range(count):
        color = chance.choice([color for color in colors if color != last])
        last = color
        top = -0.3 + 1.5 * index / count
        swing = amplitude * (1 + 0.5 * math.sin(index * 0.7 + phase))

        def edge(x: float, top: float = top, swing: float = swing, index: int = index) -> float:
            return top + lean * x + swing * math.sin(x * waves * 6.28 + phase + index * 0.45)

        points = [(step / 60, edge(step / 60)) for step in range(61)]
        mask = canvas.polygon([(0.0, 1.6), *points, (1.0, 1.6)])
        canvas.shadow(mask, 0.03, 0.55, (0.0, -0.02))
        canvas.lay(
            canvas.gradient(
                [shade(color, min(0.97, lightness(color) + 0.1)), color, mix(color, palette.dark, 0.35)], 90
            ),
            mask,
        )
        rim = ImageChops.subtract(mask, shifted(mask, 0, max(1, round(canvas.unit * 0.004))))
        canvas.light(palette.light, rim, 0.35)


def radial(canvas: Canvas, palette: Palette) -> None:
    """Lay rays and rings around one point."""
    chance = canvas.chance
    x, y = chance.uniform(0.35, 0.65), chance.uniform(0.4, 0.62)
    canvas.image = Image.new("RGB", canvas.size, palette.tones[1])
    rays = chance.choice((16, 20, 24, 32))
    turn = chance.uniform(0, 6.28)
    reach = 2.0

    def draw(tool: ImageDraw.ImageDraw, place: Callable[[float, float], Point], unit: float) -> None:
        cx, cy = place(x, y)
        for ray in range(rays):
            one, two = turn + ray * 6.2832 / rays, turn + (ray + 0.5) * 6.2832 / rays
            tool.polygon(
                [
                    (cx, cy),
                    (cx + unit * reach * math.cos(one), cy + unit * reach * math.sin(one)),
                    (cx + unit * reach * math.cos(two), cy + unit * reach * math.sin(two)),
                ],
                fill=255,
            )

    canvas.lay(palette.tones[2], canvas.mask(draw))
    canvas.lay(palette.dark, canvas.glow(x, y, 1.5, 0.6).point([255 - level for level in range(256)]), 0.75)
    rings = [palette.tones[1], palette.accent, palette.tones[3], *palette.named, palette.light]
    for index, color in enumerate(rings):
        radius = 0.36 * (1 - index / len(rings)) + 0.03
        disc = canvas.disc(x, y, radius)
        canvas.shadow(disc, 0.03, 0.45)
        canvas.lay(canvas.gradient([shade(color, min(0.98, lightness(color) + 0.06)), color], 45), disc)
    canvas.light(palette.light, canvas.glow(x, y, 0.8, 2.5), 0.3)


STYLES: dict[str, Callable[[Canvas, Palette], None]] = {
    "gradient": gradient,
    "geometric": geometric,
    "field": field,
    "stripes": stripes,
    "radial": radial,
}
"""The styles by name."""
