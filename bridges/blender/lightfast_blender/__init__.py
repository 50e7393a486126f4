"""Lightfast for Blender: joins this Blender to the daemon on this machine.

Works as an extension (4.2 and later), as an add-on (3.4 and later), without a window
(`run_headless.py`), and in the `bpy` module.
"""

from . import vendor

bl_info = {
    "name": "Lightfast",
    "author": "The Lightfast authors",
    "version": (0, 1, 0),
    "blender": (3, 4, 0),
    "location": "3D View > Sidebar > Lightfast",
    "description": "Join this Blender to the shared memory of your desk",
    "category": "System",
}

vendor.load()


def register() -> None:
    """Switch the add-on on."""
    from . import panel

    panel.register()


def unregister() -> None:
    """Switch the add-on off."""
    from . import panel

    panel.unregister()
