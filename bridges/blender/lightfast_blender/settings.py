"""What the user chose: the add-on's preferences, or the options a headless start was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import bpy

PACKAGE = __package__ or "lightfast_blender"


@dataclass
class Settings:
    """How to join. *home* is the daemon's folder, empty for the usual one; a *host* means plain TCP there."""

    name: str = ""
    home: str = ""
    host: str = ""
    port: int = 50156
    key_file: str = ""
    folder: str = ""
    instance_id: str = ""
    allow_code: bool = False
    automatic: bool = True


_given: Optional[Settings] = None


def give(settings: Optional[Settings]) -> None:
    """Use *settings* instead of the preferences."""
    global _given
    _given = settings


def preferences() -> Optional[object]:
    """Return the preferences of the installed add-on, `None` where it runs from its sources."""
    addon = bpy.context.preferences.addons.get(PACKAGE)
    return None if addon is None else addon.preferences


def current() -> Settings:
    """Return what holds now."""
    if _given is not None:
        return _given
    chosen = preferences()
    if chosen is None:
        return Settings()
    names = ("name", "home", "host", "port", "key_file", "folder", "allow_code", "automatic")
    return Settings(**{name: getattr(chosen, "mount_name" if name == "name" else name) for name in names})
