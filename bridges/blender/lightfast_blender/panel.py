"""What the user sees: preferences, two buttons and a line of status."""

from __future__ import annotations

from typing import Any

import bpy

from . import connect, handlers, host, settings
from .session import Session


class LightfastPreferences(bpy.types.AddonPreferences):
    """Where the daemon is, and what it may do."""

    bl_idname = settings.PACKAGE

    automatic: bpy.props.BoolProperty(name="Join at start", default=True)
    mount_name: bpy.props.StringProperty(
        name="Name", description="What this Blender is called: /name. Empty for /blender"
    )
    home: bpy.props.StringProperty(
        name="Daemon's folder", description="LIGHTFAST_HOME of the daemon; empty for the usual one", subtype="DIR_PATH"
    )
    host: bpy.props.StringProperty(name="Host", description="Only for a daemon that is not found by itself")
    port: bpy.props.IntProperty(name="Port", default=50156, min=1, max=65535)
    key_file: bpy.props.StringProperty(name="Link key file", subtype="FILE_PATH")
    folder: bpy.props.StringProperty(
        name="Folder for files",
        description="Where commands may save and open, besides the folder of the open file",
        subtype="DIR_PATH",
    )
    allow_code: bpy.props.BoolProperty(
        name="Let clients run Python code",
        description="Whoever may operate the daemon can then do with your files what you can",
        default=False,
    )

    def draw(self, context: Any) -> None:
        """Draw the preferences."""
        column = self.layout.column()
        for name in ("automatic", "mount_name", "home", "host", "port", "key_file", "folder"):
            column.prop(self, name)
        column.separator()
        column.prop(self, "allow_code", icon="ERROR" if self.allow_code else "NONE")
        _draw_status(column)


class LIGHTFAST_OT_join(bpy.types.Operator):
    """Join the daemon"""

    bl_idname = "lightfast.join"
    bl_label = "Join"

    def execute(self, context: Any) -> Any:
        """Join, or say why not."""
        why = refusal()
        if why:
            self.report({"ERROR"}, why)
            return {"CANCELLED"}
        join()
        return {"FINISHED"}


class LIGHTFAST_OT_leave(bpy.types.Operator):
    """Leave the daemon"""

    bl_idname = "lightfast.leave"
    bl_label = "Leave"

    def execute(self, context: Any) -> Any:
        """Leave."""
        leave()
        return {"FINISHED"}


class LIGHTFAST_PT_status(bpy.types.Panel):
    """The state of the connection, in the sidebar of the 3D view."""

    bl_idname = "LIGHTFAST_PT_status"
    bl_label = "Lightfast"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Lightfast"

    def draw(self, context: Any) -> None:
        """Draw status and button."""
        _draw_status(self.layout.column())


CLASSES = (LightfastPreferences, LIGHTFAST_OT_join, LIGHTFAST_OT_leave, LIGHTFAST_PT_status)


def _draw_status(column: Any) -> None:
    session = handlers.session()
    live = session is not None and session.live
    column.label(text=session.status if session else refusal() or "not joined", icon="LINKED" if live else "UNLINKED")
    if session is None:
        column.operator("lightfast.join")
    else:
        column.operator("lightfast.leave")


def refusal() -> str:
    """Return why joining is not allowed, empty where it is."""
    chosen = settings.current()
    if chosen.host and chosen.host not in connect.LOOPBACK and not host.online():
        return "Blender is offline: allow online access in Preferences, System, to join %s" % chosen.host
    return ""


def join() -> Session:
    """Join with the settings that hold now; a session that is there is kept."""
    session = handlers.session()
    if session is None:
        session = Session(settings.current())
        handlers.attach(session)
        session.join()
    return session


def leave() -> None:
    """Leave, if joined."""
    session = handlers.session()
    handlers.detach()
    if session is not None:
        session.leave()


def join_at_start() -> None:
    """Join once Blender is up, where the user did not switch that off (for `bpy.app.timers`)."""
    if handlers.session() is None and settings.current().automatic and not refusal():
        join()


def register() -> None:
    """Register the classes, and join once Blender is up."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    if host.windowed():
        bpy.app.timers.register(join_at_start, first_interval=0.1, persistent=True)


def unregister() -> None:
    """Leave, and take everything out again."""
    leave()
    if bpy.app.timers.is_registered(join_at_start):
        bpy.app.timers.unregister(join_at_start)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
