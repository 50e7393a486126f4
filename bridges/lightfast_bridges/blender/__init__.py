"""Blender: what the daemon knows of it, its installable extension, its simulator, and how to start it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, Launcher, Pack, Simulator, hookimpl


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Return the bridge: Blender joins by the link protocol."""
    from lightfast_bridges.blender.bridge import BlenderBridge

    return [BlenderBridge()]


@hookimpl
def lightfast_simulators() -> Sequence[Simulator]:
    """Return the simulator."""
    from lightfast_bridges.blender.simulator import BlenderSimulator

    return [BlenderSimulator()]


@hookimpl
def lightfast_packs() -> Sequence[Pack]:
    """Return the packer of the extension."""
    from lightfast_bridges.blender.pack import BlenderPack

    return [BlenderPack()]


@hookimpl
def lightfast_launchers() -> Sequence[Launcher]:
    """Return what starts a Blender without a window."""
    from lightfast_bridges.blender.launcher import BlenderLauncher

    return [BlenderLauncher()]
