"""From a prompt to a picture, in stages."""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lightfast_providers.studio import sky
from lightfast_providers.studio.canvas import Canvas
from lightfast_providers.studio.grounds import STYLES
from lightfast_providers.studio.landscape import ORDER
from lightfast_providers.studio.palette import choose
from lightfast_providers.studio.scene import Scene
from lightfast_providers.studio.shapes import KINDS, Shapes
from lightfast_providers.studio.words import LANDSCAPE, Reading, read

PREVIEW = 192
"""The longer side of a preview, in pixels."""
GENERATOR = "studio (procedural, no learned model)"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be painted; *style* `auto` goes by the prompt, *grain* from 0 to 1."""

    prompt: str
    seed: int
    width: int
    height: int
    style: str = "auto"
    grain: float = 0.4


class Painter:
    """Paints one picture; the stages are called in order, each from any thread, one at a time."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.reading: Reading = read(order.prompt)
        said = " ".join(order.prompt.lower().split())
        chance = Random(f"{order.seed}/{said}")  # noqa: S311 — chance, not secrecy
        self._canvas = Canvas(order.width, order.height, chance)
        self._palette = choose(self.reading, self._canvas.chance)
        subjects = set(self.reading.subjects)
        lone_stars = "stars" in subjects and not (subjects & LANDSCAPE - {"stars"}) and not self.reading.dark
        self._star_shapes = lone_stars and dict(self.reading.counts).get("stars", 1) < 12
        self.is_landscape = bool(subjects & LANDSCAPE) and not self._star_shapes
        self.style = self._style()
        self._scene = Scene(self._canvas, self._palette, self.reading) if self.is_landscape else None

    def _style(self) -> str:
        if self.order.style != "auto":
            return self.order.style
        if self.reading.styles:
            return self.reading.styles[0]
        if self.is_landscape:
            return "sky"
        if set(self.reading.subjects) & set(KINDS) or self._star_shapes:
            return "gradient"
        return self._canvas.chance.choice(tuple(STYLES))

    def ground(self) -> None:
        """Lay the ground: a sky, or one of the styles."""
        if self.style in STYLES:
            STYLES[self.style](self._canvas, self._palette)
            if self._has_shapes():  # what stands on it must be seen
                self._canvas.blur(0.004)
                self._canvas.darken(self._canvas.fade(-0.2, 1.2), 0.35)
        elif self._scene is not None:
            sky.sky(self._scene)

    def subjects(self) -> None:
        """Draw what the prompt names, from far to near, then shapes."""
        if self._scene is not None:
            for name, draw in ORDER:
                if name in self.reading.subjects:
                    draw(self._scene)
        shapes = Shapes(self._canvas, self._palette, self.reading)
        for name in self.reading.subjects:
            if name == "stars" and self._star_shapes:
                shapes.lay_stars()
            elif name in KINDS and not (name == "ring" and "planet" in self.reading.subjects):  # it is the planet's
                shapes.lay(name)

    def _has_shapes(self) -> bool:
        return self._star_shapes or bool(set(self.reading.subjects) & set(KINDS))

    def finish(self) -> None:
        """Darken the corners and add grain."""
        self._canvas.finish(self.order.grain)

    def preview(self) -> bytes:
        """Return a small JPEG of what is there."""
        small = self._canvas.image.copy()
        small.thumbnail((PREVIEW, PREVIEW), Image.Resampling.BILINEAR)
        return _saved(small, "JPEG", quality=80)

    def png(self) -> bytes:
        """Return the picture as PNG; its text chunks say how it came to be."""
        info = PngInfo()
        info.add_text("Software", GENERATOR)
        info.add_itxt("Description", self.order.prompt)
        info.add_text("Comment", f"seed {self.order.seed}, style {self.style}: made by rules, without a learned model")
        return _saved(self._canvas.image, "PNG", pnginfo=info, compress_level=6)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
