"""Gemini's models, as of 2026-11-20.

Names and windows are those of genai-prices 0.2.3 (2026-11-10), which has their prices, too; longest answers, kinds of
sources and dates are those of the service's pages (ai.google.dev: models, deprecations; read 2026-09 to 2026-11).
Other models of the account are found by `discover`. Limits differ by project and model and are published nowhere but in
the user's own console, so there are no tiers here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightfast.sdk import Model

AS_OF = "2026-11-20"
TEXT = ("stream", "schema", "system", "seed", "batch", "count_tokens")
LEVELS = ("low", "medium", "high")
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
SIZES = ("1K", "2K", "4K")
EVERYTHING = ("text", "image", "audio", "video")
DEFAULT_VOICE = "Kore"

_STOP = {"type": "array", "description": "texts at which the answer ends"}
_TEMPERATURE = {"type": "number", "minimum": 0, "maximum": 2, "description": "how freely it chooses its words"}
_THINKING = {"type": "string", "enum": list(LEVELS), "description": "how long it thinks first"}
_RATIO = {"type": "string", "enum": list(RATIOS), "description": "width to height; without it the model decides"}
_SIZE = {"type": "string", "enum": list(SIZES), "default": "1K", "description": "about so many pixels a side"}
_VOICE = {"type": "string", "default": DEFAULT_VOICE, "description": "a voice of the service, such as Kore or Puck"}
_LANGUAGE = {"type": "string", "description": "the language to speak, such as en-US; without it, that of the text"}


def _settings(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _text(name: str, description: str, window: int, longest: int, **more: Any) -> Model:
    return Model(
        name,
        outputs=("text",),
        inputs=EVERYTHING,
        description=description,
        settings=_settings(thinking=_THINKING, stop=_STOP),
        capabilities=TEXT,
        context_tokens=window,
        max_output_tokens=longest,
        **more,
    )


def _image(name: str, description: str, **more: Any) -> Model:
    return Model(
        name,
        outputs=("image",),
        inputs=("text", "image"),
        description=description,
        settings=_settings(aspect_ratio=_RATIO, image_size=_SIZE),
        capabilities=("system", "edit", "seed"),
        **more,
    )


def _speech(name: str, description: str, tags: tuple[str, ...] = (), **more: Any) -> Model:
    return Model(
        name,
        outputs=("audio",),
        description=description,
        tags=("speech", *tags),
        settings=_settings(voice=_VOICE, language=_LANGUAGE),
        context_tokens=8192,
        max_output_tokens=16_384,
        **more,
    )


LISTED = (
    _text("gemini-4-argon", "Gemini 4 Argon: the most able.", 1_048_576, 65_536, tags=("best",)),
    _text("gemini-3.8-flash", "Gemini 3.8 Flash: fast and able.", 1_048_576, 65_536, tags=("fast",)),
    _text("gemini-3.5-flash-lite", "Gemini 3.5 Flash-Lite: the cheapest.", 1_000_000, 65_536, tags=("cheap",)),
    Model(
        "gemini-2.5-flash-lite",
        outputs=("text",),
        inputs=EVERYTHING,
        description="Gemini 2.5 Flash-Lite, which takes a temperature.",
        settings=_settings(temperature=_TEMPERATURE, stop=_STOP),
        capabilities=TEXT,
        context_tokens=1_000_000,
        max_output_tokens=65_536,
    ),
    _image("gemini-nano-banana-2.1", "Nano Banana 2.1: pictures and their editing.", tags=("best", "fast")),
    _image("gemini-3-pro-image", "Nano Banana Pro: pictures with much text.", price_name="gemini-3-pro-image"),
    _speech("gemini-3.8-flash-tts", "Gemini 3.8 Flash TTS: expressive speech.", tags=("best",)),
    _speech("gemini-3.8-flash-lite-tts", "Gemini 3.8 Flash-Lite TTS: plain speech.", tags=("fast", "cheap")),
    Model(
        "gemini-embedding-2",
        outputs=("embedding",),
        description="Gemini Embedding 2: vectors of up to 3072 numbers.",
        context_tokens=8192,
    ),
    Model(
        "gemini-embedding-001",
        outputs=("embedding",),
        description="Gemini Embedding 001: vectors of up to 3072 numbers.",
        context_tokens=2048,
    ),
)
"""`gemini-2.5-pro` and `gemini-2.5-flash` are not among them: they end on 2026-12-01, and other models answer in their
place, at other prices."""
ENDING = {"gemini-2.5-pro": "2026-12-01", "gemini-2.5-flash": "2026-12-01"}
_BY_NAME = {model.name: model for model in LISTED}


def named(name: str) -> Model | None:
    """Return a model by its name; of one that nobody knows the name says what it makes."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if not name.startswith(("gemini-", "gemma-")):
        return None
    told = f"{name}, which this version does not know yet."
    if "embedding" in name:
        return Model(name, outputs=("embedding",), description=told)
    if name.endswith("-tts") or "-tts-" in name:
        return replace(_speech(name, told), context_tokens=0, max_output_tokens=0)
    if "image" in name or "banana" in name:
        return _image(name, told)
    model = _text(name, told, 0, 0)
    if name.startswith(("gemini-2", "gemma-")):
        model = replace(model, settings=_settings(temperature=_TEMPERATURE, stop=_STOP))
    return replace(model, retirement_date=ENDING.get(name, ""))


def discovered(info: Any) -> Model | None:
    """Return a model as the service lists it (`Model` of the SDK); `None` for one that is of no use here."""
    name = str(info.name or "").removeprefix("models/")
    actions = info.supported_actions or ()
    base = named(name)
    if base is None or not {"generateContent", "embedContent", "batchEmbedContents"} & set(actions):
        return None
    model = replace(base, context_tokens=info.input_token_limit or base.context_tokens)
    if "embedding" not in base.outputs:
        model = replace(model, max_output_tokens=info.output_token_limit or base.max_output_tokens)
    if name not in _BY_NAME and (info.description or info.display_name):
        model = replace(model, description=" ".join(str(info.description or info.display_name).split())[:200])
    if "batch" in model.capabilities and name not in _BY_NAME and "batchGenerateContent" not in actions:
        model = replace(model, capabilities=tuple(each for each in model.capabilities if each != "batch"))
    return model
