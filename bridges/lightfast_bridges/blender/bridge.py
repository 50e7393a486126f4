"""The daemon's half: Blender joins by itself, so this only says how its kind behaves."""

from __future__ import annotations

from collections.abc import Sequence

from lightfast.sdk import Bridge, BridgeHost, Command, Parameter
from lightfast_bridges.blender import surface


class BlenderBridge(Bridge):
    """Blender 3.4 to 5.0, with a window, headless, or as the module `bpy`."""

    kind = "blender"
    title = "Blender"
    link = True

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of Blender's paths; it keeps most numbers in 32 bits."""
        return surface.parameters()

    def commands(self) -> Sequence[Command]:
        """Return the commands the extension runs."""
        return surface.commands()

    async def run(self, host: BridgeHost) -> None:
        """Do nothing: the link protocol's door takes Blender in."""
