"""The rooms where pictures are worked on: style transfer and manipulation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from lightfast.sdk import (
    Artifact,
    GenerationRequest,
    MissingDependency,
    Model,
    Progress,
    ProviderError,
    Step,
    Workbench,
)
from lightfast_providers.studio.common import GENERATOR, MODES, file_name, number_rule, real, whole_rule


def _yes(description: str) -> dict[str, Any]:
    return {"type": "boolean", "default": False, "description": description}


STYLE: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "color": number_rule(0, 1, 1.0, "How far the colors go to those of the style."),
        "texture": number_rule(0, 1, 0.6, "How far the texture goes to that of the style."),
    },
}
EDIT: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "crop_left": whole_rule(0, 32_768, 0, "In pixels."),
        "crop_top": whole_rule(0, 32_768, 0, "In pixels."),
        "crop_width": whole_rule(0, 32_768, 0, "In pixels; 0: all there is."),
        "crop_height": whole_rule(0, 32_768, 0, "In pixels; 0: all there is."),
        "width": whole_rule(0, 16_384, 0, "The new width in pixels; 0: by the height, or as it is."),
        "height": whole_rule(0, 16_384, 0, "The new height in pixels; 0: by the width, or as it is."),
        "fit": {
            "type": "string",
            "enum": ["stretch", "fill", "contain"],
            "default": "stretch",
            "description": "With both given: stretch it, fill (cut what is over) or contain (leave room).",
        },
        "upscale": whole_rule(1, 4, 1, "How many times as large, with its details kept sharp."),
        "rotate": number_rule(-360, 360, 0.0, "Clockwise, in degrees."),
        "mirror": _yes("Left becomes right."),
        "flip": _yes("Top becomes bottom."),
        "exposure": number_rule(-8, 8, 0.0, "In stops: each doubles the light."),
        "temperature": number_rule(-1, 1, 0.0, "Colder below 0, warmer above."),
        "brightness": number_rule(-1, 1, 0.0, "Added to every color."),
        "contrast": number_rule(-1, 4, 0.0, "How far colors go from the middle grey; 0 as it is."),
        "gamma": number_rule(0.1, 10, 1.0, "Above 1 the middle gets lighter."),
        "hue": number_rule(-180, 180, 0.0, "In degrees around the grey axis."),
        "saturation": number_rule(0, 4, 1.0, "0 is grey, 1 as it is."),
        "invert": _yes("The negative."),
        "posterize": whole_rule(0, 64, 0, "To so many steps of each color; 0: not."),
        "blur": number_rule(0, 200, 0.0, "A Gauss of so many pixels."),
        "sharpen": number_rule(0, 5, 0.0, "How much of the fine detail is added again."),
        "vignette": number_rule(0, 1, 0.0, "How dark the corners get."),
        "over_x": whole_rule(-32_768, 32_768, 0, "Where the second picture is laid, in pixels from the left."),
        "over_y": whole_rule(-32_768, 32_768, 0, "In pixels from the top."),
        "over_scale": number_rule(0.01, 16, 1.0, "How large the second picture is."),
        "opacity": number_rule(0, 1, 1.0, "How much the second picture covers."),
        "mode": {"type": "string", "enum": [*MODES], "default": "normal", "description": "How both mix."},
        "mask": {
            "type": "string",
            "enum": ["none", "over", "changes"],
            "default": "none",
            "description": "The last picture is a mask: white is where the second one, or the changes, are seen.",
        },
    },
}


def _model(name: str, description: str, settings: Mapping[str, Any], needs: int) -> Model:
    return Model(
        name,
        outputs=("image",),
        inputs=("text", "image"),
        description=description,
        settings=settings,
        procedural=True,
        capabilities=("edit",),
        free=True,
        needs_sources=needs,
    )


MODELS = (
    _model(
        "style",
        "Gives the first picture the style of the second (no learned model): the statistics of its colors and of its"
        " texture.",
        STYLE,
        2,
    ),
    _model(
        "edit",
        "Works on a picture (no learned model): crop, resize, upscale, rotate, light, color, blur, sharpen; lays a"
        " second one over it, by a mask where wanted.",
        EDIT,
        1,
    ),
)


async def make(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    """Work on the sources; all work is done on the bench."""
    try:
        import PIL  # noqa: F401 — what is missing is said before anything is done
    except ModuleNotFoundError:
        raise MissingDependency("Pillow", "pip install pillow") from None
    steps = _style if request.model == "style" else _edit
    async for step in steps(request, bench):
        yield step


async def _style(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    from lightfast_providers.studio import style
    from lightfast_providers.studio.adjust import png
    from lightfast_providers.studio.film import picture_of

    if len(request.sources) != 2:
        raise ProviderError(
            f"style needs two pictures, the one to change and the one whose style it gets, {len(request.sources)} were"
            " given",
            kind="invalid",
        )
    yield Progress(0.0, "reading the pictures")
    content, target = [await bench.run(picture_of, source) for source in request.sources]
    yield Progress(0.2, "transferring color and texture")
    color, texture = real(request.settings, "color"), real(request.settings, "texture")
    out = await bench.run(style.transferred, content, target, color, texture)
    yield Progress(0.8, "measuring")
    before = await bench.run(style.distance, content, target)
    after = await bench.run(style.distance, out, target)
    told = {
        "generator": GENERATOR,
        "color_distance": [round(before[0], 5), round(after[0], 5)],
        "texture_distance": [round(before[1], 5), round(after[1], 5)],
    }
    yield Artifact("image/png", await bench.run(_framed_png, out, png), f"{file_name(request)}.png", told)


def _framed_png(picture: Any, png: Any) -> bytes:
    import numpy as np

    cover = np.ones((*picture.shape[:2], 1), np.float32)
    return bytes(png(np.concatenate((picture.astype(np.float32) / 255, cover), axis=2)))


async def _edit(request: GenerationRequest, bench: Workbench) -> AsyncIterator[Step]:
    from lightfast_providers.studio import adjust

    settings = request.settings
    usual = {name: rule["default"] for name, rule in EDIT["properties"].items()}
    asked = [name for name, value in settings.items() if name in usual and value != usual[name]]
    masked = str(settings["mask"])
    wanted = 1 + (masked != "none") + (masked == "over")
    if not wanted <= len(request.sources) <= 2 + (masked != "none"):
        raise ProviderError(
            f"edit takes a picture, one to lay over it, and a mask: with mask = {masked} that are {wanted} to"
            f" {2 + (masked != 'none')}, {len(request.sources)} were given",
            kind="invalid",
        )
    if not asked and len(request.sources) == 1:
        raise ProviderError(f"nothing was asked for: use of the settings {', '.join(usual)}", kind="invalid")
    yield Progress(0.0, "reading the pictures")
    pictures = [await bench.run(adjust.read, source) for source in request.sources]
    yield Progress(0.2, "placing")
    placed = await bench.run(adjust.placed, pictures[0], settings)
    rows, columns = placed.shape[:2]
    mask = await bench.run(adjust.mask_of, pictures[-1], columns, rows) if masked != "none" else None
    yield Progress(0.4, "adjusting")
    out = await bench.run(_changed, placed, settings)
    if masked == "changes" and mask is not None:
        out = placed + (out - placed) * mask[..., None]
    over = pictures[1] if len(pictures) - (masked != "none") == 2 else None
    if over is not None:
        yield Progress(0.7, "laying the second one over it")
        out = await bench.run(adjust.laid, out, over, settings, mask if masked == "over" else None)
    yield Progress(0.9, "writing the PNG")
    told = {"generator": GENERATOR, "width": columns, "height": rows, "done": asked}
    yield Artifact("image/png", await bench.run(adjust.png, out), f"{file_name(request)}.png", told)


def _changed(picture: Any, settings: Mapping[str, Any]) -> Any:
    from lightfast_providers.studio import adjust

    out = adjust.adjusted(picture, settings)
    out = adjust.sharpened(out, settings["blur"], settings["sharpen"])
    return adjust.vignetted(out, settings["vignette"]) if settings["vignette"] > 0 else out
