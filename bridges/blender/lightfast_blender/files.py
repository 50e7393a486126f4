"""Where files may be written and opened: what the user chose, never where a path leads by itself."""

from __future__ import annotations

import os
from typing import List

import bpy

from . import host, settings
from .values import Refused


def folders() -> List[str]:
    """Return the folders that commands may use with a window open: the user's choice and that of the open file."""
    chosen = settings.current().folder
    found = [chosen] if chosen else []
    if bpy.data.filepath:
        found.append(os.path.dirname(bpy.data.filepath))
    return [os.path.realpath(bpy.path.abspath(folder)) for folder in found]


def checked(path: str) -> str:
    """Return *path* if a .blend file may be written or opened there, else refuse.

    In background whoever started Blender has chosen: any path, unless a folder was given.
    """
    if not os.path.isabs(path):
        raise Refused("%r is not an absolute path" % path)
    if "\0" in path or not path.endswith(".blend"):
        raise Refused("%r does not end in .blend" % path)
    real = os.path.realpath(path)
    if not host.windowed() and not settings.current().folder:
        return real
    allowed = folders()
    if any(os.path.commonpath([real, folder]) == folder for folder in allowed if _one_drive(real, folder)):
        return real
    raise Refused(
        "%s is outside %s: choose another folder in the preferences of the Lightfast add-on"
        % (path, " and ".join(allowed) or "any folder that was chosen")
    )


def _one_drive(left: str, right: str) -> bool:
    return os.path.splitdrive(left)[0].lower() == os.path.splitdrive(right)[0].lower()
