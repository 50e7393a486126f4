"""What this application offers: the parameters and commands its `hello` carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

_CODE = {
    "name": "run_code",
    "effect": "code",
    "description": "Run Python code in Blender; only there while it is switched on in the add-on's preferences.",
    "arguments": [
        {
            "name": "code",
            "kind": "string",
            "required": True,
            "description": "The code; what it leaves in `result` comes back as text.",
        }
    ],
}


def load() -> Dict[str, Any]:
    """Return the content of `surface.json`: parameters and commands."""
    return json.loads((Path(__file__).parent / "surface.json").read_text(encoding="utf-8"))


def commands(allow_code: bool) -> List[Dict[str, Any]]:
    """Return the command schemas."""
    offered: List[Dict[str, Any]] = list(load()["commands"])
    if allow_code:
        offered.append(_CODE)
    return offered
