"""What the rooms of the studio share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.sdk import GenerationRequest

GENERATOR = "studio (procedural, no learned model)"
MODES = ("normal", "multiply", "screen", "add", "overlay", "darken", "lighten", "difference")
"""How a picture that is laid over another mixes with it."""
MOVES = ("zoom_in", "zoom_out", "pan_left", "pan_right", "tilt_up", "tilt_down", "orbit", "drift")
"""How a camera moves over a picture."""


def whole(settings: Mapping[str, Any], name: str) -> int:
    """Return a setting as a whole number."""
    return int(settings[name])


def real(settings: Mapping[str, Any], name: str) -> float:
    """Return a setting as a number."""
    return float(settings[name])


def file_name(request: GenerationRequest) -> str:
    """Return a name made of the words of the prompt."""
    words = [
        word for word in "".join(c if c.isalnum() else " " for c in request.prompt.lower()).split() if word.isascii()
    ]
    return "-".join(words[:6])[:48] or "untitled"


def number_rule(low: float, high: float, default: float, description: str) -> dict[str, Any]:
    """Return the schema of a setting that is a number."""
    return {"type": "number", "minimum": low, "maximum": high, "default": default, "description": description}


def whole_rule(low: int, high: int, default: int, description: str) -> dict[str, Any]:
    """Return the schema of a setting that is a whole number."""
    return {"type": "integer", "minimum": low, "maximum": high, "default": default, "description": description}
