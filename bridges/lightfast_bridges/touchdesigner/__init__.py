"""TouchDesigner: what the daemon knows of it, the component to build inside it, and its simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import Bridge, Pack, Simulator, hookimpl


@hookimpl
def lightfast_bridges(config: Mapping[str, Any]) -> Sequence[Bridge]:
    """Return the bridge: TouchDesigner joins by the link protocol."""
    from lightfast_bridges.touchdesigner.bridge import TouchDesignerBridge

    return [TouchDesignerBridge()]


@hookimpl
def lightfast_simulators() -> Sequence[Simulator]:
    """Return the simulator."""
    from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator

    return [TouchDesignerSimulator()]


@hookimpl
def lightfast_packs() -> Sequence[Pack]:
    """Return the packer of the component."""
    from lightfast_bridges.touchdesigner.pack import TouchDesignerPack

    return [TouchDesignerPack()]
