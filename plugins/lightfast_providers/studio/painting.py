"""The room where pictures are painted from words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    MissingDependency,
    Model,
    Preview,
    Progress,
    Step,
    Workbench,
)
from lightfast_providers.studio.common import GENERATOR, file_name, real, whole

IMAGE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "width": {"type": "integer", "minimum": 64, "maximum": 2048, "default": 1024, "description": "In pixels."},
        "height": {"type": "integer", "minimum": 64, "maximum": 2048, "default": 1024, "description": "In pixels."},
        "style": {
            "type": "string",
            "enum": ["auto", "gradient", "geometric", "field", "stripes", "radial"],
            "default": "auto",
            "description": "How the ground is laid; auto goes by the words of the prompt.",
        },
        "grain": {
            "type": "number",
            "minimum": 0.0,
            "maximum": 1.0,
            "default": 0.4,
            "description": "How much film grain lies over it.",
        },
    },
}

MODELS = (
    Model(
        "image",
        outputs=("image",),
        description=(
            "Paints a PNG by rule (procedural, no learned model): palettes from color and mood words,"
            " landscapes and shapes from nouns, five styles; the same seed gives the same picture."
        ),
        settings=IMAGE,
        procedural=True,
        capabilities=("seed", "preview"),
        free=True,
    ),
)


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Paint; all work is done on the bench."""
    yield Progress(0.0, "reading the prompt")
    try:
        from lightfast_providers.studio.picture import Order, Painter
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        raise MissingDependency("Pillow", "pip install pillow") from None
    settings = request.settings
    order = Order(
        request.prompt,
        request.seed,
        whole(settings, "width"),
        whole(settings, "height"),
        str(settings["style"]),
        real(settings, "grain"),
    )
    painter = await bench.run(Painter, order)
    yield Progress(0.05, f"laying the ground ({painter.style})")
    await bench.run(painter.ground)
    yield Preview("image/jpeg", await bench.run(painter.preview))
    yield Progress(0.4, "drawing " + (", ".join(painter.reading.subjects) or "nothing more"))
    await bench.run(painter.subjects)
    yield Preview("image/jpeg", await bench.run(painter.preview))
    yield Progress(0.75, "finishing")
    await bench.run(painter.finish)
    yield Progress(0.85, "writing the PNG")
    content = await bench.run(painter.png)
    yield Artifact(
        "image/png", content, f"{file_name(request)}.png", {"generator": GENERATOR, "painted_style": painter.style}
    )
