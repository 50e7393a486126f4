"""Plain shapes with body: soft shadows, light from one side, and room between them."""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageChops, ImageDraw

from lightfast_providers.studio.canvas import Canvas, Point, shifted, soften
from lightfast_providers.studio.color import Color, from_hex, lightness, mix, shade
from lightfast_providers.studio.palette import Palette
from lightfast_providers.studio.words import COLORS, Reading


class Shapes:
    """Lays shapes of one kind onto a canvas, the largest first."""

    def __init__(self, canvas: Canvas, palette: Palette, reading: Reading) -> None:
        self.canvas, self.palette, self.reading = canvas, palette, reading
        self.chance = canvas.chance
        self._ratio = (canvas.unit / canvas.width, canvas.unit / canvas.height)
        self._taken: list[tuple[float, float, float]] = []
        self._colors = [palette.accent]
        self._next = 0

    def lay(self, subject: str) -> None:
        """Lay the shapes of *subject*."""
        count = self.reading.count(subject)
        self._wear(subject)
        if subject == "dots":
            self._dots(max(count, 40))
            return
        if subject == "lines":
            self._lines(max(count, 9))
            return
        for index in range(count):
            x, y, radius = self._room(count, index)
            KINDS[subject](self, x, y, radius)

    def lay_stars(self) -> None:
        """Lay stars as shapes: they are asked for by number, and there is no sky."""
        count = self.reading.count("stars", 1)
        self._wear("stars")
        for index in range(count):
            self.star(*self._room(count, index))

    def _wear(self, subject: str) -> None:
        """Choose the colors of *subject*: its own, else those that are not the ground's, else the palette's."""
        own = [from_hex(COLORS[name]) for name in self.reading.colors_of(subject)]
        if own:
            self._colors = [
                own[0],
                *own[1:],
                *[shade(own[0], min(0.92, max(0.25, lightness(own[0]) + step)), 0.95) for step in (0.1, -0.08)],
            ]
        else:
            taken = {
                from_hex(COLORS[name]) for name in (*self.reading.ground, *(color for _, color in self.reading.bound))
            }
            free = [
                color for color in map(from_hex, (COLORS[name] for name in self.reading.colors)) if color not in taken
            ]
            self.chance.shuffle(free)
            others = [self.palette.accent, self.palette.tones[3], self.palette.tones[2], self.palette.light]
            self._colors = list(dict.fromkeys([*free, *others]))
        self._next = 0

    def _color(self) -> Color:
        color = self._colors[self._next % len(self._colors)]
        self._next += 1
        return color

    def _room(self, count: int, index: int) -> tuple[float, float, float]:
        """Return a free place: one shape stands in the middle, several keep apart."""
        if count == 1 and not self._taken:
            place = (0.5, 0.5, 0.27)
            self._taken.append(place)
            return place
        size = 0.36 / math.sqrt(count + len(self._taken) - index)
        best, gap = (0.5, 0.5, size), -9.0
        for _ in range(60):
            radius = size * self.chance.uniform(0.6, 1.15)
            x = self.chance.uniform(radius * self._ratio[0] + 0.04, 0.96 - radius * self._ratio[0])
            y = self.chance.uniform(radius * self._ratio[1] + 0.04, 0.96 - radius * self._ratio[1])
            free = min(
                (
                    math.hypot((x - a) / self._ratio[0], (y - b) / self._ratio[1]) - radius - other
                    for a, b, other in self._taken
                ),
                default=1.0,
            )
            if free > gap:
                best, gap = (x, y, radius), free
        self._taken.append(best)
        return best

    def _at(self, x: float, y: float, radius: float, angle: float) -> Point:
        return x + radius * math.cos(angle) * self._ratio[0], y + radius * math.sin(angle) * self._ratio[1]

    def _ngon(self, x: float, y: float, radius: float, corners: int, turn: float) -> list[Point]:
        return [self._at(x, y, radius, turn + index * math.tau / corners) for index in range(corners)]

    def _body(self, mask: Image.Image, color: Color, x: float, y: float, radius: float) -> None:
        """Lay a mask as a body: shadow, a color that turns with the light, a bright edge."""
        canvas = self.canvas
        canvas.shadow(mask, radius * 0.16, 0.42, (radius * 0.06, radius * 0.14))
        lit, deep = (
            shade(color, min(0.97, lightness(color) + 0.1), 1.0, 12),
            mix(shade(color, lightness(color) * 0.72), self.palette.dark, 0.2),
        )
        canvas.lay(color, mask)
        canvas.lay(deep, ImageChops.multiply(mask, canvas.fade(y - radius * 0.2, y + radius * 1.3)), 0.75)
        canvas.lay(
            lit,
            ImageChops.multiply(
                mask,
                canvas.glow(x - radius * 0.5 * self._ratio[0], y - radius * 0.7 * self._ratio[1], radius * 1.5, 1.2),
            ),
            0.85,
        )
        rim = ImageChops.subtract(mask, shifted(mask, canvas.unit * 0.003, canvas.unit * 0.004))
        canvas.light(self.palette.light, soften(rim, canvas.unit * 0.001), 0.45)

    def circle(self, x: float, y: float, radius: float) -> None:
        """Lay a disc."""
        self._body(self.canvas.disc(x, y, radius), self._color(), x, y, radius)

    def polygon(self, corners: int, turn: float) -> Callable[[float, float, float], None]:
        """Return what lays a regular polygon."""

        def lay(x: float, y: float, radius: float) -> None:
            tilt = 0.0 if len(self._taken) == 1 else self.chance.uniform(-0.3, 0.3)
            mask = self.canvas.polygon(self._ngon(x, y, radius * 1.12, corners, turn + tilt))
            self._body(mask, self._color(), x, y, radius)

        return lay

    def ring(self, x: float, y: float, radius: float) -> None:
        """Lay a ring."""
        mask = ImageChops.subtract(self.canvas.disc(x, y, radius), self.canvas.disc(x, y, radius * 0.66))
        self._body(mask, self._color(), x, y, radius)

    def sphere(self, x: float, y: float, radius: float) -> None:
        """Lay a sphere: light, core shadow, light from the ground, a shine and the shadow it throws."""
        canvas, color = self.canvas, self._color()
        left, up = radius * self._ratio[0], radius * self._ratio[1]
        foot = canvas.mask(
            lambda tool, place, unit: _oval(
                tool, place(x + left * 0.25, y + up * 0.98), radius * unit * 1.05, radius * unit * 0.2
            )
        )
        canvas.darken(soften(foot, radius * canvas.unit * 0.12), 0.55)
        mask = canvas.disc(x, y, radius)
        dark = mix(shade(color, lightness(color) * 0.38), self.palette.dark, 0.35)
        canvas.lay(dark, mask)
        canvas.lay(color, ImageChops.multiply(mask, canvas.glow(x - left * 0.3, y - up * 0.35, radius * 1.5, 0.75)))
        canvas.lay(
            shade(color, min(0.95, lightness(color) + 0.16)),
            ImageChops.multiply(mask, canvas.glow(x - left * 0.36, y - up * 0.42, radius * 0.85, 1.2)),
            0.9,
        )
        inside = soften(
            ImageChops.subtract(mask, canvas.disc(x - left * 0.07, y - up * 0.09, radius * 0.98)),
            radius * canvas.unit * 0.03,
        )
        canvas.light(mix(color, self.palette.light, 0.5), ImageChops.multiply(inside, mask), 0.3)
        canvas.light((255, 255, 255), canvas.glow(x - left * 0.4, y - up * 0.46, radius * 0.3, 1.6), 0.85)

    def planet(self, x: float, y: float, radius: float) -> None:
        """Lay a planet with bands, and a ring around it."""
        canvas, color = self.canvas, self._color()
        left, up = radius * self._ratio[0], radius * self._ratio[1]
        canvas.light(color, canvas.glow(x, y, radius * 1.9, 2.2), 0.35)
        ring = self._tilted_ring(x, y, radius)
        back = ImageChops.multiply(ring, canvas.polygon([(0, 0), (1, 0), (1, y), (0, y)]))
        canvas.lay(mix(self.palette.light, color, 0.35), back, 0.7)
        mask = canvas.disc(x, y, radius)
        bands = canvas.warp(canvas.noise(14, 4, stretch=9), 0.02)
        skin = canvas.map_colors(
            bands, [mix(color, self.palette.dark, 0.4), color, mix(color, self.palette.light, 0.55)]
        )
        canvas.lay(skin, mask)
        night = canvas.glow(x - left * 0.45, y - up * 0.4, radius * 1.75, 0.8).point(
            [255 - level for level in range(256)]
        )
        canvas.darken(ImageChops.multiply(night, mask), 0.85)
        front = ImageChops.multiply(ring, canvas.polygon([(0, y), (1, y), (1, 1), (0, 1)]))
        canvas.lay(mix(self.palette.light, color, 0.35), front, 0.85)

    def _tilted_ring(self, x: float, y: float, radius: float) -> Image.Image:
        def draw(tool: ImageDraw.ImageDraw, place: Callable[[float, float], Point], unit: float) -> None:
            cx, cy = place(x, y)
            for wide, level in ((1.95, 190), (1.62, 0), (1.56, 255), (1.32, 0)):
                _oval(tool, (cx, cy), radius * wide * unit, radius * wide * unit * 0.24, level)

        return self.canvas.mask(draw)

    def cube(self, x: float, y: float, radius: float) -> None:
        """Lay a cube from a corner: a light top, a left and a right side."""
        canvas, color = self.canvas, self._color()
        corners = self._ngon(x, y, radius * 1.05, 6, -math.pi / 2)
        canvas.shadow(canvas.polygon(corners), radius * 0.2, 0.5, (radius * 0.1, radius * 0.2))
        faces = (
            ([corners[5], corners[0], corners[1], (x, y)], shade(color, min(0.96, lightness(color) + 0.14))),
            ([corners[4], corners[5], (x, y), corners[3]], color),
            (
                [corners[1], corners[2], corners[3], (x, y)],
                mix(shade(color, lightness(color) * 0.6), self.palette.dark, 0.2),
            ),
        )
        for points, tone in faces:
            face = canvas.polygon(points)
            canvas.lay(tone, face)
            canvas.lay(
                mix(tone, self.palette.dark, 0.5),
                ImageChops.multiply(face, canvas.fade(y - radius * 0.6, y + radius * 1.2)),
                0.35,
            )

    def spiral(self, x: float, y: float, radius: float) -> None:
        """Lay a spiral that grows thicker outward."""
        turns, steps = 3.5, 260
        outer, inner = [], []
        for step in range(steps + 1):
            part = step / steps
            angle, thick = part * turns * math.tau, radius * (0.02 + 0.07 * part)
            outer.append(self._at(x, y, radius * part + thick / 2, angle))
            inner.append(self._at(x, y, max(0.0, radius * part - thick / 2), angle))

        def draw(tool: ImageDraw.ImageDraw, place: Callable[[float, float], Point], unit: float) -> None:
            for step in range(steps):  # in pieces: a polygon that crosses itself has holes
                piece = (outer[step], outer[step + 1], inner[step + 1], inner[step])
                tool.polygon([place(*point) for point in piece], fill=255, outline=255)

        self._body(self.canvas.mask(draw), self._color(), x, y, radius)

    def flower(self, x: float, y: float, radius: float) -> None:
        """Lay a flower: two rings of petals and a heart of small dots."""
        petals = self.chance.choice((6, 7, 8))
        color = self._color()
        turn = self.chance.uniform(0, 1)
        for ring, (reach, tone) in enumerate(((1.0, color), (0.66, mix(color, self.palette.light, 0.35)))):
            for petal in range(petals):
                angle = turn + (petal + ring * 0.5) * math.tau / petals
                self._body(self._petal(x, y, radius * reach, angle, petals), tone, x, y, radius)
        self._body(
            self.canvas.disc(x, y, radius * 0.2),
            self.palette.accent if color != self.palette.accent else self.palette.light,
            x,
            y,
            radius * 0.2,
        )

    def _petal(self, x: float, y: float, radius: float, angle: float, petals: int) -> Image.Image:
        width = 2.2 / petals
        points = []
        for step in range(41):
            part = step / 40 * math.tau
            along = radius * (0.5 - 0.5 * math.cos(part))
            across = radius * width * 0.55 * math.sin(part) * (0.35 + 0.65 * along / radius)
            px, py = (
                along * math.cos(angle) - across * math.sin(angle),
                along * math.sin(angle) + across * math.cos(angle),
            )
            points.append((x + px * self._ratio[0], y + py * self._ratio[1]))
        return self.canvas.polygon(points)

    def heart(self, x: float, y: float, radius: float) -> None:
        """Lay a heart."""
        points = []
        for step in range(81):
            part = step / 80 * math.tau
            hx = 16 * math.sin(part) ** 3
            hy = 13 * math.cos(part) - 5 * math.cos(2 * part) - 2 * math.cos(3 * part) - math.cos(4 * part)
            points.append((x + hx / 16 * radius * self._ratio[0], y - (hy + 2) / 16 * radius * self._ratio[1]))
        self._body(self.canvas.polygon(points), self._color(), x, y, radius)

    def cross(self, x: float, y: float, radius: float) -> None:
        """Lay a cross of four equal arms."""
        arm = 0.34
        raw = [
            (-arm, -1),
            (arm, -1),
            (arm, -arm),
            (1, -arm),
            (1, arm),
            (arm, arm),
            (arm, 1),
            (-arm, 1),
            (-arm, arm),
            (-1, arm),
            (-1, -arm),
            (-arm, -arm),
        ]
        points = [(x + a * radius * self._ratio[0], y + b * radius * self._ratio[1]) for a, b in raw]
        self._body(self.canvas.polygon(points), self._color(), x, y, radius)

    def star(self, x: float, y: float, radius: float) -> None:
        """Lay a star of five points."""
        points = [
            self._at(x, y, radius * (1.08 if index % 2 == 0 else 0.45), -math.pi / 2 + index * math.pi / 5)
            for index in range(10)
        ]
        self._body(self.canvas.polygon(points), self._color(), x, y, radius)

    def _dots(self, count: int) -> None:
        columns = max(3, round(math.sqrt(count * self.canvas.width / self.canvas.height)))
        rows = max(3, round(count / columns))
        swell = (self.chance.uniform(0.2, 0.8), self.chance.uniform(0.2, 0.8))
        colors = [self._color() for _ in range(3)]
        for index, color in enumerate(colors):

            def draw(
                tool: ImageDraw.ImageDraw, place: Callable[[float, float], Point], unit: float, index: int = index
            ) -> None:
                for column in range(columns):
                    for row in range(rows):
                        if (column + 2 * row) % 3 != index:
                            continue
                        x, y = (column + 0.5) / columns, (row + 0.5) / rows
                        near = max(0.0, 1 - math.hypot(x - swell[0], y - swell[1]) * 1.1)
                        size = unit * (0.1 + 0.34 * near) / max(columns * self._ratio[0], rows * self._ratio[1])
                        _oval(tool, place(x, y), size, size)

            mask = self.canvas.mask(draw)
            self.canvas.shadow(mask, 0.008, 0.35)
            self.canvas.lay(color, mask)

    def _lines(self, count: int) -> None:
        for index in range(count):
            y = (index + 0.5) / count
            phase, swing = self.chance.uniform(0, 6.28), 0.4 / count
            line = [(step / 60, y + swing * math.sin(step / 60 * 9 + phase)) for step in range(61)]
            thick = 0.16 / count
            mask = self.canvas.polygon([*line, *[(x, y + thick) for x, y in reversed(line)]])
            self.canvas.shadow(mask, 0.01, 0.35)
            self.canvas.lay(self._color(), mask)


def _oval(tool: ImageDraw.ImageDraw, center: Point, across: float, down: float, level: int = 255) -> None:
    x, y = center
    tool.ellipse((x - across, y - down, x + across, y + down), fill=level)


KINDS: dict[str, Callable[[Shapes, float, float, float], None]] = {
    "circle": Shapes.circle,
    "square": lambda shapes, x, y, radius: shapes.polygon(4, math.pi / 4)(x, y, radius),
    "triangle": lambda shapes, x, y, radius: shapes.polygon(3, -math.pi / 2)(x, y, radius),
    "hexagon": lambda shapes, x, y, radius: shapes.polygon(6, 0.0)(x, y, radius),
    "diamond": lambda shapes, x, y, radius: shapes.polygon(4, 0.0)(x, y, radius),
    "ring": Shapes.ring,
    "sphere": Shapes.sphere,
    "planet": Shapes.planet,
    "cube": Shapes.cube,
    "spiral": Shapes.spiral,
    "flower": Shapes.flower,
    "heart": Shapes.heart,
    "cross": Shapes.cross,
    "dots": Shapes.circle,
    "lines": Shapes.circle,
}
"""The shapes by subject; dots and lines are laid as a whole."""
