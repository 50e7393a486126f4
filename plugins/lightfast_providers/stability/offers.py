"""What Stability offers: by which path each is asked, with which fields and files, for how many credits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import Model, Price

CREDIT_USD = 0.01
_SOURCE = "https://platform.stability.ai/pricing"
IMAGE_RESULTS = "results"
AUDIO_RESULTS = "audio/results"


@dataclass(frozen=True, slots=True)
class Offer:
    """A model and how it is asked for.

    *files* are the fields its sources go into, in their order; the first *needed* of them must be there. *results* is
    where a job is asked about; empty where the answer is the result. *prompt* is the field of the prompt, empty: none.
    """

    model: Model
    path: str
    credits: float
    files: tuple[str, ...] = ()
    needed: int = 0
    results: str = ""
    prompt: str = "prompt"
    fixed: Mapping[str, str] = field(default_factory=dict)


_RATIO = {
    "type": "string",
    "enum": ["1:1", "16:9", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"],
    "default": "1:1",
}
_FORMAT = {"type": "string", "enum": ["png", "jpeg", "webp"], "default": "png"}
_PLAIN_FORMAT = {"type": "string", "enum": ["png", "jpeg"], "default": "png"}
_NEGATIVE = {"type": "string", "description": "What is not to be seen."}
_STYLES = [
    *("3d-model", "analog-film", "anime", "cinematic", "comic-book", "digital-art", "enhance", "fantasy-art"),
    *("isometric", "line-art", "low-poly", "modeling-compound", "neon-punk", "origami", "photographic", "pixel-art"),
    "tile-texture",
]
_STYLE = {"type": "string", "enum": _STYLES}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SIDE = {"type": "integer", "minimum": 0, "maximum": 2000, "default": 0, "description": "In pixels."}
_GROW = {
    "type": "integer",
    "minimum": 0,
    "maximum": 100,
    "default": 5,
    "description": "By so many pixels the mask grows.",
}
_SOUND_FORMAT = {"type": "string", "enum": ["mp3", "wav"], "default": "mp3"}


def _offer(
    name: str,
    path: str,
    credits_each: float,
    text: str,
    settings: dict[str, Any],
    *,
    date: str = "2025-08-01",
    output: str = "image",
    files: tuple[str, ...] = (),
    needed: int = 0,
    results: str = "",
    prompt: str = "prompt",
    fixed: Mapping[str, str] | None = None,
    tags: tuple[str, ...] = (),
) -> Offer:
    kind = "audio" if "audio" in files else "image"
    model = Model(
        name,
        outputs=(output,),
        inputs=(*(("text",) if prompt else ()), *((kind,) if files else ())),
        description=text,
        settings={"type": "object", "properties": settings},
        capabilities=("seed", *(("edit",) if files else ()), *(("jobs",) if results else ())),
        tags=tags,
        needs_sources=needed,
        # What is booked are the credits; the price of one result is what is expected before.
        prices=(
            Price("credit", CREDIT_USD, _SOURCE, date),
            Price("image" if output == "image" else "request", round(credits_each * CREDIT_USD, 6), _SOURCE, date),
        ),
    )
    return Offer(model, path, credits_each, files, needed, results, prompt, fixed or {})


def _sd3(name: str, credits_each: float, text: str, tags: tuple[str, ...] = ()) -> Offer:
    settings = {
        "aspect_ratio": _RATIO,
        "negative_prompt": _NEGATIVE,
        "cfg_scale": {"type": "number", "minimum": 1, "maximum": 10},
        "strength": {**_SHARE, "default": 0.7, "description": "How much of a given image may change."},
        "output_format": _PLAIN_FORMAT,
    }
    return _offer(
        name,
        "stable-image/generate/sd3",
        credits_each,
        text,
        settings,
        date="2026-06-01",
        files=("image",),
        fixed={"model": name},
        tags=tags,
    )


OFFERS = (
    _offer(
        "ultra",
        "stable-image/generate/ultra",
        8,
        "Stable Image Ultra: the best image, from a text and perhaps another image.",
        {
            "aspect_ratio": _RATIO,
            "negative_prompt": _NEGATIVE,
            "style_preset": _STYLE,
            "strength": {**_SHARE, "default": 0.7, "description": "How much of a given image may change."},
            "output_format": _FORMAT,
        },
        date="2026-06-01",
        files=("image",),
        tags=("best",),
    ),
    _offer(
        "core",
        "stable-image/generate/core",
        3,
        "Stable Image Core: a good image, fast.",
        {"aspect_ratio": _RATIO, "negative_prompt": _NEGATIVE, "style_preset": _STYLE, "output_format": _FORMAT},
        date="2026-06-01",
        tags=("fast", "cheap"),
    ),
    _sd3("sd3.5-large", 6.5, "Stable Diffusion 3.5 Large: an image from a text, or from another image."),
    _sd3("sd3.5-large-turbo", 4, "Stable Diffusion 3.5 Large Turbo: the same, in fewer steps.", ("fast",)),
    _sd3("sd3.5-medium", 3.5, "Stable Diffusion 3.5 Medium: the same, smaller."),
    _offer(
        "erase",
        "stable-image/edit/erase",
        5,
        "Takes out of an image what a mask (the second image) marks.",
        {"grow_mask": _GROW, "output_format": _FORMAT},
        files=("image", "mask"),
        needed=1,
        prompt="",
    ),
    _offer(
        "inpaint",
        "stable-image/edit/inpaint",
        5,
        "Makes anew, by a text, what a mask (the second image) marks.",
        {"negative_prompt": _NEGATIVE, "style_preset": _STYLE, "grow_mask": _GROW, "output_format": _FORMAT},
        files=("image", "mask"),
        needed=1,
    ),
    _offer(
        "outpaint",
        "stable-image/edit/outpaint",
        4,
        "Continues an image beyond its sides.",
        {
            **dict.fromkeys(("left", "right", "up", "down"), _SIDE),
            "creativity": {**_SHARE, "default": 0.5},
            "style_preset": _STYLE,
            "output_format": _FORMAT,
        },
        files=("image",),
        needed=1,
    ),
    _offer(
        "search-and-replace",
        "stable-image/edit/search-and-replace",
        5,
        "Replaces what `search_prompt` names by what the text says.",
        {
            "search_prompt": {"type": "string"},
            "negative_prompt": _NEGATIVE,
            "grow_mask": _GROW,
            "output_format": _FORMAT,
        },
        files=("image",),
        needed=1,
    ),
    _offer(
        "search-and-recolor",
        "stable-image/edit/search-and-recolor",
        5,
        "Colours what `select_prompt` names as the text says.",
        {
            "select_prompt": {"type": "string"},
            "negative_prompt": _NEGATIVE,
            "grow_mask": _GROW,
            "output_format": _FORMAT,
        },
        files=("image",),
        needed=1,
    ),
    _offer(
        "remove-background",
        "stable-image/edit/remove-background",
        5,
        "Leaves only what is in front.",
        {"output_format": {"type": "string", "enum": ["png", "webp"], "default": "png"}},
        files=("image",),
        needed=1,
        prompt="",
    ),
    _offer(
        "replace-background-and-relight",
        "stable-image/edit/replace-background-and-relight",
        8,
        "Puts what is in front before another background, and lights it to fit.",
        {
            "foreground_prompt": {"type": "string"},
            "negative_prompt": _NEGATIVE,
            "preserve_original_subject": {**_SHARE, "default": 0.6},
            "light_source_direction": {"type": "string", "enum": ["above", "below", "left", "right"]},
            "output_format": _FORMAT,
        },
        files=("subject_image", "background_reference", "light_reference"),
        needed=1,
        results=IMAGE_RESULTS,
        prompt="background_prompt",
    ),
    _offer(
        "sketch",
        "stable-image/control/sketch",
        5,
        "Turns a sketch into an image.",
        {"control_strength": {**_SHARE, "default": 0.7}, "negative_prompt": _NEGATIVE, "output_format": _FORMAT},
        files=("image",),
        needed=1,
    ),
    _offer(
        "structure",
        "stable-image/control/structure",
        5,
        "Makes an image with the structure of another.",
        {"control_strength": {**_SHARE, "default": 0.7}, "negative_prompt": _NEGATIVE, "output_format": _FORMAT},
        files=("image",),
        needed=1,
    ),
    _offer(
        "style",
        "stable-image/control/style",
        5,
        "Makes an image in the style of another.",
        {
            "aspect_ratio": _RATIO,
            "fidelity": {**_SHARE, "default": 0.5},
            "negative_prompt": _NEGATIVE,
            "output_format": _FORMAT,
        },
        files=("image",),
        needed=1,
    ),
    _offer(
        "upscale-fast",
        "stable-image/upscale/fast",
        2,
        "Four times as large, in a second.",
        {"output_format": _FORMAT},
        files=("image",),
        needed=1,
        prompt="",
    ),
    _offer(
        "upscale-conservative",
        "stable-image/upscale/conservative",
        40,
        "Up to four megapixels, and otherwise as it was.",
        {
            "creativity": {"type": "number", "minimum": 0.2, "maximum": 0.5, "default": 0.35},
            "negative_prompt": _NEGATIVE,
            "output_format": _FORMAT,
        },
        files=("image",),
        needed=1,
    ),
    _offer(
        "upscale-creative",
        "stable-image/upscale/creative",
        60,
        "Up to four megapixels, with what was never there.",
        {
            "creativity": {"type": "number", "minimum": 0.1, "maximum": 0.5, "default": 0.3},
            "negative_prompt": _NEGATIVE,
            "output_format": _FORMAT,
        },
        files=("image",),
        needed=1,
        results=IMAGE_RESULTS,
    ),
    _offer(
        "stable-audio-3",
        "audio/stable-audio/text-to-audio",
        26,
        "Stable Audio 3: music and sounds from a text, up to 380 seconds.",
        {
            "duration": {"type": "number", "minimum": 1, "maximum": 380, "default": 30, "description": "In seconds."},
            "steps": {"type": "integer", "minimum": 4, "maximum": 8, "default": 8},
            "cfg_scale": {"type": "number", "minimum": 1, "maximum": 25, "default": 1},
            "output_format": _SOUND_FORMAT,
        },
        date="2026-09-03",
        output="audio",
        results=AUDIO_RESULTS,
        fixed={"model": "stable-audio-3"},
        tags=("best",),
    ),
    _offer(
        "stable-audio-3-remix",
        "audio/stable-audio/audio-to-audio",
        26,
        "Stable Audio 3: music and sounds from other sound and a text.",
        {
            "duration": {"type": "number", "minimum": 1, "maximum": 380, "default": 30, "description": "In seconds."},
            "strength": {**_SHARE, "default": 1, "description": "How much may change."},
            "output_format": _SOUND_FORMAT,
        },
        date="2026-09-03",
        output="audio",
        files=("audio",),
        needed=1,
        results=AUDIO_RESULTS,
        fixed={"model": "stable-audio-3"},
    ),
    _offer(
        "stable-audio-2.5",
        "audio/stable-audio-2/text-to-audio",
        20,
        "Stable Audio 2.5: music and sounds from a text, up to 190 seconds.",
        {
            "duration": {"type": "number", "minimum": 1, "maximum": 190, "default": 30, "description": "In seconds."},
            "output_format": _SOUND_FORMAT,
        },
        date="2026-05-08",
        output="audio",
        fixed={"model": "stable-audio-2.5"},
        tags=("fast",),
    ),
)
BY_NAME = {offer.model.name: offer for offer in OFFERS}
