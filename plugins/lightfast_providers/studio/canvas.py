"""The tools of the picture: gradients, noise, soft light, and shapes with smooth edges.

Everything is made of few calls into Pillow, none of which walks pixels in Python. Positions and
sizes are fractions: x of the width, y of the height, lengths of the shorter side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageMath

from lightfast_providers.studio.color import Color, ramp

Picture = Image.Image
Point = tuple[float, float]


class Canvas:
    """One picture in the making."""

    def __init__(self, width: int, height: int, chance: Random) -> None:
        self.width, self.height = width, height
        self.size = (width, height)
        self.unit = min(width, height)
        self.chance = chance
        self.image: Picture = Image.new("RGB", self.size)
        self._over = 3 if max(self.size) <= 1024 else 2  # how many times finer masks are drawn

    # ---- grounds

    def gradient(self, colors: Sequence[Color], angle: float = 0.0) -> Picture:
        """Return a gradient through *colors*; at 0 degrees from top to bottom, turning clockwise."""
        strip = Image.new("RGB", (1, 256))
        strip.putdata(ramp(colors, 256))
        if angle % 360 == 0:
            return strip.resize(self.size, Image.Resampling.BICUBIC)
        turn = math.radians(angle)
        dx, dy = -math.sin(turn), math.cos(turn)
        reach = abs(dx) * self.width + abs(dy) * self.height
        a, b = dx / reach * 254, dy / reach * 254
        c = 127.5 - a * self.width / 2 - b * self.height / 2
        wide = strip.resize((4, 256))
        return wide.transform(self.size, Image.Transform.AFFINE, (0, 0, 2, a, b, c), resample=Image.Resampling.BILINEAR)

    def map_colors(self, levels: Picture, colors: Sequence[Color]) -> Picture:
        """Return the gray picture *levels* with its grays replaced by a gradient through *colors*."""
        table = [channel for color in ramp(colors, 256) for channel in color]
        mapped = levels.convert("L")
        mapped.putpalette(table)
        return mapped.convert("RGB")

    def noise(self, cells: float, octaves: int = 4, *, stretch: float = 1.0, gain: float = 0.5) -> Picture:
        """Return cloudy noise as a gray picture over the whole range; *cells* across the shorter side.

        *stretch* above 1 draws it out sideways.
        """
        total: Picture | None = None
        weight = 1.0
        for octave in range(octaves):
            scale = cells * 2**octave
            columns = max(2, round(scale * self.width / self.unit / stretch)) + 3
            rows = max(2, round(scale * self.height / self.unit)) + 3
            grid = Image.frombytes("L", (columns, rows), self.chance.randbytes(columns * rows)).convert("F")
            layer = grid.resize(self.size, Image.Resampling.BICUBIC, box=(1, 1, columns - 1, rows - 1))
            total = layer if total is None else _plus(total, layer, weight)
            weight *= gain
        assert total is not None  # noqa: S101 — there is at least one octave
        return _full_range(total)

    def warp(self, picture: Picture, strength: float, cells: float = 3.0, grid: int = 40) -> Picture:
        """Return *picture* bent by smooth noise; *strength* is how far, of the shorter side."""
        across = [self._field(cells, grid) for _ in range(2)]
        reach = strength * self.unit

        def source(column: int, row: int) -> Point:
            x = column / grid * self.width + (across[0][row][column] - 0.5) * 2 * reach
            y = row / grid * self.height + (across[1][row][column] - 0.5) * 2 * reach
            return min(max(x, 0.0), self.width - 1.0), min(max(y, 0.0), self.height - 1.0)

        points = [[source(column, row) for column in range(grid + 1)] for row in range(grid + 1)]
        mesh = []
        for row in range(grid):
            for column in range(grid):
                box = (
                    round(column * self.width / grid),
                    round(row * self.height / grid),
                    round((column + 1) * self.width / grid),
                    round((row + 1) * self.height / grid),
                )
                corners = (
                    *points[row][column],
                    *points[row + 1][column],
                    *points[row + 1][column + 1],
                    *points[row][column + 1],
                )
                mesh.append((box, corners))
        return picture.transform(self.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)

    def _field(self, cells: float, grid: int) -> list[list[float]]:
        count = round(cells) + 3
        small = Image.frombytes("L", (count, count), self.chance.randbytes(count * count)).convert("F")
        smooth = small.resize((grid + 1, grid + 1), Image.Resampling.BICUBIC, box=(1, 1, count - 1, count - 1))
        data = [float(value) for value in smooth.get_flattened_data()]  # type: ignore[arg-type]
        return [[value / 255 for value in data[row * (grid + 1) : (row + 1) * (grid + 1)]] for row in range(grid + 1)]

    # ---- masks

    def mask(self, draw: Callable[[ImageDraw.ImageDraw, Callable[[float, float], Point], float], None]) -> Picture:
        """Return a gray mask with smooth edges of what *draw* draws.

        It gets the drawing tool, a function from fractions to points, and the length of the shorter side.
        """
        over = self._over
        fine = Image.new("L", (self.width * over, self.height * over))
        tool = ImageDraw.Draw(fine)

        def place(x: float, y: float) -> Point:
            return x * self.width * over, y * self.height * over

        draw(tool, place, self.unit * over)
        return fine.reduce(over)

    def polygon(self, points: Sequence[Point]) -> Picture:
        """Return the mask of a polygon."""
        return self.mask(lambda tool, place, _: tool.polygon([place(x, y) for x, y in points], fill=255))

    def disc(self, x: float, y: float, radius: float) -> Picture:
        """Return the mask of a disc."""

        def draw(tool: ImageDraw.ImageDraw, place: Callable[[float, float], Point], unit: float) -> None:
            cx, cy = place(x, y)
            tool.ellipse((cx - radius * unit, cy - radius * unit, cx + radius * unit, cy + radius * unit), fill=255)

        return self.mask(draw)

    def glow(self, x: float, y: float, radius: float, power: float = 2.0) -> Picture:
        """Return the mask of a light that fades from a point to nothing at *radius*."""
        light = Image.radial_gradient("L").point(
            [round(255 * max(0.0, 1 - level / 181) ** power) for level in range(256)]
        )
        reach = radius * self.unit
        a = 128 / reach if reach else 1.0
        cx, cy = x * self.width, y * self.height
        return light.transform(
            self.size,
            Image.Transform.AFFINE,
            (a, 0, 128 - a * cx, 0, a, 128 - a * cy),
            resample=Image.Resampling.BICUBIC,
        )

    def fade(self, top: float, bottom: float, *, power: float = 1.0) -> Picture:
        """Return a mask that rises from nothing at height *top* to full at *bottom* (or falls, if above)."""
        low, high = min(top, bottom), max(top, bottom)
        levels = []
        for row in range(256):
            part = min(1.0, max(0.0, (row / 255 - low) / max(1e-6, high - low)))
            part = part if bottom >= top else 1 - part
            levels.append(round(255 * part**power))
        column = Image.new("L", (1, 256))
        column.putdata(levels)
        return column.resize(self.size, Image.Resampling.BICUBIC)

    # ---- laying on

    def lay(self, fill: Color | Picture, mask: Picture, opacity: float = 1.0) -> None:
        """Lay a color or a picture through a mask."""
        picture = fill if isinstance(fill, Image.Image) else Image.new("RGB", self.size, fill)
        self.image = Image.composite(picture, self.image, _times(mask, opacity))

    def light(self, color: Color, mask: Picture, strength: float = 1.0) -> None:
        """Add light of a color through a mask; it never grows beyond white."""
        lit = Image.composite(Image.new("RGB", self.size, color), Image.new("RGB", self.size), _times(mask, strength))
        self.image = ImageChops.screen(self.image, lit)

    def darken(self, mask: Picture, strength: float) -> None:
        """Take light away through a mask."""
        self.lay((0, 0, 0), mask, strength)

    def shadow(self, mask: Picture, blur: float, strength: float, shift: Point = (0.0, 0.012)) -> None:
        """Lay the soft shadow of a mask; *blur* and *shift* are of the shorter side."""
        moved = shifted(mask, shift[0] * self.unit, shift[1] * self.unit)
        self.darken(soften(moved, blur * self.unit), strength)

    def blur(self, radius: float) -> None:
        """Blur all; *radius* is of the shorter side."""
        self.image = soften(self.image, radius * self.unit)

    def finish(self, grain: float, vignette: float = 0.22) -> None:
        """Darken the corners a little, and add film grain, which also hides the steps of gradients."""
        if vignette:
            corners = Image.radial_gradient("L").resize(self.size, Image.Resampling.BICUBIC)
            self.darken(
                corners.point([round(255 * max(0.0, level / 255 - 0.45) ** 1.6) for level in range(256)]), vignette
            )
        if grain:
            self.image = self._grained(grain)

    def _grained(self, amount: float) -> Picture:
        # The sum of two flat noises is nearly bell-shaped; one tile of it is enough.
        edge = 256
        tiles = [Image.frombytes("L", (edge, edge), self.chance.randbytes(edge * edge)) for _ in range(2)]
        tile = Image.blend(tiles[0], tiles[1], 0.5)
        sheet = Image.new("L", self.size)
        for y in range(0, self.height, edge):
            for x in range(0, self.width, edge):
                sheet.paste(self.chance.choice((tile, tile.transpose(Image.Transpose.ROTATE_90))), (x, y))
        spread = sheet.point([round(128 + (level - 128) * 0.16 * amount) for level in range(256)])
        full = Image.merge("RGB", (spread, spread, spread))
        return ImageChops.add(self.image, full, scale=1.0, offset=-128)


def shifted(picture: Picture, dx: float, dy: float) -> Picture:
    """Return *picture* moved by whole pixels; its edges are drawn out into what was uncovered."""
    x, y = round(dx), round(dy)
    moved = picture.copy()
    width, height = picture.size
    if x:
        edge = picture.crop((0, 0, 1, height) if x > 0 else (width - 1, 0, width, height)).resize((abs(x), height))
        moved.paste(edge, (0 if x > 0 else width - abs(x), 0))
    if y:
        edge = picture.crop((0, 0, width, 1) if y > 0 else (0, height - 1, width, height)).resize((width, abs(y)))
        moved.paste(edge, (0, 0 if y > 0 else height - abs(y)))
    moved.paste(picture.crop((max(0, -x), max(0, -y), width - max(0, x), height - max(0, y))), (max(0, x), max(0, y)))
    return moved


def soften(picture: Picture, radius: float) -> Picture:
    """Return *picture* blurred by *radius* pixels; large radii work on a smaller copy, which looks the same."""
    if radius <= 0:
        return picture
    factor = 1
    while radius / factor > 12 and min(picture.size) // factor > 32:
        factor *= 2
    if factor == 1:
        return picture.filter(ImageFilter.GaussianBlur(radius))
    small = picture.reduce(factor).filter(ImageFilter.GaussianBlur(radius / factor))
    return small.resize(picture.size, Image.Resampling.BICUBIC)


def _plus(one: Picture, two: Picture, weight: float) -> Picture:
    added: Picture = ImageMath.lambda_eval(lambda values: values["a"] + values["b"] * weight, a=one, b=two)
    return added


def _times(mask: Picture, factor: float) -> Picture:
    return mask if factor >= 1 else mask.point([round(level * factor) for level in range(256)])


def _full_range(levels: Picture) -> Picture:
    low, high = levels.getextrema()
    assert isinstance(low, float)  # noqa: S101 — a picture of floats has one range
    assert isinstance(high, float)  # noqa: S101
    scale = 255 / max(1e-6, high - low)
    return levels.point(lambda value: value * scale - low * scale).convert("L")
