"""The one command that runs code; offered only while the user has switched it on."""

from __future__ import annotations

from typing import Any, Dict

import bpy

from . import settings
from .commands import command
from .values import Refused

LONGEST = 100_000
"""The most characters of a result."""


@command
def run_code(code: str) -> str:
    """Run Python code and return the text of what it leaves in `result`."""
    if not settings.current().allow_code:
        raise Refused("running code is switched off in the preferences of the Lightfast add-on")
    names: Dict[str, Any] = {"bpy": bpy, "result": None}
    try:
        exec(compile(code, "<lightfast>", "exec"), names)
    except Exception as error:
        raise Refused("the code raised %s: %s" % (type(error).__name__, error)) from error
    return str(names["result"])[:LONGEST]
