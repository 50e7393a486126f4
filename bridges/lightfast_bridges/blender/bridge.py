"""The daemon's half: Blender joins by itself, so this only says how its kind behaves."""

from __future__ import annotations

from collections.abc import Sequence

from lightfast.sdk import Bridge, BridgeHost, Command, Dialect, Parameter, Term, Timeline
from lightfast_bridges.blender import surface


class BlenderBridge(Bridge):
    """Blender 3.4 to 5.0, with a window, headless, or as the module `bpy`."""

    kind = "blender"
    title = "Blender"
    link = True
    timeline = Timeline(  # without a window there is no playing: then it is moved along, frame by frame
        playing="screen/is_animation_playing",
        position="scene/frame_current",
        unit="frames",
        rate="scene/render/frame_rate",
    )
    dialect = Dialect(
        (
            Term("object.location", ("objects/{}/location",)),
            Term("object.rotation", ("objects/{}/rotation_euler",)),
            Term("object.scale", ("objects/{}/scale",)),
            Term("object.visible", ("objects/{}/hide_render",), opposite=True),
            Term("camera.lens", ("cameras/{}/lens",), unit="distance.mm"),
            Term("light.color", ("lights/{}/color",)),
            Term("tempo", ("scene/lightfast/bpm",), unit="time.bpm"),
        ),
        up="z",
    )

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of Blender's paths; it keeps most numbers in 32 bits."""
        return surface.parameters()

    def commands(self) -> Sequence[Command]:
        """Return the commands the extension runs."""
        return surface.commands()

    async def run(self, host: BridgeHost) -> None:
        """Do nothing: the link protocol's door takes Blender in."""
