"""What kind of Blender this is, and how to run operators in it."""

from __future__ import annotations

import contextlib
from typing import Any, ContextManager

import bpy


def windowed() -> bool:
    """Say whether there is a window: then timers fire, and the main loop is not ours."""
    return not bpy.app.background


def in_window() -> ContextManager[Any]:
    """Run operators as from the 3D view (or any area) of the first window; in background as they are."""
    manager = getattr(bpy.context, "window_manager", None)
    if not windowed() or manager is None or not manager.windows:
        return contextlib.nullcontext()
    window = manager.windows[0]
    areas = sorted(window.screen.areas, key=lambda area: area.type != "VIEW_3D")
    for area in areas:
        for region in area.regions:
            if region.type == "WINDOW":
                return bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region)
    return bpy.context.temp_override(window=window, screen=window.screen)


def playing() -> bool:
    """Say whether playback runs in any window."""
    manager = getattr(bpy.context, "window_manager", None)
    return windowed() and manager is not None and any(window.screen.is_animation_playing for window in manager.windows)


def play(wanted: bool) -> None:
    """Start or stop playback; there must be a window."""
    if playing() != wanted:
        with in_window():
            bpy.ops.screen.animation_play()


def push_undo(message: str) -> None:
    """Make an undo step, where undo is on; a mode without global undo does without."""
    with contextlib.suppress(RuntimeError), in_window():
        bpy.ops.ed.undo_push(message=message)


def online() -> bool:
    """Say whether the user lets Blender use the network; older versions do not ask."""
    return bool(getattr(bpy.app, "online_access", True))
