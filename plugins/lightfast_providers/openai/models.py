"""The models of OpenAI, from `models.toml`, and what can be said of others by their names."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightfast.sdk import Model, Price

_SOURCE = "OpenAI's model pages"
_VOICES = ["alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer"]


def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "models.toml").read_text(encoding="utf-8"))


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties)}


def _text(row: Mapping[str, Any]) -> Model:
    settings: dict[str, Any] = {}
    if row.get("effort"):
        settings["effort"] = {"type": "string", "enum": list(row["effort"]), "description": "How long it reasons."}
        settings["verbosity"] = {"type": "string", "enum": ["low", "medium", "high"]}
    else:  # models that reason refuse both
        settings["temperature"] = {"type": "number", "minimum": 0.0, "maximum": 2.0}
        settings["top_p"] = {"type": "number", "minimum": 0.0, "maximum": 1.0}
    return Model(
        row["name"],
        outputs=("text",),
        inputs=("text", "image"),
        settings=_object(settings),
        capabilities=("stream", "schema", "system", "batch", "count_tokens"),
        **_common(row),
    )


def _image(row: Mapping[str, Any]) -> Model:
    sizes = {"type": "string", "default": "auto", "description": "WIDTHxHEIGHT, multiples of 16, or auto."}
    settings = {
        "size": sizes,
        "quality": {"type": "string", "enum": ["auto", *row["quality"]], "default": "auto"},
        "background": {"type": "string", "enum": ["auto", "transparent", "opaque"], "default": "auto"},
        "output_format": {"type": "string", "enum": ["png", "jpeg", "webp"], "default": "png"},
        "moderation": {"type": "string", "enum": ["auto", "low"], "default": "auto"},
        "count": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "previews": {
            "type": "integer",
            "minimum": 0,
            "maximum": 3,
            "default": 0,
            "description": "Early versions on the way; each costs about 100 tokens of the answer. One picture only.",
        },
    }
    return Model(
        row["name"],
        outputs=("image",),
        inputs=("text", "image"),
        settings=_object(settings),
        capabilities=("edit", "preview"),
        **_common(row),
    )


def _speech(row: Mapping[str, Any]) -> Model:
    settings: dict[str, Any] = {
        "voice": {"type": "string", "enum": _VOICES, "default": "alloy"},
        "format": {"type": "string", "enum": ["mp3", "opus", "aac", "flac", "wav", "pcm"], "default": "mp3"},
        "speed": {"type": "number", "minimum": 0.25, "maximum": 4.0, "default": 1.0},
    }
    if not row["name"].startswith("tts-1"):
        settings["instructions"] = {"type": "string", "default": "", "description": "How it is to be spoken."}
    common = _common(row)
    common["tags"] = ("speech", *common.get("tags", ()))
    return Model(row["name"], outputs=("audio",), inputs=("text",), settings=_object(settings), **common)


def _transcription(row: Mapping[str, Any]) -> Model:
    settings = {
        "language": {"type": "string", "default": "", "description": "ISO 639-1, such as `en`; empty: any."},
        "temperature": {"type": "number", "minimum": 0.0, "maximum": 1.0},
    }
    return Model(
        row["name"],
        outputs=("text",),
        inputs=("audio", "text"),
        settings=_object(settings),
        capabilities=("transcribe",),
        needs_sources=1,
        **_common(row),
    )


def _embedding(row: Mapping[str, Any]) -> Model:
    return Model(row["name"], outputs=("embedding",), inputs=("text",), settings=_object({}), **_common(row))


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    prices = tuple(Price(unit, usd, _SOURCE, LOOKED_UP) for unit, usd in row.get("prices", {}).items())
    return {
        "description": row["description"],
        "context_tokens": row.get("context", 0),
        "max_output_tokens": row.get("output", 0),
        "tags": tuple(row.get("tags", ())),
        "prices": prices,
        "retirement_date": row.get("retirement", ""),
        "deprecation_date": row.get("deprecation", ""),
    }


_MAKERS = {
    "text": _text,
    "image": _image,
    "speech": _speech,
    "transcription": _transcription,
    "embedding": _embedding,
}
_TABLE = _table()
LOOKED_UP: str = _TABLE["looked_up"]
LISTED = tuple(make(row) for kind, make in _MAKERS.items() for row in _TABLE[kind])
TIERS: Mapping[str, tuple[tuple[str, float, float], ...]] = {
    name: tuple((str(kind), float(window), float(number)) for kind, window, number in limits)
    for name, limits in _TABLE.get("tiers", {}).items()
}
"""What each tier allows for the usual text models; what an account really has comes with each answer."""

_EFFORTS = ("low", "medium", "high")
_APART = (
    *("realtime", "live", "audio", "search", "codex", "moderation"),
    *("deep-research", "instruct", "transcribe", "tts"),
)
"""Parts of names of models that speak another protocol, or need tools."""


def guessed(name: str) -> Model | None:
    """Return a model by the beginning of its name: a dated one is like the listed one, a newer one like its kind.

    One that an account has tuned (`ft:BASE:…`) is like its base, at another price.
    """
    if name.startswith("ft:"):
        base = guessed(name.split(":")[1])
        return None if base is None else dataclasses.replace(_renamed(base, name), prices=())
    for model in sorted(LISTED, key=lambda each: -len(each.name)):
        if name == model.name or name.startswith(f"{model.name}-20"):
            return _renamed(model, name)
    said = {"name": name, "description": "Not listed when this version was made."}
    if name.startswith("gpt-image-"):
        return _image({**said, "quality": ["low", "medium", "high"]})
    if "transcribe" in name and "live" not in name and "diarize" not in name:
        return _transcription(said)
    if name.startswith("text-embedding-"):
        return _embedding({**said, "context": 8_192})
    if name.startswith("gpt-") and name[4:5].isdigit() and not any(part in name for part in _APART):
        return _text({**said, "effort": _EFFORTS, "context": 128_000})
    return None


def _renamed(model: Model, name: str) -> Model:
    return dataclasses.replace(model, name=name, tags=() if name != model.name else model.tags)
