"""Models of Replicate: some that are listed, all others by owner, name and perhaps version, and their schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightfast.sdk import Model, Price

MORE = {
    "type": "object",
    "description": "Further fields of the model's input, as its page on replicate.com names them.",
}
_TYPES = frozenset(("string", "integer", "number", "boolean", "array", "object"))
_KEPT = ("type", "minimum", "maximum", "enum", "default", "description")
_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(:[0-9a-f]{16,64})?")
_RATIOS = ["1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21"]
_FLUX: dict[str, Any] = {
    "aspect_ratio": {"type": "string", "enum": _RATIOS, "default": "1:1"},
    "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "output_format": {"type": "string", "enum": ["webp", "jpg", "png"], "default": "webp"},
    "output_quality": {"type": "integer", "minimum": 0, "maximum": 100, "default": 80},
    "megapixels": {"type": "string", "enum": ["1", "0.25"], "default": "1"},
}


def _schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {**properties, "input": MORE}}


LISTED = (
    Model(
        "black-forest-labs/flux-schnell",
        outputs=("image",),
        description="FLUX.1 [schnell]: an image in a few steps.",
        settings=_schema(
            {**_FLUX, "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 4, "default": 4}}
        ),
        capabilities=("jobs", "seed"),
        tags=("fast", "cheap"),
        prices=(Price("image", 0.003, "https://replicate.com/black-forest-labs/flux-schnell", "2026-11-20"),),
    ),
    Model(
        "black-forest-labs/flux-dev",
        outputs=("image",),
        inputs=("text", "image"),
        description="FLUX.1 [dev]: an image that follows its text closely, and another image where one is given.",
        settings=_schema(
            {
                **_FLUX,
                "guidance": {"type": "number", "minimum": 0, "maximum": 10, "default": 3},
                "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
                "prompt_strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.8},
            }
        ),
        capabilities=("jobs", "seed", "edit"),
        prices=(Price("image", 0.025, "https://replicate.com/pricing", "2026-05-11"),),
    ),
)


def unlisted(name: str) -> Model | None:
    """Return the model `owner/name` or `owner/name:version`."""
    if not _NAME.fullmatch(name):
        return None
    return Model(
        name,
        outputs=("image", "video", "audio", "text"),
        inputs=("text", "image", "video", "audio"),
        description=f"{name} on Replicate; its page says what it takes.",
        settings=_schema({}),
        capabilities=("jobs",),
    )


def input_of(about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fields of a model's input by what the service says about it; empty where it says nothing.

    Fields for files have `format` `uri`; the order is the model's own.
    """
    version = about.get("latest_version") or about
    schema = version.get("openapi_schema") if isinstance(version, Mapping) else None
    schemas = ((schema or {}).get("components") or {}).get("schemas") or {}
    fields = (schemas.get("Input") or {}).get("properties") or {}
    found: dict[str, dict[str, Any]] = {}
    for name, rule in sorted(fields.items(), key=lambda each: each[1].get("x-order", 999)):
        merged = dict(rule)
        for each in rule.get("allOf") or ():
            merged = {**schemas.get(str(each.get("$ref", "")).rpartition("/")[2], {}), **merged}
        found[name] = merged
    return found


def settings_of(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that follow from the fields of an input: all but prompt, seed and files."""
    properties = {}
    for name, rule in fields.items():
        if name in ("prompt", "seed", "input") or rule.get("format") == "uri" or rule.get("type") not in _TYPES:
            continue
        if (rule.get("items") or {}).get("format") == "uri":
            continue
        properties[name] = {key: rule[key] for key in _KEPT if key in rule and rule[key] is not None}
    return _schema(properties)
