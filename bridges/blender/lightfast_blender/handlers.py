"""What Blender tells us, passed on to the session: it only takes notes, the pump does the work."""

from __future__ import annotations

from typing import Any, Optional

import bpy

from . import host, render
from .session import Session

_session: Optional[Session] = None
_OWNER = object()
_FAMILIES = (
    (bpy.types.Object, "objects"),
    (bpy.types.Material, "materials"),
    (bpy.types.Light, "lights"),
    (bpy.types.Camera, "cameras"),
    (bpy.types.World, "worlds"),
)


@bpy.app.handlers.persistent
def _depsgraph(*arguments: Any) -> None:
    if _session is None or render.busy or len(arguments) < 2 or arguments[1] is None:
        return
    for update in arguments[1].updates:
        block = update.id.original
        for kind, family in _FAMILIES:
            if isinstance(block, kind):
                _session.touch(family, block.name)
                break
        else:
            _session.changed()


@bpy.app.handlers.persistent
def _frame(*arguments: Any) -> None:
    if _session is not None and not render.busy:
        _session.framed()


@bpy.app.handlers.persistent
def _stepped(*arguments: Any) -> None:
    if _session is not None:
        _session.stepped()


@bpy.app.handlers.persistent
def _loaded(*arguments: Any) -> None:
    if _session is not None:
        _session.loaded()
        _subscribe()


@bpy.app.handlers.persistent
def _saving(*arguments: Any) -> None:
    if _session is not None:
        _session.saving(arguments[0] if arguments and isinstance(arguments[0], str) else "")


@bpy.app.handlers.persistent
def _saved(*arguments: Any) -> None:
    if _session is not None:
        _session.saved()


@bpy.app.handlers.persistent
def _rendering(*arguments: Any) -> None:
    render.busy = True


@bpy.app.handlers.persistent
def _rendered(*arguments: Any) -> None:
    render.busy = False
    if _session is not None:
        _session.rescan_later()


@bpy.app.handlers.persistent
def _timer() -> Optional[float]:
    return None if _session is None else _session.pump()


_TABLE = {
    "depsgraph_update_post": _depsgraph,
    "frame_change_post": _frame,
    "undo_post": _stepped,
    "redo_post": _stepped,
    "load_post": _loaded,
    "save_pre": _saving,
    "save_post": _saved,
    "render_init": _rendering,
    "render_complete": _rendered,
    "render_cancel": _rendered,
}


def attach(session: Session) -> None:
    """Listen for *session*; in a window the pump is driven from here, else by whoever serves."""
    global _session
    detach()
    _session = session
    for name, function in _TABLE.items():
        getattr(bpy.app.handlers, name).append(function)
    if host.windowed():
        _subscribe()
        bpy.app.timers.register(_timer, first_interval=0.0, persistent=True)


def detach() -> None:
    """Stop listening: a handler left behind keeps some versions from exiting."""
    global _session
    _session = None
    for name, function in _TABLE.items():
        registered = getattr(bpy.app.handlers, name)
        if function in registered:
            registered.remove(function)
    if bpy.app.timers.is_registered(_timer):
        bpy.app.timers.unregister(_timer)
    bpy.msgbus.clear_by_owner(_OWNER)


def session() -> Optional[Session]:
    """Return the session that is listened for."""
    return _session


def _subscribe() -> None:
    """Hear of settings whose change does not reach the dependency graph; a load forgets subscriptions."""
    if not host.windowed():
        return
    bpy.msgbus.clear_by_owner(_OWNER)
    keys = [
        (bpy.types.RenderSettings, "fps"),
        (bpy.types.RenderSettings, "engine"),
        (bpy.types.RenderSettings, "resolution_x"),
        (bpy.types.RenderSettings, "resolution_y"),
        (bpy.types.Scene, "frame_start"),
        (bpy.types.Scene, "frame_end"),
        (bpy.types.Object, "name"),
        (bpy.types.Window, "scene"),
    ]
    for key in keys:
        bpy.msgbus.subscribe_rna(key=key, owner=_OWNER, args=(), notify=_heard)


def _heard() -> None:
    if _session is not None:
        _session.changed()
