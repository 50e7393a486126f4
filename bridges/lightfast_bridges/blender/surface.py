"""What the extension offers, read from the file that it carries, so that both halves say the same."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import lightfast_bridges
from lightfast.sdk import Argument, Command, Parameter, Undo


def extension_folder() -> Path:
    """Return the folder of the extension: data of an installed wheel, else beside us in a checkout."""
    here = Path(lightfast_bridges.__file__).parent
    for folder in (here / "data" / "lightfast_blender", here.parent / "blender" / "lightfast_blender"):
        if (folder / "blender_manifest.toml").is_file():
            return folder
    raise FileNotFoundError(f"the Blender extension is missing beside {here}: install lightfast again")


@functools.cache
def raw() -> dict[str, Any]:
    """Return the parameters and commands as the extension says them in its `hello`."""
    text = (extension_folder() / "surface.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@functools.cache
def parameters() -> tuple[Parameter, ...]:
    """Return the parameters."""
    return tuple(Parameter(**{**entry, "choices": tuple(entry.get("choices", ()))}) for entry in raw()["parameters"])


@functools.cache
def commands() -> tuple[Command, ...]:
    """Return the commands."""
    return tuple(
        Command(
            entry["name"],
            entry["description"],
            tuple(Argument(**argument) for argument in entry["arguments"]),
            entry["effect"],
            idempotent=entry.get("idempotent", False),
            undo=Undo(**entry["undo"]) if "undo" in entry else None,
        )
        for entry in raw()["commands"]
    )
