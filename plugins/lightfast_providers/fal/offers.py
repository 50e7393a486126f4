"""Models of fal that are listed; every other is there by its id, such as `fal/fal-ai/recraft/v3/text-to-image`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightfast.sdk import Model, Price

MORE = {
    "type": "object",
    "description": "Further fields of the model's input, as its page on fal.ai names them.",
}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*){1,7}")
_SIZES = ["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
_IMAGE: dict[str, Any] = {
    "image_size": {"type": "string", "enum": _SIZES, "default": "landscape_4_3"},
    "num_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "enable_safety_checker": {"type": "boolean", "default": True},
}
_KLING: dict[str, Any] = {
    "duration": {"type": "string", "enum": ["5", "10"], "default": "5", "description": "In seconds."},
    "negative_prompt": {"type": "string", "default": "blur, distort, and low quality"},
    "cfg_scale": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
}


def _steps(most: int, usual: int) -> dict[str, Any]:
    return {"num_inference_steps": {"type": "integer", "minimum": 1, "maximum": most, "default": usual}}


def _schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {**properties, "input": MORE}}


LISTED = (
    Model(
        "fal-ai/flux-1/schnell",
        outputs=("image",),
        description="FLUX.1 [schnell]: an image in a few steps.",
        settings=_schema({**_IMAGE, **_steps(12, 4)}),
        capabilities=("jobs", "seed"),
        tags=("fast", "cheap"),
        # A megapixel each; the sizes on offer have at most about one.
        prices=(Price("image", 0.003, "https://fal.ai/models/fal-ai/flux-1/schnell/llms.txt", "2026-11-20"),),
    ),
    Model(
        "fal-ai/flux/dev",
        outputs=("image",),
        description="FLUX.1 [dev]: an image that follows its text closely.",
        settings=_schema(
            {
                **_IMAGE,
                **_steps(50, 28),
                "guidance_scale": {"type": "number", "minimum": 1, "maximum": 20, "default": 3.5},
            }
        ),
        capabilities=("jobs", "seed"),
    ),
    Model(
        "fal-ai/flux/dev/image-to-image",
        outputs=("image",),
        inputs=("text", "image"),
        description="FLUX.1 [dev]: an image made anew from another and a text.",
        settings=_schema(
            {
                "num_images": _IMAGE["num_images"],
                "enable_safety_checker": _IMAGE["enable_safety_checker"],
                **_steps(50, 40),
                "strength": {"type": "number", "minimum": 0.01, "maximum": 1, "default": 0.95},
            }
        ),
        capabilities=("jobs", "seed", "edit"),
        needs_sources=1,
    ),
    Model(
        "fal-ai/kling-video/v2.5-turbo/pro/text-to-video",
        outputs=("video",),
        description="Kling 2.5 Turbo: five or ten seconds of film from a text.",
        settings=_schema(
            {**_KLING, "aspect_ratio": {"type": "string", "enum": ["16:9", "9:16", "1:1"], "default": "16:9"}}
        ),
        capabilities=("jobs",),
    ),
    Model(
        "fal-ai/kling-video/v2.5-turbo/pro/image-to-video",
        outputs=("video",),
        inputs=("text", "image"),
        description="Kling 2.5 Turbo: five or ten seconds of film that begin with an image.",
        settings=_schema(_KLING),
        capabilities=("jobs", "edit"),
        needs_sources=1,
    ),
    Model(
        "fal-ai/stable-audio",
        outputs=("audio",),
        description="Stable Audio Open: music and sounds from a text, up to 47 seconds.",
        settings=_schema(
            {
                "seconds_total": {"type": "integer", "minimum": 1, "maximum": 47, "default": 30},
                "steps": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            }
        ),
        capabilities=("jobs",),
    ),
)


def unlisted(name: str) -> Model | None:
    """Return the model with an id that is not listed: its owner, its application, and perhaps a path."""
    if not _ID.fullmatch(name):
        return None
    outputs: tuple[str, ...] = ("image", "video", "audio")
    for words, output in ((("video",), "video"), (("audio", "speech", "tts", "music", "sound"), "audio")):
        if any(word in name for word in words):
            outputs = (output,)
            break
    return Model(
        name,
        outputs=outputs,
        inputs=("text", "image", "video", "audio"),
        description=f"{name} on fal; its page says what it takes.",
        settings=_schema({}),
        capabilities=("jobs",),
    )
